"""Parts that the two vector-quantised restorers, CodeFormer and RestoreFormer, have in common.

Both descend from VQGAN: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis", 2020,
arXiv:2012.09841 (https://github.com/CompVis/taming-transformers, MIT). Inference only.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.upconv import nearest_conv

CODES = 1024  # entries of the codebook
CODE_CHANNELS = 256
# Channels at 512, 256, ... 16 px, and of the block before each.
CHANNELS = (64, 128, 128, 256, 256, 512)
FIRST_CHANNELS = 64


def group_norm(channels: int) -> nn.GroupNorm:
    """The normalisation in front of every convolution and attention."""
    return nn.GroupNorm(32, channels, eps=1e-6)


def norm_silu(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise, then SiLU in the memory of the normalised copy."""
    return F.silu(norm(x), inplace=True)


class Downsample(nn.Module):
    """Halves the size with a strided convolution, padded on the right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)  # padded all around, which needs no copy of x
        return out[:, :, 1:, 1:]  # (N, C, H/2, W/2)


class Upsample(nn.Module):
    """Doubles the size with nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nearest_conv(x, self.conv.weight, self.conv.bias)  # (N, C, 2H, 2W)


class ResBlock(nn.Module):
    """Residual block of two convolutions.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        shortcut: the checkpoint's name for the 1x1 convolution that exists where the channels change.
    """

    def __init__(self, in_channels: int, out_channels: int, shortcut: str) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = shortcut if in_channels != out_channels else None
        if self.shortcut:
            self.add_module(self.shortcut, nn.Conv2d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv1(norm_silu(self.norm1, x))
        out = self.conv2(norm_silu(self.norm2, out))
        return out.add_(self.get_submodule(self.shortcut)(x) if self.shortcut else x)


class Codebook(nn.Module):
    """The learned vectors that an image is put together from."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, CODE_CHANNELS)

    def nearest(self, x: Tensor) -> Tensor:
        """The index of the nearest vector at each place: (N, 256, H, W) -> (N, H*W)."""
        # In float32: half precision would make many codes equally near.
        x, vectors = x.float(), self.embedding.weight.float()  # (N, 256, H, W), (1024, 256)
        # |x - v|^2 without |x|^2, which is the same for every v.
        distance = vectors.square().sum(1) - 2 * (x.flatten(2).mT @ vectors.T)  # (N, H*W, 1024)
        return distance.argmin(2)

    def look_up(self, codes: Tensor, height: int) -> Tensor:
        """The vectors of codes: (N, H*W) -> (N, 256, H, W)."""
        vectors: Tensor = self.embedding(codes)  # (N, H*W, 256)
        return vectors.mT.reshape(len(codes), CODE_CHANNELS, height, -1)
