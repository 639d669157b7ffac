"""CodeFormer: a transformer names the codebook entries that a face is put together from.

Paper: Zhou, Chan, Li, Loy, "Towards Robust Blind Face Restoration with Codebook Lookup Transformer", 2022,
arXiv:2206.11253.
Source: https://github.com/sczhou/CodeFormer, S-Lab License 1.0 (non-commercial).

Input and output: (N, 3, 512, 512) RGB in [-1, 1]; the output is not clamped.

Attribute names are the official checkpoint's. What differs from the source:

- Inference only, one configuration; the colours always follow the input (`adain=True` there).
- The most likely code is taken from the logits and looked up; the source goes through softmax, top-k and a one-hot
  matrix.
- Features for the fusion are kept only when it runs (`w` > 0).
- Attention is PyTorch's fused one; enlarging and the convolution that follows are one operation (`upconv`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.vq import (
    CHANNELS,
    CODE_CHANNELS,
    CODES,
    FIRST_CHANNELS,
    Codebook,
    Downsample,
    ResBlock,
    Upsample,
    group_norm,
)

WIDTH = 512  # numbers per token of the transformer
TOKENS = 16 * 16  # one for each place of the 16 px features
# Sizes in px where encoder features flow into the generator -> (block of the encoder they leave after, block of the
# generator they enter after, channels). The indices count the flat block lists of the checkpoint.
FUSIONS = {256: (5, 18, 128), 128: (8, 15, 128), 64: (11, 12, 256), 32: (14, 9, 256)}


class Block(ResBlock):
    """Residual block with this checkpoint's name for the shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, "conv_out")


class AttnBlock(nn.Module):
    """Self-attention with one head over all places of the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = (layer(y).flatten(2).mT for layer in (self.q, self.k, self.v))  # each (N, H*W, C)
        out = F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape)  # (N, C, H, W)
        projected: Tensor = self.proj_out(out)
        return projected.add_(x)


class Encoder(nn.Module):
    """(N, 3, 512, 512) -> (N, 256, 16, 16), as one flat list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, FIRST_CHANNELS, 3, padding=1)]
        before = FIRST_CHANNELS
        for channels in CHANNELS[:-1]:
            blocks += [Block(before, channels), Block(channels, channels), Downsample(channels)]
            before = channels
        last = CHANNELS[-1]
        blocks += [Block(before, last), AttnBlock(last), Block(last, last), AttnBlock(last)]
        blocks += [Block(last, last), AttnBlock(last), Block(last, last)]
        blocks += [group_norm(last), nn.Conv2d(last, CODE_CHANNELS, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)


class Generator(nn.Module):
    """(N, 256, 16, 16) -> (N, 3, 512, 512), as one flat list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        last = CHANNELS[-1]
        blocks: list[nn.Module] = [nn.Conv2d(CODE_CHANNELS, last, 3, padding=1)]
        blocks += [Block(last, last), AttnBlock(last), Block(last, last)]
        blocks += [Block(last, last), AttnBlock(last), Block(last, last), AttnBlock(last)]
        before = last
        for channels in reversed(CHANNELS[:-1]):
            blocks += [Upsample(before), Block(before, channels), Block(channels, channels)]
            before = channels
        blocks += [group_norm(before), nn.Conv2d(before, 3, 3, padding=1)]
        self.blocks = nn.ModuleList(blocks)


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP; the position is added to queries and keys only."""

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
    """Scales and shifts generator features by what the encoder saw."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = Block(2 * channels, channels)
        self.scale = _two_convolutions(channels)
        self.shift = _two_convolutions(channels)

    def forward(self, seen: Tensor, made: Tensor, w: float) -> Tensor:
        """`made` moved by `w` towards `seen`; both (N, C, H, W)."""
        both = self.encode_enc(torch.cat((seen, made), dim=1))
        move: Tensor = self.scale(both)
        return torch.add(made, move.mul_(made).add_(self.shift(both)), alpha=w)


class CodeFormer(nn.Module):
    """CodeFormer (see the top of the file)."""

    # What codes depend on: of near-equal ones, half precision would choose another. Stays in float32: `Device.put`.
    exact = ("encoder", "quantize", "feat_emb", "ft_layers", "idx_pred_layer", "position_emb")

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
            w: fidelity in [0, 1]: 0 trusts the codebook (best quality), 1 the input.

        Returns:
            (N, 3, 512, 512) RGB, about [-1, 1].
        """
        features, seen = self._encode(x, keep=w > 0)
        codes = self._logits(features).argmax(2)  # (N, 256)
        dtype = next(self.generator.parameters()).dtype
        made = _match_statistics(self.quantize.look_up(codes, height=16), features).to(dtype)  # (N, 256, 16, 16)
        entries = {enter: size for size, (_, enter, _) in FUSIONS.items()}
        for index, block in enumerate(self.generator.blocks):
            made = block(made)
            if index in entries and w > 0:
                size = entries[index]
                made = self.fuse_convs_dict[str(size)](seen.pop(size).to(dtype), made, w)
        return made  # (N, 3, 512, 512)

    def logits(self, x: Tensor) -> Tensor:
        """How likely each code is at each place: (N, 3, 512, 512) -> (N, 256 places, 1024 codes), before softmax."""
        return self._logits(self._encode(x, keep=False)[0])

    def _encode(self, x: Tensor, keep: bool) -> tuple[Tensor, dict[int, Tensor]]:
        """The 16 px features, and if `keep` those for the fusion by size."""
        exits = {leave: size for size, (leave, _, _) in FUSIONS.items()} if keep else {}
        seen = {}
        for index, block in enumerate(self.encoder.blocks):
            x = block(x)
            if index in exits:
                seen[exits[index]] = x
        return x, seen

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
