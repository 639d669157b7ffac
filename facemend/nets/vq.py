"""Layers shared by the two vector-quantised restorers, CodeFormer and RestoreFormer.

Both build on VQGAN: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis", 2020,
arXiv:2012.09841 (https://github.com/CompVis/taming-transformers, MIT). Inference only.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.upconv import nearest_conv

CODES = 1024  # entries of the codebook
CODE_CHANNELS = 256  # numbers in an entry
CHANNELS = (64, 128, 128, 256, 256, 512)  # of the feature maps of 512, 256, ... 16 px
FIRST_CHANNELS = 64  # after the encoder's first convolution


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` that on a GPU keeps channels last in memory; for inference only.

    PyTorch's operation copies an input with channels last to channels first, and the next convolution copies it back.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.with_channels_last(x) if x.is_cuda else super().forward(x)

    def with_channels_last(self, x: Tensor) -> Tensor:
        """The same, (N, C, H, W) -> (N, C, H, W), with channels last in memory.

        Statistics and arithmetic are in float32, in half precision too.
        """
        n, c, h, w = x.shape
        groups = x.permute(0, 2, 3, 1).reshape(n, h, w, self.num_groups, -1).float()
        var, mean = torch.var_mean(groups, dim=(1, 2, 4), correction=0)  # (N, groups)
        weight, bias = (values.float().view(self.num_groups, -1) for values in (self.weight, self.bias))
        factor = torch.rsqrt(var + self.eps)[..., None] * weight  # (N, groups, C / groups)
        shift = bias - mean[..., None] * factor
        factor, shift = (values.reshape(n, c, 1, 1) for values in (factor, shift))
        return torch.addcmul(shift, x, factor, out=torch.empty_like(x))  # rounded to the dtype of x at the end


def group_norm(channels: int) -> GroupNorm:
    """The normalisation used throughout: 32 groups, eps 1e-6."""
    return GroupNorm(32, channels, eps=1e-6)


def norm_silu(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise `x`, then apply SiLU in place to the result."""
    return F.silu(norm(x), inplace=True)


class Downsample(nn.Module):
    """3x3 convolution of stride 2, zero-padded on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        # Padding on two sides would copy x. The convolution pads all sides, and its first row and column are dropped.
        out: Tensor = self.conv(x)  # (N, C, H/2 + 1, W/2 + 1)
        return out[:, :, 1:, 1:]


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nearest_conv(x, self.conv.weight, self.conv.bias)  # (N, C, 2H, 2W)


class ResBlock(nn.Module):
    """Residual block of two convolutions.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        shortcut: the checkpoint's name of the 1x1 convolution on the shortcut, which exists only where the number of
            channels changes.
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


class Attention(nn.Module):
    """Multi-head attention between all positions of a feature map, with a residual connection.

    Args:
        channels: channels of input and output.
        heads: number of heads.
        norms: the checkpoint's names of the normalisations: of the input, then of a query source if it has one.
    """

    def __init__(self, channels: int, heads: int, norms: Sequence[str]) -> None:
        super().__init__()
        self.heads = heads
        self.norms = norms
        for name in norms:
            self.add_module(name, group_norm(channels))
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, query_source: Tensor | None = None) -> Tensor:
        """Compute keys and values from `x`, queries from `query_source` if given, else from `x`; all (N, C, H, W)."""
        y = self.get_submodule(self.norms[0])(x)
        source = y if query_source is None else self.get_submodule(self.norms[1])(query_source)
        projections = (self.q(source), self.k(y), self.v(y))
        q, k, v = (p.unflatten(1, (self.heads, -1)).flatten(3).mT for p in projections)  # (N, heads, H*W, C/heads)
        out = F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)  # (N, C, H, W)
        projected: Tensor = self.proj_out(out)
        return projected.add_(x)


class Codebook(nn.Module):
    """The learned vectors that represent an image, one for each position of the 16 px feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, CODE_CHANNELS)

    def nearest(self, x: Tensor) -> Tensor:
        """The index of the nearest entry at each position: (N, 256, H, W) -> (N, H*W)."""
        # In float32: half precision would round many distances to the same number.
        x, vectors = x.float(), self.embedding.weight.float()  # (N, 256, H, W), (1024, 256)
        # |x - v|^2 without |x|^2, which is the same for every v.
        distance = vectors.square().sum(1) - 2 * (x.flatten(2).mT @ vectors.T)  # (N, H*W, 1024)
        return distance.argmin(2)

    def look_up(self, codes: Tensor, height: int) -> Tensor:
        """The entries at these indices: (N, H*W) -> (N, 256, H, W)."""
        vectors: Tensor = self.embedding(codes)  # (N, H*W, 256)
        return vectors.mT.reshape(len(codes), CODE_CHANNELS, height, -1)
