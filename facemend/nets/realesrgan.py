"""The two upscaling networks of Real-ESRGAN.

RRDBNet: residual-in-residual dense blocks.
    Wang et al. 2018, "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", arXiv:1809.00219.
SRVGGNetCompact: a sequence of convolutions whose output is added to the upsampled input.
    Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
    arXiv:2107.10833.
Sources: https://github.com/xinntao/Real-ESRGAN and https://github.com/XPixelGroup/BasicSR (BSD-3-Clause, Apache-2.0).

Input: (N, 3, H, W) RGB in [0, 1], any H and W (RRDBNet of scale 2: both even).
Output: (N, 3, H * scale, W * scale) RGB, about [0, 1], not clamped.

Attribute names are those of the official checkpoints. Differences from the source:

- Inference only. The networks have three channels in and out.
- Upsampling and the convolution after it are one operation (`upconv`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.shapes import Shapes, count
from facemend.nets.upconv import nearest_conv

FEATURES = 64  # channels between blocks, in the official models
GROWTH = 32  # channels that each convolution of a dense block adds, likewise
PARAMETERS_OF_BLOCK = 30  # number of tensors of an RRDB
# Upsamplings by 2, and channels after a pixel unshuffle by 1, 2 or 4 -> output size over input size
SCALES = {(ups, 3 * fold**2): 2**ups // fold for ups in range(4) for fold in (1, 2, 4) if fold <= 2**ups}
SLOPE = 0.2  # of every leaky ReLU
RESIDUAL = 0.2  # factor of a block's output before it is added to its input


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class ResidualDenseBlock(nn.Module):
    """Five convolutions; the input of each is the block's input and the outputs of all convolutions before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv3(features, growth)
        self.conv2 = conv3(features + growth, growth)
        self.conv3 = conv3(features + 2 * growth, growth)
        self.conv4 = conv3(features + 3 * growth, growth)
        self.conv5 = conv3(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = torch.cat((features, F.leaky_relu(conv(features), SLOPE, inplace=True)), 1)
        return torch.add(x, self.conv5(features), alpha=RESIDUAL)


class RRDB(nn.Module):
    """Residual-in-residual dense block: three dense blocks with a residual connection around them."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(features, growth)
        self.rdb2 = ResidualDenseBlock(features, growth)
        self.rdb3 = ResidualDenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(self.rdb1.conv1.weight.dtype)
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(y))), alpha=RESIDUAL)


class RRDBNet(nn.Module):
    """ESRGAN's generator: RRDBs at the input's resolution, then upsamplings by 2.

    In half precision, the sum that each RRDB adds to stays in float32, and so do the convolutions before the first RRDB
    and after the last. In bfloat16 this halves the error.

    Args:
        num_block: number of RRDBs: 23 (x4plus, x2plus) or 6 (anime).
        scale: output size over input size. Where it is less than the upsamplings give, a pixel unshuffle reduces the
            input's size first.
        features: channels between blocks.
        growth: channels that each convolution of a dense block adds.
        upsamplings: their number, 0 to 3.
    """

    float32_parts = ("conv_first", "conv_body")

    def __init__(
        self, num_block: int = 23, scale: int = 4, features: int = FEATURES, growth: int = GROWTH, upsamplings: int = 2
    ) -> None:
        super().__init__()
        self.fold = 2**upsamplings // scale
        self.conv_first = conv3(3 * self.fold**2, features)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(num_block)))
        self.conv_body = conv3(features, features)
        self.ups = [f"conv_up{number}" for number in range(1, upsamplings + 1)]
        for name in self.ups:
            self.add_module(name, conv3(features, features))
        self.conv_hr = conv3(features, features)
        self.conv_last = conv3(features, 3)

    @staticmethod
    def arguments(shapes: Shapes) -> dict[str, int]:
        """Read the constructor's arguments from the shapes of a checkpoint; KeyError if it is of another network."""
        features, inputs = shapes["conv_first.weight"][:2]
        blocks = count(shapes, "body.{}.rdb1.conv1.weight")
        if PARAMETERS_OF_BLOCK * blocks > len(shapes):
            raise KeyError("body")
        upsamplings = sum(f"conv_up{number}.weight" in shapes for number in (1, 2, 3))
        return {
            "num_block": blocks,
            "scale": SCALES[upsamplings, inputs],
            "features": features,
            "growth": shapes["body.0.rdb1.conv1.weight"][0],
            "upsamplings": upsamplings,
        }

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(F.pixel_unshuffle(x, self.fold))  # (N, 64, H / fold, W / fold)
        x = x + self.conv_body(self.body(x))
        x = x.to(self.conv_hr.weight.dtype)
        for name in self.ups:
            conv: nn.Conv2d = getattr(self, name)
            x = F.leaky_relu(nearest_conv(x, conv.weight, conv.bias), SLOPE, inplace=True)
        x = F.leaky_relu(self.conv_hr(x), SLOPE, inplace=True)  # (N, 64, H * scale, W * scale)
        out: Tensor = self.conv_last(x)
        return out


class SRVGGNetCompact(nn.Module):
    """Convolutions at the input's resolution, then a pixel shuffle; the result is added to the upsampled input.

    Args:
        num_conv: number of convolutions between the first and the last: 32 (general), 16 (animevideo) or 9 (lite).
        scale: output size over input size.
        features: channels between convolutions.
    """

    def __init__(self, num_conv: int, scale: int = 4, features: int = FEATURES) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [conv3(3, features), nn.PReLU(features)]
        for _ in range(num_conv):
            layers += [conv3(features, features), nn.PReLU(features)]
        layers.append(conv3(features, 3 * scale**2))
        self.body = nn.Sequential(*layers)

    @staticmethod
    def arguments(shapes: Shapes) -> dict[str, int]:
        """Read the constructor's arguments from the shapes of a checkpoint; KeyError if it is of another network."""
        last = count(shapes, "body.{}.weight") - 1
        return {
            "num_conv": last // 2 - 1,
            "scale": {3 * scale**2: scale for scale in range(1, 9)}[shapes[f"body.{last}.weight"][0]],
            "features": shapes["body.0.weight"][0],
        }

    def forward(self, x: Tensor) -> Tensor:
        detail = F.pixel_shuffle(self.body(x), self.scale)  # (N, 3, H * scale, W * scale)
        return detail + F.interpolate(x, scale_factor=float(self.scale), mode="nearest")
