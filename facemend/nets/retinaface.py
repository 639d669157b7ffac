"""RetinaFace: detection of faces with five landmarks, in one stage.

Paper: Deng et al. 2019, "RetinaFace: Single-stage Dense Face Localisation in the Wild", arXiv:1905.00641.
Sources: https://github.com/biubug6/Pytorch_Retinaface and https://github.com/xinntao/facexlib (both MIT).

Input: (N, 3, H, W) BGR in [0, 255] minus `MEAN`, any H and W.
Output, for each of P priors (see `priors`), with offsets relative to the prior's size and divided by `VARIANCE`:
    loc (N, P, 4): offset of the centre x, y, and log of width and height.
    conf (N, P, 2): probability of background and of a face.
    landmarks (N, P, 10): offsets x, y of left eye, right eye, nose, left and right corner of the mouth.

Attribute names are those of the official checkpoints. Differences from the source:

- Inference only.
- ResNet and MobileNet are defined here, so torchvision is not needed.
"""

import functools
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MEAN = (104.0, 117.0, 123.0)  # BGR, subtracted from the input
STEPS = (8, 16, 32)  # px between the priors of each level
MIN_SIZES = ((16, 32), (64, 128), (256, 512))  # px, sides of the two priors at each position of a level
VARIANCE = (0.1, 0.2)  # of offsets and of log sizes


@functools.lru_cache(maxsize=8)
def priors(height: int, width: int) -> Tensor:
    """The squares to which the network's outputs are relative, for an input of this size.

    Returns:
        (P, 3) float32: centre x, centre y and side in px, in the order of the network's outputs.
    """
    kind: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever PyTorch's defaults are
    levels = []
    for step, sizes in zip(STEPS, MIN_SIZES, strict=True):
        rows, columns = (torch.arange(-(-side // step), **kind) for side in (height, width))
        y, x, size = torch.meshgrid(
            (rows + 0.5) * step, (columns + 0.5) * step, torch.tensor(sizes, **kind), indexing="ij"
        )
        levels.append(torch.stack((x, y, size), -1).reshape(-1, 3))
    return torch.cat(levels)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, slope: float | None = None) -> nn.Sequential:
    """Convolution and batch norm, then a leaky ReLU unless `slope` is None."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if slope is not None:
        layers.append(nn.LeakyReLU(slope, inplace=True))
    return nn.Sequential(*layers)


def conv_dw(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """MobileNet's block: a depthwise 3x3 convolution, then a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.1, inplace=True),
    )


class MobileNetV1(nn.Module):
    """MobileNet of width 0.25 (Howard et al. 2017, arXiv:1704.04861); returns features at 1/8, 1/16 and 1/32."""

    channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_bn(3, 8, stride=2, slope=0.1),
            conv_dw(8, 16, 1),
            conv_dw(16, 32, 2),
            conv_dw(32, 32, 1),
            conv_dw(32, 64, 2),
            conv_dw(64, 64, 1),
        )
        self.stage2 = nn.Sequential(conv_dw(64, 128, 2), *(conv_dw(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(conv_dw(128, 256, 2), conv_dw(256, 256, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eighth = self.stage1(x)
        sixteenth = self.stage2(eighth)
        return eighth, sixteenth, self.stage3(sixteenth)


class Bottleneck(nn.Module):
    """ResNet's bottleneck block: 1x1, 3x3 and 1x1 convolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.downsample: nn.Module = conv_bn(inputs, outputs, 1, stride)
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x), inplace=True)


class ResNet50(nn.Module):
    """ResNet-50 (He et al. 2015, arXiv:1512.03385) without classifier; returns features at 1/8, 1/16 and 1/32."""

    channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._layer(64, 64, blocks=3, stride=1)
        self.layer2 = self._layer(256, 128, blocks=4, stride=2)
        self.layer3 = self._layer(512, 256, blocks=6, stride=2)
        self.layer4 = self._layer(1024, 512, blocks=3, stride=2)

    @staticmethod
    def _layer(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        rest = (Bottleneck(4 * width, width, 1) for _ in range(blocks - 1))
        return nn.Sequential(Bottleneck(inputs, width, stride), *rest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


# Name -> class of the backbone, channels of the other layers, slope of their leaky ReLU.
BACKBONES: dict[str, tuple[type[MobileNetV1] | type[ResNet50], int, float]] = {
    "resnet50": (ResNet50, 256, 0.0),
    "mobile0.25": (MobileNetV1, 64, 0.1),
}


class FPN(nn.Module):
    """Feature pyramid network: each level is upsampled and added to the next finer one."""

    def __init__(self, inputs: tuple[int, int, int], outputs: int, slope: float) -> None:
        super().__init__()
        self.output1 = conv_bn(inputs[0], outputs, 1, slope=slope)
        self.output2 = conv_bn(inputs[1], outputs, 1, slope=slope)
        self.output3 = conv_bn(inputs[2], outputs, 1, slope=slope)
        self.merge1 = conv_bn(outputs, outputs, slope=slope)
        self.merge2 = conv_bn(outputs, outputs, slope=slope)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(levels[0]), self.output2(levels[1]), self.output3(levels[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return fine, middle, coarse


class SSH(nn.Module):
    """Context module: receptive fields of 3x3, 5x5 and 7x7, the larger ones by successive 3x3 convolutions."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.conv3X3 = conv_bn(channels, half)
        self.conv5X5_1 = conv_bn(channels, quarter, slope=slope)
        self.conv5X5_2 = conv_bn(quarter, quarter)
        self.conv7X7_2 = conv_bn(quarter, quarter, slope=slope)
        self.conv7x7_3 = conv_bn(quarter, quarter)

    def forward(self, x: Tensor) -> Tensor:
        five = self.conv5X5_1(x)
        fields = (self.conv3X3(x), self.conv5X5_2(five), self.conv7x7_3(self.conv7X7_2(five)))
        return F.relu(torch.cat(fields, 1), inplace=True)


class Head(nn.Module):
    """1x1 convolution with `values` outputs for each of the two priors at each position."""

    def __init__(self, channels: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(channels, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.conv1x1(x)
        return values.permute(0, 2, 3, 1).reshape(len(x), -1, self.values)  # (N, h * w * 2, values)


class RetinaFace(nn.Module):
    """Face detector with priors on three levels.

    Args:
        backbone: "resnet50" or "mobile0.25".
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        kind, channels, slope = BACKBONES[backbone]
        self.body = kind()
        self.fpn = FPN(kind.channels, channels, slope)
        self.ssh1 = SSH(channels, slope)
        self.ssh2 = SSH(channels, slope)
        self.ssh3 = SSH(channels, slope)
        self.ClassHead = nn.ModuleList(Head(channels, 2) for _ in STEPS)
        self.BboxHead = nn.ModuleList(Head(channels, 4) for _ in STEPS)
        self.LandmarkHead = nn.ModuleList(Head(channels, 10) for _ in STEPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.fpn(self.body(x))
        levels = [ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]

        def collect(heads: nn.ModuleList) -> Tensor:
            return torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], 1)

        return collect(self.BboxHead), collect(self.ClassHead).softmax(-1), collect(self.LandmarkHead)


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, in place: the same numbers to rounding, in half the time.

    The network must be in eval mode. Its state dict is no longer the checkpoint's.
    """
    for module in net.modules():
        for (name, layer), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, norm_name, nn.Identity())
    return net
