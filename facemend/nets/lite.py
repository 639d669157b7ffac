"""LiteRestorer: the small face restorer bundled with the package.

A residual U-Net of 3x3 convolutions, fast on a CPU. There is no paper. It combines residual blocks without
normalisation (EDSR: Lim et al., 2017, arXiv:1707.02921) with pixel shuffle and unshuffle (Shi et al., 2016,
arXiv:1609.05158). Designed and trained for this project (`training/restorer.py`). Licence of the weights: CC0-1.0.

Input and output: (N, 3, 512, 512) RGB in [-1, 1], a face aligned to the template; the output is not clamped.

The first level works at half size, after a pixel unshuffle by 2. The network predicts what to add to the input, so a
good face is returned nearly unchanged. At the deepest level a learned position embedding is added. It helps because
aligned faces always have eyes, nose and mouth at the same positions.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACE_SIZE = 512  # px
DEEPEST = 16  # px of the face per position at the deepest level


class Block(nn.Module):
    """Residual block: two 3x3 convolutions, no normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(F.leaky_relu(self.conv1(x), 0.1))
        return x + change


def chain(width: int, blocks: int) -> nn.Sequential:
    """Residual blocks one after another."""
    return nn.Sequential(*(Block(width) for _ in range(blocks)))


class LiteRestorer(nn.Module):
    """Restore aligned faces.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the face size.
        blocks: number of residual blocks at each of these sizes, in the encoder and again in the decoder. The deepest
            level belongs to neither and has them once.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 192), blocks: tuple[int, ...] = (1, 2, 2, 4)) -> None:
        super().__init__()
        *levels, deepest = zip(widths, blocks, strict=True)
        self.first = nn.Conv2d(12, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(chain(*level) for level in levels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.place = nn.Parameter(torch.zeros(1, widths[-1], FACE_SIZE // DEEPEST, FACE_SIZE // DEEPEST))
        self.deepest = chain(*deepest)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(chain(*level) for level in levels)
        self.last = nn.Conv2d(widths[0], 12, 3, padding=1)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """Restore faces.

        Args:
            x: (N, 3, 512, 512) RGB in [-1, 1].
            place: for training on crops of aligned faces, the part of `self.place` for each item.

        Returns:
            (N, 3, 512, 512) RGB, about [-1, 1].
        """
        h = self.first(F.pixel_unshuffle(x, 2))  # (N, 32, 256, 256)
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            h = encode(h)
            skips.append(h)
            h = down(h)
        h = self.deepest(h + (self.place if place is None else place))  # (N, 192, 32, 32)
        for decode, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            h = decode(F.pixel_shuffle(up(h), 2) + skips.pop())
        detail: Tensor = F.pixel_shuffle(self.last(h), 2)
        return x + detail
