"""ParseNet: face parsing, the segmentation of a face into its parts.

Paper: a part of Chen, Li, Yang, Lin, Zhang, Wong, "Progressive Semantic-Aware Style Transformation for Blind Face
Restoration", 2021, arXiv:2009.08709. Trained on CelebAMask-HQ: Lee et al., 2019, arXiv:1907.11922.
Source: https://github.com/xinntao/facexlib, MIT; its file says it is modified from
https://github.com/chaofengc/PSFRGAN, which is CC BY-NC-SA 4.0 (non-commercial).

Input: (N, 3, 512, 512) RGB in [-1, 1]; any multiple of 16 px works. Output: (N, 19, 512, 512), logits of the classes.
Classes: 0 background, 1 skin, 2 nose, 3 glasses, 4 and 5 eyes, 6 and 7 brows, 8 and 9 ears, 10 mouth, 11 and 12 lips,
13 hair, 14 hat, 15 ear ring, 16 necklace, 17 neck, 18 cloth.

Attribute names are those of the official checkpoint. Differences from the source:

- Inference only, one configuration. Batch norm uses the stored statistics and is folded into the convolution.
- The second head, an enhanced image that the source does not use, has its parameters but is not run.
- Upsampling and the convolution after it are one operation (`upconv`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.upconv import nearest_conv

CLASSES = 19


class BatchNorm(nn.Module):
    """The parameters of a batch norm, under the names of the checkpoint."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)


class ConvLayer(nn.Module):
    """3x3 convolution padded by reflection, with a bias or a batch norm.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        scale: "down" for a stride of 2, "up" for nearest-neighbour upsampling by 2 before the convolution, or "".
        norm: whether there is a batch norm in place of the bias.
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
        """Weight and bias of the convolution with the batch norm folded in."""
        if self.norm is None:
            return self.conv2d.weight, self.conv2d.bias
        norm = self.norm.norm
        assert norm.running_mean is not None and norm.running_var is not None  # for the type checker
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (O,)
        return self.conv2d.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain


class ResidualBlock(nn.Module):
    """Residual block of two convolutions; the shortcut is a convolution where the size changes."""

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
        """Compute the logits of the classes: (N, 3, 512, 512) RGB in [-1, 1] -> (N, 19, 512, 512)."""
        x = self.encoder(x)  # (N, 256, 32, 32)
        x = self.decoder(x + self.body(x))  # (N, 64, 512, 512)
        scores: Tensor = self.out_mask_conv(x)
        return scores
