"""CodeFormer: a transformer predicts, from a degraded face, the codebook entries of the restored one.

Paper: Zhou, Chan, Li, Loy, "Towards Robust Blind Face Restoration with Codebook Lookup Transformer", 2022,
arXiv:2206.11253.
Source: https://github.com/sczhou/CodeFormer, S-Lab License 1.0 (non-commercial).

Input and output: (N, 3, 512, 512) RGB in [-1, 1]; the output is not clamped.

Attribute names are those of the official checkpoint. Differences from the source:

- Inference only, one configuration. The colours always follow the input (`adain=True` in the source).
- The codebook index is the argmax of the logits. The source computes softmax, top-k and a one-hot matrix.
- Encoder features are kept for the fusion only if it runs (`w` > 0).
- Attention is PyTorch's `scaled_dot_product_attention`. Upsampling and the convolution after it are one operation
  (`upconv`).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.vq import (
    CHANNELS,
    CODE_CHANNELS,
    CODES,
    FIRST_CHANNELS,
    Attention,
    Codebook,
    Downsample,
    ResBlock,
    Upsample,
    group_norm,
)

WIDTH = 512  # channels of a token of the transformer
TOKENS = 16 * 16  # one for each position of the 16 px feature map
# Where encoder features are fused into the generator: size in px -> (encoder block whose output is taken, generator
# block whose output is changed, channels). The indices are those of the checkpoint's lists of blocks.
FUSIONS = {256: (5, 18, 128), 128: (8, 15, 128), 64: (11, 12, 256), 32: (14, 9, 256)}


Block = partial(ResBlock, shortcut="conv_out")
SelfAttention = partial(Attention, heads=1, norms=("norm",))


class Encoder(nn.Module):
    """(N, 3, 512, 512) -> (N, 256, 16, 16); one list of blocks, run in order."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, FIRST_CHANNELS, 3, padding=1)]
        before = FIRST_CHANNELS
        for channels in CHANNELS[:-1]:
            blocks += [Block(before, channels), Block(channels, channels), Downsample(channels)]
            before = channels
        last = CHANNELS[-1]
        blocks += [Block(before, last), SelfAttention(last), Block(last, last), SelfAttention(last)]
        blocks += [Block(last, last), SelfAttention(last), Block(last, last)]
        blocks += [group_norm(last), nn.Conv2d(last, CODE_CHANNELS, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)


class Generator(nn.Module):
    """(N, 256, 16, 16) -> (N, 3, 512, 512); one list of blocks, run in order."""

    def __init__(self) -> None:
        super().__init__()
        last = CHANNELS[-1]
        blocks: list[nn.Module] = [nn.Conv2d(CODE_CHANNELS, last, 3, padding=1)]
        blocks += [Block(last, last), SelfAttention(last), Block(last, last)]
        blocks += [Block(last, last), SelfAttention(last), Block(last, last), SelfAttention(last)]
        before = last
        for channels in reversed(CHANNELS[:-1]):
            blocks += [Upsample(before), Block(before, channels), Block(channels, channels)]
            before = channels
        blocks += [group_norm(before), nn.Conv2d(before, 3, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP; the position embedding is added to queries and keys only."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, num_heads=8, batch_first=True)
        self.linear1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.linear2 = nn.Linear(2 * WIDTH, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        y = self.norm1(x)
        q = y + position
        x = x + self.self_attn(q, q, y, need_weights=False)[0]  # (N, T, C)
        out: Tensor = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return out


class Fusion(nn.Module):
    """Scales and shifts generator features; scale and shift are computed from the encoder's features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = Block(2 * channels, channels)
        self.scale = _two_convolutions(channels)
        self.shift = _two_convolutions(channels)

    def forward(self, encoded: Tensor, x: Tensor, w: float) -> Tensor:
        """Compute x + w * (scale * x + shift) from encoder features and generator features `x`, both (N, C, H, W)."""
        both = self.encode_enc(torch.cat((encoded, x), dim=1))
        scale: Tensor = self.scale(both)
        return torch.add(x, scale.mul_(x).add_(self.shift(both)), alpha=w)


class CodeFormer(nn.Module):
    """CodeFormer (see the top of the file)."""

    # Kept in float32 by `machine.network`. The codebook indices depend on these parts, and rounding to half precision
    # would change an index where two entries are nearly equal.
    float32_parts = ("encoder", "quantize", "feat_emb", "ft_layers", "idx_pred_layer", "position_emb")

    def __init__(self) -> None:
        super().__init__()
        self.position_emb = nn.Parameter(torch.zeros(TOKENS, WIDTH))
        self.encoder = Encoder()
        self.quantize = Codebook()
        self.generator = Generator()
        self.feat_emb = nn.Linear(CODE_CHANNELS, WIDTH)
        self.ft_layers = nn.ModuleList(TransformerLayer() for _ in range(9))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CODES, bias=False))
        self.fuse_convs_dict = nn.ModuleDict({str(size): Fusion(c) for size, (_, _, c) in sorted(FUSIONS.items())})

    def forward(self, x: Tensor, w: float = 0.5) -> Tensor:
        """Restore faces.

        Args:
            x: (N, 3, 512, 512) RGB in [-1, 1].
            w: fidelity in [0, 1]: 0 gives the best quality, 1 is most faithful to the input.

        Returns:
            (N, 3, 512, 512) RGB, about [-1, 1].
        """
        features, encoded = self._encode(x, keep=w > 0)
        codes = self._logits(features).argmax(2)  # (N, 256)
        dtype = next(self.generator.parameters()).dtype
        x = _match_statistics(self.quantize.look_up(codes, height=16), features).to(dtype)  # (N, 256, 16, 16)
        sizes = {block: size for size, (_, block, _) in FUSIONS.items()}
        for index, block in enumerate(self.generator.blocks):
            x = block(x)
            if index in sizes and w > 0:
                size = sizes[index]
                x = self.fuse_convs_dict[str(size)](encoded.pop(size).to(dtype), x, w)
        return x  # (N, 3, 512, 512)

    def logits(self, x: Tensor) -> Tensor:
        """The logits of each codebook entry at each position: (N, 3, 512, 512) -> (N, 256 positions, 1024 entries)."""
        return self._logits(self._encode(x, keep=False)[0])

    def _encode(self, x: Tensor, keep: bool) -> tuple[Tensor, dict[int, Tensor]]:
        """The 16 px features and, if `keep`, the features for the fusion by their size in px."""
        sizes = {block: size for size, (block, _, _) in FUSIONS.items()} if keep else {}
        encoded = {}
        for index, block in enumerate(self.encoder.blocks):
            x = block(x)
            if index in sizes:
                encoded[sizes[index]] = x
        return x, encoded

    def _logits(self, features: Tensor) -> Tensor:
        tokens = self.feat_emb(features.flatten(2).mT)  # (N, 256, 512)
        for layer in self.ft_layers:
            tokens = layer(tokens, self.position_emb)
        scores: Tensor = self.idx_pred_layer(tokens)  # (N, 256, 1024)
        return scores


def _two_convolutions(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def _match_statistics(x: Tensor, like: Tensor) -> Tensor:
    """`x` with the mean and standard deviation of `like` in each channel (adaptive instance normalisation)."""
    var, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
    like_var, like_mean = torch.var_mean(like, dim=(2, 3), keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * (like_var + 1e-5).sqrt() + like_mean
