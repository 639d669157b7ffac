"""The two upscaling networks of the Real-ESRGAN family.

RRDBNet: residual-in-residual dense blocks.
    Wang et al. 2018, "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", arXiv:1809.00219.
SRVGGNetCompact: a plain chain of convolutions that adds its output to the enlarged input.
    Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
    arXiv:2107.10833.
Sources: github.com/xinntao/Real-ESRGAN and github.com/XPixelGroup/BasicSR (BSD-3-Clause, Apache-2.0); written anew.

In:  (N, 3, H, W) RGB in [0, 1], any H and W (RRDBNet at scale 2: both even).
Out: (N, 3, H * scale, W * scale) RGB, about [0, 1], not clamped.
Differs from the source: inference only, at the sizes of the registered models.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.upconv import nearest_conv

FEATURES = 64  # channels between blocks, every registered model
GROWTH = 32  # channels each convolution of a dense block adds
SLOPE = 0.2  # of every leaky ReLU
RESIDUAL = 0.2  # share of a block's output that is added to its input


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each fed with the block's input and all outputs before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv3(FEATURES, GROWTH)
        self.conv2 = conv3(FEATURES + GROWTH, GROWTH)
        self.conv3 = conv3(FEATURES + 2 * GROWTH, GROWTH)
        self.conv4 = conv3(FEATURES + 3 * GROWTH, GROWTH)
        self.conv5 = conv3(FEATURES + 4 * GROWTH, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, F.leaky_relu(conv(seen), SLOPE, inplace=True)), 1)
        return torch.add(x, self.conv5(seen), alpha=RESIDUAL)


class RRDB(nn.Module):
    """Three dense blocks and a residual around them."""

    def __init__(self) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock()
        self.rdb2 = ResidualDenseBlock()
        self.rdb3 = ResidualDenseBlock()

    def forward(self, x: Tensor) -> Tensor:
        inside = x.to(self.rdb1.conv1.weight.dtype)
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(inside))), alpha=RESIDUAL)


class RRDBNet(nn.Module):
    """ESRGAN's generator: `num_block` RRDBs at the input's resolution, then two doublings.

    What the RRDBs add to is kept in float32, and the convolutions at its ends: in bfloat16 this halves the error.

    Args:
        num_block: 23 (x4plus, x2plus), 6 (anime).
        scale: 4, or 2 (the input is folded 2x2 into channels first, then enlarged by 4 all the same).
    """

    float32_parts = ("conv_first", "conv_body")

    def __init__(self, num_block: int = 23, scale: int = 4) -> None:
        super().__init__()
        self.fold = 4 // scale
        self.bytes_per_pixel = 14_000 // self.fold**2  # of working memory per input px, float32, measured
        self.conv_first = conv3(3 * self.fold**2, FEATURES)
        self.body = nn.Sequential(*(RRDB() for _ in range(num_block)))
        self.conv_body = conv3(FEATURES, FEATURES)
        self.conv_up1 = conv3(FEATURES, FEATURES)
        self.conv_up2 = conv3(FEATURES, FEATURES)
        self.conv_hr = conv3(FEATURES, FEATURES)
        self.conv_last = conv3(FEATURES, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(F.pixel_unshuffle(x, self.fold))  # (N, 64, H / fold, W / fold)
        x = x + self.conv_body(self.body(x))
        x = x.to(self.conv_up1.weight.dtype)
        for conv in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(nearest_conv(x, conv.weight, conv.bias), SLOPE, inplace=True)
        x = F.leaky_relu(self.conv_hr(x), SLOPE, inplace=True)  # (N, 64, H * scale, W * scale)
        out: Tensor = self.conv_last(x)
        return out


class SRVGGNetCompact(nn.Module):
    """A VGG-like chain at the input's resolution, ending in a pixel shuffle; it learns what to add to the input.

    Args:
        num_conv: convolutions between the first and the last: 32 (general), 16 (animevideo), 9 (lite).
    """

    def __init__(self, num_conv: int) -> None:
        super().__init__()
        self.scale = 4
        self.bytes_per_pixel = 1_400  # of working memory per input px, float32, measured
        layers: list[nn.Module] = [conv3(3, FEATURES), nn.PReLU(FEATURES)]
        for _ in range(num_conv):
            layers += [conv3(FEATURES, FEATURES), nn.PReLU(FEATURES)]
        layers.append(conv3(FEATURES, 3 * self.scale**2))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        detail = F.pixel_shuffle(self.body(x), self.scale)  # (N, 3, 4H, 4W)
        return detail + F.interpolate(x, scale_factor=float(self.scale), mode="nearest")
