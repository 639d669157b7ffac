"""Cut a picture into overlapping tiles, and bring what a network makes of one to the size asked for."""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facemend.records import Floats, Pixels

OVERLAP = 28  # px of the input a tile sees beyond a seam; with 24, one of the networks differs by two levels
RAMP = 4  # px of the input on each side of a seam over which two tiles are blended
EDGE = 8  # px of mirror image around the picture, so that networks do not see its edge as an edge
BLOCK = 64  # px of the result resampled at once; each block only needs the px of the tile around it
LANCZOS = 3  # lobes of the filter between the network's scale and the scale asked for

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Attributes:
        first: px of the input where the tile begins; may lie outside the picture.
        length: px of the input.
        start, stop: px of the result it contributes to.
        weight: (stop - start,) float32, its share of each; the shares of neighbours sum to 1.
        ratio: px of the result per px of the input.
    """

    first: int
    length: int
    start: int
    stop: int
    weight: Floats
    ratio: float


def spans(length: int, out_length: int, tile: int, step: int) -> list[Span]:
    """Cut an axis into equal, overlapping tiles.

    Args:
        length: px of the input.
        out_length: px of the result.
        tile: px of the input a tile has at most; a multiple of `step`.
        step: tiles are multiples of this many px, as networks that fold pixels need.
    """
    shared = 2 * OVERLAP  # px two neighbours both see
    padded = step * math.ceil((length + 2 * EDGE) / step)
    count = max(1, math.ceil((padded - shared) / (tile - shared)))
    full = step * math.ceil((padded + shared * (count - 1)) / count / step)
    firsts = [round(first) for first in np.linspace(-EDGE, padded - EDGE - full, count)]
    ratio = out_length / length
    ramp = RAMP * ratio
    # Seams in px of the result: the middle between the end of one tile and the beginning of the next.
    seams = [(before + full + after) / 2 * ratio for before, after in itertools.pairwise(firsts)]
    tiles = []
    for first, left, right in zip(firsts, [None, *seams], [*seams, None], strict=True):
        start = 0 if left is None else round(left - ramp)
        stop = out_length if right is None else round(right + ramp)
        centres = np.arange(start, stop) + 0.5
        rise = 1 if left is None else _ramp(centres, left, ramp)
        fall = 0 if right is None else _ramp(centres, right, ramp)
        weight = np.broadcast_to(rise - fall, centres.shape).astype(np.float32)
        tiles.append(Span(first, full, start, stop, weight, ratio))
    return tiles


def _ramp(centres: Reals, seam: float, ramp: float) -> Reals:
    """0 before the seam, 1 behind it, a straight line over 2 * ramp px around it."""
    return np.clip((centres - seam) / (2 * ramp) + 0.5, 0, 1)


def cut(pixels: Pixels, row: Span, column: Span) -> Pixels:
    """The tile's input, mirrored where it lies outside the picture."""
    height, width = pixels.shape[:2]
    top, bottom = max(row.first, 0), min(row.first + row.length, height)
    left, right = max(column.first, 0), min(column.first + column.length, width)
    return cv2.copyMakeBorder(
        pixels[top:bottom, left:right],
        top - row.first,
        row.first + row.length - bottom,
        left - column.first,
        column.first + column.length - right,
        cv2.BORDER_REFLECT_101,
    )


def resampled(tile: Tensor, span: Span, scale: int) -> Tensor:
    """Bring the rows of a tile (3, h, w) from the network's scale to the result's px `start` to `stop`."""
    if span.ratio == scale:
        return tile[:, span.start - span.first * scale :][:, : span.stop - span.start]
    blocks = []
    for start in range(span.start, span.stop, BLOCK):
        rows = np.arange(start, min(start + BLOCK, span.stop), dtype=np.float64)
        centres = (rows + 0.5) * (scale / span.ratio) - span.first * scale
        first, weights = _lanczos_weights(centres, scale / span.ratio, span.length * scale)
        blocks.append(torch.from_numpy(weights).to(tile.device) @ tile[:, first : first + weights.shape[1]])
    return torch.cat(blocks, 1)


def _lanczos_weights(centres: Reals, step: float, length: int) -> tuple[int, Floats]:
    """What each px of the result takes from an axis of a tile.

    Args:
        centres: where the px of the result lie on that axis, in px from its first px's edge.
        step: px of the axis per px of the result; where it is above 1, the filter widens and averages.
        length: px of the axis.

    Returns:
        The first px that counts, and (len(centres), n) weights of the n px from there on.
    """
    width = max(step, 1.0)
    below = max(math.floor(centres[0] - LANCZOS * width), 0)
    above = min(math.ceil(centres[-1] + LANCZOS * width), length)
    distance = (np.arange(below, above) + 0.5 - centres[:, None]) / width
    weights = np.sinc(distance) * np.sinc(distance / LANCZOS) * (np.abs(distance) < LANCZOS)
    return below, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
