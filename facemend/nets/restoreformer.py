"""RestoreFormer: the face is decoded from codebook entries, with cross-attention to the encoder's features.

Paper: Wang, Zhang, Chen, Wang, Luo, "RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value
Pairs", 2022, arXiv:2201.06374.
Source: https://github.com/wzhouxiff/RestoreFormer, Apache-2.0, in the version of https://github.com/TencentARC/GFPGAN.

Input and output: (N, 3, 512, 512) RGB in [-1, 1]; the output is not clamped. Any multiple of 32 px works.

Attribute names are those of the official checkpoint. Differences from the source:

- Inference only, one configuration.
- The nearest codebook entry is looked up by its index, in float32. The source multiplies by a one-hot matrix.
- Self-attention and cross-attention are one class. `norm2` is unused in self-attention.
- Attention is PyTorch's `scaled_dot_product_attention`. Upsampling and the convolution after it are one operation
  (`upconv`).
"""

from functools import partial

from torch import Tensor, nn

from facemend.nets.vq import (
    CHANNELS,
    CODE_CHANNELS,
    FIRST_CHANNELS,
    Attention,
    Codebook,
    Downsample,
    ResBlock,
    Upsample,
    group_norm,
    norm_silu,
)

Block = partial(ResBlock, shortcut="nin_shortcut")
MultiHeadAttention = partial(Attention, heads=8, norms=("norm1", "norm2"))


class Middle(nn.Module):
    """The blocks at the smallest size, of the encoder and of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = Block(channels, channels)
        self.attn_1 = MultiHeadAttention(channels)
        self.block_2 = Block(channels, channels)


class Level(nn.Module):
    """The residual blocks of one size.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        blocks: number of blocks.
        attention: whether an attention layer follows each block.
    """

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * blocks
        self.block = nn.ModuleList(map(Block, widths[:-1], widths[1:]))
        self.attn = nn.ModuleList(MultiHeadAttention(out_channels) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor, query_source: Tensor | None = None) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x, query_source)
        return x


class Encoder(nn.Module):
    """(N, 3, H, W) -> features (N, 256, H/32, W/32) and two sources of queries for the decoder's attention."""

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
        """Encode.

        Returns:
            The features (N, 256, H/32, W/32), and the outputs of the two blocks of `mid`, each (N, 512, H/32, W/32).
        """
        x = self.conv_in(x)
        for level in self.down[:-1]:
            x = level.get_submodule("downsample")(level(x))
        x = self.down[-1](x)  # (N, 512, H/32, W/32)
        first = self.mid.block_1(x)
        second = self.mid.block_2(self.mid.attn_1(first))
        return self.conv_out(norm_silu(self.norm_out, second)), first, second


class Decoder(nn.Module):
    """(N, 256, H/32, W/32) -> (N, 3, H, W). `up` is run in reverse: its last entry has the smallest size."""

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

    # Kept in float32 by `machine.network`. The codebook indices depend on these parts, and rounding to half precision
    # would change an index where two entries are nearly equal.
    float32_parts = ("encoder", "quantize", "quant_conv")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.quantize = Codebook()
        self.quant_conv = nn.Conv2d(CODE_CHANNELS, CODE_CHANNELS, 1)
        self.post_quant_conv = nn.Conv2d(CODE_CHANNELS, CODE_CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore faces: (N, 3, 512, 512) RGB in [-1, 1] -> (N, 3, 512, 512) RGB, about [-1, 1]."""
        features, first, second = self.encoder(x)
        codes = self.quantize.nearest(self.quant_conv(features))  # (N, 256)
        x = self.quantize.look_up(codes, height=features.shape[2])  # (N, 256, 16, 16)
        x, first, second = (t.to(self.post_quant_conv.weight.dtype) for t in (x, first, second))
        out: Tensor = self.decoder(self.post_quant_conv(x), first, second)
        return out
