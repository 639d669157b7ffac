"""RestoreFormer: a face decoded from a codebook, attending to what the encoder saw of the input.

Paper: Wang, Zhang, Chen, Wang, Luo, "RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value
Pairs", 2022, arXiv:2201.06374.
Source: https://github.com/wzhouxiff/RestoreFormer, Apache-2.0, in the version of https://github.com/TencentARC/GFPGAN.

Input and output: (N, 3, 512, 512) RGB in [-1, 1]; the output is not clamped. Any multiple of 32 px computes.

Attribute names are the official checkpoint's. What differs from the source:

- Inference only, one configuration.
- The nearest code is looked up, in float32; the source multiplies by a one-hot matrix.
- Self-attention and cross-attention share a class; where there is nothing to attend to, `norm2` is held but not run.
- Attention is PyTorch's fused one; enlarging and the convolution that follows are one operation (`upconv`).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.vq import (
    CHANNELS,
    CODE_CHANNELS,
    FIRST_CHANNELS,
    Codebook,
    Downsample,
    ResBlock,
    Upsample,
    group_norm,
    norm_silu,
)

HEADS = 8


class Block(ResBlock):
    """Residual block with this checkpoint's name for the shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, "nin_shortcut")


class MultiHeadAttnBlock(nn.Module):
    """Attention over all places of the features, asked by the features themselves or by others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.norm2 = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, asking: Tensor | None = None) -> Tensor:
        """Keys and values are of `x`, queries of `asking` or else of `x`; all (N, C, H, W)."""
        y = self.norm1(x)
        q = _heads(self.q(y if asking is None else self.norm2(asking)))
        out = F.scaled_dot_product_attention(q, _heads(self.k(y)), _heads(self.v(y)))  # (N, heads, H*W, C/heads)
        out = out.mT.reshape(x.shape)  # (N, C, H, W)
        projected: Tensor = self.proj_out(out)
        return projected.add_(x)


class Middle(nn.Module):
    """The blocks at the smallest size, in encoder and decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = Block(channels, channels)
        self.attn_1 = MultiHeadAttnBlock(channels)
        self.block_2 = Block(channels, channels)


class Level(nn.Module):
    """The blocks of one size; `attn` has one attention for each block, or none.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        blocks: how many.
        attention: whether attention follows each block.
    """

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * blocks
        self.block = nn.ModuleList(map(Block, widths[:-1], widths[1:]))
        self.attn = nn.ModuleList(MultiHeadAttnBlock(out_channels) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor, asking: Tensor | None = None) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x, asking)
        return x


class Encoder(nn.Module):
    """(N, 3, H, W) -> (N, 256, H/32, W/32) and what the decoder's attention asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, FIRST_CHANNELS, 3, padding=1)
        self.down = nn.ModuleList()
        before = FIRST_CHANNELS
        for channels in CHANNELS:
            last = channels == CHANNELS[-1]
            level = Level(before, channels, blocks=2, attention=last)
            if not last:
                level.add_module("downsample", Downsample(channels))
            self.down.append(level)
            before = channels
        self.mid = Middle(before)
        self.norm_out = group_norm(before)
        self.conv_out = nn.Conv2d(before, CODE_CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the features, and the middle's after its first and after its second block (N, 512, H/32, W/32)."""
        x = self.conv_in(x)
        for level in self.down[:-1]:
            x = level.get_submodule("downsample")(level(x))
        x = self.down[-1](x)  # (N, 512, H/32, W/32)
        first = self.mid.block_1(x)
        second = self.mid.block_2(self.mid.attn_1(first))
        return self.conv_out(norm_silu(self.norm_out, second)), first, second


class Decoder(nn.Module):
    """(N, 256, H/32, W/32) -> (N, 3, H, W). `up` runs from its last entry, the smallest size, to its first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(CODE_CHANNELS, CHANNELS[-1], 3, padding=1)
        self.mid = Middle(CHANNELS[-1])
        self.up = nn.ModuleList()
        for index, channels in enumerate(CHANNELS):
            last = channels == CHANNELS[-1]
            level = Level(channels if last else CHANNELS[index + 1], channels, blocks=3, attention=last)
            if index > 0:
                level.add_module("upsample", Upsample(channels))
            self.up.append(level)
        self.norm_out = group_norm(CHANNELS[0])
        self.conv_out = nn.Conv2d(CHANNELS[0], 3, 3, padding=1)

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        x = self.mid.block_1(self.conv_in(x))
        x = self.mid.block_2(self.mid.attn_1(x, second))
        for level in reversed(self.up[1:]):
            x = level.get_submodule("upsample")(level(x, first))  # attention at the smallest size only
        x = self.up[0](x)  # (N, 64, H, W)
        out: Tensor = self.conv_out(norm_silu(self.norm_out, x))
        return out


class RestoreFormer(nn.Module):
    """RestoreFormer (see the top of the file)."""

    # What codes depend on: of near-equal ones, half precision would choose another. Stays in float32: `Device.put`.
    exact = ("encoder", "quantize", "quant_conv")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.quantize = Codebook()
        self.quant_conv = nn.Conv2d(CODE_CHANNELS, CODE_CHANNELS, 1)
        self.post_quant_conv = nn.Conv2d(CODE_CHANNELS, CODE_CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore faces: (N, 3, 512, 512) RGB in [-1, 1] -> the same, not clamped."""
        features, first, second = self.encoder(x)
        codes = self.quantize.nearest(self.quant_conv(features))  # (N, 256)
        made = self.quantize.look_up(codes, height=features.shape[2])  # (N, 256, 16, 16)
        made, first, second = (x.to(self.post_quant_conv.weight.dtype) for x in (made, first, second))
        out: Tensor = self.decoder(self.post_quant_conv(made), first, second)
        return out


def _heads(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, heads, H*W, C/heads)."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, HEADS, channels // HEADS, height * width).mT
