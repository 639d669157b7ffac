"""ParseNet: which part of the face each pixel of a face crop belongs to.

Paper: a part of Chen, Li, Yang, Lin, Zhang, Wong, "Progressive Semantic-Aware Style Transformation for Blind Face
Restoration", 2021, arXiv:2009.08709. Trained on CelebAMask-HQ: Lee et al., 2019, arXiv:1907.11922.
Source: https://github.com/xinntao/facexlib, MIT; its file says it is modified from
https://github.com/chaofengc/PSFRGAN, which is CC BY-NC-SA 4.0 (non-commercial).

Input: (N, 3, 512, 512) RGB in [-1, 1]; any multiple of 16 px computes. Output: (N, 19, 512, 512), a score per class.
Classes: 0 background, 1 skin, 2 nose, 3 glasses, 4 and 5 eyes, 6 and 7 brows, 8 and 9 ears, 10 mouth, 11 and 12 lips,
13 hair, 14 hat, 15 ear ring, 16 necklace, 17 neck, 18 cloth.

Attribute names are the official checkpoint's. What differs from the source:

- Inference only, one configuration; batch norms always use the stored statistics, as part of the convolution.
- The second head, an enhanced image that the source computes and throws away, holds its parameters but is not run.
- Enlarging and the convolution that follows are one operation (`upconv`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.upconv import nearest_conv

CLASSES = 19


class BatchNorm(nn.Module):
    """The parameters of a batch norm, where the checkpoint has them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)


class ConvLayer(nn.Module):
    """3x3 convolution padded by reflection, with a batch norm in place of a bias when `norm`.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        scale: "down" halves the size, "up" doubles it with nearest neighbours first, "" keeps it.
        norm: whether there is a batch norm.
    """

    def __init__(self, in_channels: int, out_channels: int, scale: str = "", norm: bool = False) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(in_channels, out_channels, 3, bias=not norm)
        self.norm = BatchNorm(out_channels) if norm else None
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._weight_and_bias()
        if self.scale == "up":
            return nearest_conv(x, weight, bias, reflect=True)  # (N, O, 2H, 2W)
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, weight, bias, stride=2 if self.scale == "down" else 1)  # (N, O, H, W) or half

    def _weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        """Those of the convolution with the batch norm applied to its output."""
        if self.norm is None:
            return self.conv2d.weight, self.conv2d.bias
        norm = self.norm.norm
        assert norm.running_mean is not None and norm.running_var is not None  # for the type checker
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (O,)
        return self.conv2d.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is a convolution too where size or channels change."""

    def __init__(self, in_channels: int, out_channels: int, scale: str = "") -> None:
        super().__init__()
        self.shortcut_func = ConvLayer(in_channels, out_channels, scale) if scale else nn.Identity()
        self.conv1 = ConvLayer(in_channels, out_channels, scale if scale == "up" else "", norm=True)
        self.conv2 = ConvLayer(out_channels, out_channels, scale if scale == "down" else "", norm=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.leaky_relu_(self.conv1(x), 0.2))
        return out.add_(self.shortcut_func(x))


class ParseNet(nn.Module):
    """ParseNet (see the top of the file)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            ConvLayer(3, 64),
            ResidualBlock(64, 128, "down"),
            ResidualBlock(128, 256, "down"),
            ResidualBlock(256, 256, "down"),
            ResidualBlock(256, 256, "down"),
        )
        self.body = nn.Sequential(*(ResidualBlock(256, 256) for _ in range(10)))
        self.decoder = nn.Sequential(
            ResidualBlock(256, 256, "up"),
            ResidualBlock(256, 256, "up"),
            ResidualBlock(256, 128, "up"),
            ResidualBlock(128, 64, "up"),
        )
        self.out_img_conv = ConvLayer(64, 3)  # not run
        self.out_mask_conv = ConvLayer(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes: (N, 3, 512, 512) RGB in [-1, 1] -> (N, 19, 512, 512), before softmax."""
        x = self.encoder(x)  # (N, 256, 32, 32)
        x = self.decoder(x + self.body(x))  # (N, 64, 512, 512)
        scores: Tensor = self.out_mask_conv(x)
        return scores
