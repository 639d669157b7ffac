"""Resample a network's output for a tile from the network's scale to the requested size."""

import math

import numpy as np
import torch
from torch import Tensor

from facemend.records import Floats, Reals
from facemend.stages.tiles import Span

BLOCK = 64  # rows of the result resampled at once; a block needs only the rows of the tile near it
LANCZOS_LOBES = 3


class Resampling:
    """Resamples the rows of tiles with a Lanczos filter, which is computed once and kept on the device.

    Args:
        span: the rows of the tile.
        scale: px of the network's output per px of the input.
        place: where the tiles are.

    Attributes:
        weight: (rows of the result,), the weight of each in the blending with other tiles.
    """

    def __init__(self, span: Span, scale: int, place: torch.device) -> None:
        self.weight = torch.from_numpy(span.weight).to(place)
        self._first = span.start - span.first * scale  # where the result has the network's scale
        self._blocks: list[tuple[int, Tensor]] = []
        if span.ratio != scale:
            step = scale / span.ratio
            for start in range(span.start, span.stop, BLOCK):
                rows = np.arange(start, min(start + BLOCK, span.stop), dtype=np.float64)
                first, filters = lanczos_weights((rows + 0.5) * step - span.first * scale, step, span.length * scale)
                self._blocks.append((first, torch.from_numpy(filters).to(place)))

    def __call__(self, tile: Tensor) -> Tensor:
        """(C, h, w) of the network -> (C, rows of the result, w)."""
        if not self._blocks:
            return tile[:, self._first :][:, : len(self.weight)]
        return torch.cat([filters @ tile[:, first:][:, : filters.shape[1]] for first, filters in self._blocks], 1)


def lanczos_weights(centres: Reals, step: float, length: int) -> tuple[int, Floats]:
    """Return the weights with which px of a tile contribute to px of the result, along one axis.

    Args:
        centres: centres of the px of the result, in px of the tile from its edge.
        step: px of the tile per px of the result. Above 1, the filter is widened by this factor and averages.
        length: px of the tile.

    Returns:
        The index of the first px of the tile that contributes, and weights (len(centres), n) of the n px from there.
    """
    width = max(step, 1.0)
    first = max(math.floor(centres[0] - LANCZOS_LOBES * width), 0)
    stop = min(math.ceil(centres[-1] + LANCZOS_LOBES * width), length)
    distance = (np.arange(first, stop) + 0.5 - centres[:, None]) / width
    weights = np.sinc(distance) * np.sinc(distance / LANCZOS_LOBES) * (np.abs(distance) < LANCZOS_LOBES)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
