"""The residual U-Net of the bundled restorer and repairer.

It combines residual blocks without normalisation (EDSR: Lim et al., 2017, arXiv:1707.02921) with pixel shuffle and
unshuffle (Shi et al., 2016, arXiv:1609.05158) in a U-Net (Ronneberger et al., 2015, arXiv:1505.04597). All convolutions
are 3x3 or smaller, which are fast on a CPU, and the first level works at half size, after a pixel unshuffle by 2.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


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


class UNet(nn.Module):
    """A fully convolutional network from RGB to `channels` values for each pixel.

    Args:
        channels: number of values for each pixel of the result.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the input's size.
        blocks: number of residual blocks at each of these sizes, in the encoder and again in the decoder. The deepest
            level belongs to neither and has them once.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        *levels, deepest = zip(widths, blocks, strict=True)
        self.first = nn.Conv2d(12, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(chain(*level) for level in levels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.deepest = chain(*deepest)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(chain(*level) for level in levels)
        self.last = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)

    def values(self, x: Tensor, place: Tensor | None = None, noise: Sequence[Tensor] = ()) -> Tensor:
        """Compute the values of each pixel.

        Args:
            x: (N, 3, H, W); H and W are multiples of 16.
            place: (1 or N, widths[-1], H / 16, W / 16), added at the deepest level.
            noise: (1 or N, widths[0], H / 2, W / 2), (1 or N, widths[1], H / 4, W / 4) and so on, added in the decoder.

        Returns:
            (N, channels, H, W).
        """
        h = self.first(F.pixel_unshuffle(x, 2))
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            h = encode(h)
            skips.append(h)
            h = down(h)
        h = self.deepest(h if place is None else h + place)
        for decode, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            h = F.pixel_shuffle(up(h), 2) + skips.pop()
            h = decode(h + noise[len(skips)] if len(skips) < len(noise) else h)
        result: Tensor = F.pixel_shuffle(self.last(h), 2)
        return result
