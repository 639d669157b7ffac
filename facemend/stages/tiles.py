"""Divide a picture into overlapping tiles."""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from facemend.records import Floats, Pixels, Reals

RAMP = 4  # px of the input on each side of a seam, over which two tiles are blended
EDGE = 8  # px added around the picture, so that networks do not react to its edge


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Attributes:
        first: first px of the input. It is negative if the tile begins before the picture.
        length: number of px of the input.
        start, stop: the px of the result to which the tile contributes, without `stop`.
        weight: (stop - start,) float32, the tile's weight at each of them. The weights of all tiles sum to 1.
        ratio: px of the result per px of the input.
    """

    first: int
    length: int
    start: int
    stop: int
    weight: Floats
    ratio: float


def spans(length: int, out_length: int, tile: int, step: int, overlap: int) -> list[Span]:
    """Divide an axis into overlapping tiles of equal length.

    Args:
        length: px of the input.
        out_length: px of the result.
        tile: length of a tile at most, in px of the input; a multiple of `step`.
        step: the length of a tile and the distances between tiles are multiples of this number, which networks with
            pixel unshuffling or windows need.
        overlap: px of the input that a tile includes beyond a seam.
    """
    shared = step * math.ceil(2 * overlap / step)  # px that two neighbours have in common, at least
    padded = step * math.ceil((length + 2 * EDGE) / step)
    count = max(1, math.ceil((padded - shared) / (tile - shared)))
    full = step * math.ceil((padded + shared * (count - 1)) / count / step)
    # Whole steps apart, so that every tile has the windows or the unshuffled px of the whole picture.
    firsts = [step * round(first) - EDGE for first in np.linspace(0, (padded - full) / step, count)]
    ratio = out_length / length
    ramp = RAMP * ratio
    # Seams in px of the result: the middle of the part that two neighbours have in common.
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
    """Return weights that rise from 0 before a seam to 1 after it, linearly over 2 * ramp px."""
    return np.clip((centres - seam) / (2 * ramp) + 0.5, 0, 1)


def cut(pixels: Pixels, row: Span, column: Span, border: int = cv2.BORDER_REPLICATE) -> Pixels:
    """Return the input of a tile. Px outside the picture repeat those at its edge; `border` is OpenCV's name of this.

    A mirror image would make a line of a frame of 1 px, as many scans have it.
    """
    height, width = pixels.shape[:2]
    top, bottom = max(row.first, 0), min(row.first + row.length, height)
    left, right = max(column.first, 0), min(column.first + column.length, width)
    return cv2.copyMakeBorder(
        pixels[top:bottom, left:right],
        top - row.first,
        row.first + row.length - bottom,
        left - column.first,
        column.first + column.length - right,
        border,
    )
