"""Divide an axis into overlapping windows of equal length for networks that see a whole window at once."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from facemend.stages.tiles import Span

MARGIN = 1 / 4  # of the overlap at each end of a window without weight: there the network lacks the surroundings
RAMP = 1 / 2  # of the overlap over which the weight rises
MOVES = 1 / 4  # of the overlap by which inner windows move at most


def windows(cells: int, size: int, overlap: int, shift: float = 0, px: int = 1) -> list[Span]:
    """Divide an axis. Unlike `tiles.spans`, no window begins outside it, and windows can be moved.

    Args:
        cells: length of the axis.
        size: length of a window; of the axis, if that is shorter.
        overlap: number of cells that two neighbours have in common at least, before they are moved.
        shift: -1 to 1; where inner windows are moved to. The first and the last one stay.
        px: number of values of the result for each cell. Those of a window are `start` to `stop`.

    Returns:
        Windows from first to last. At each place of the result their weights sum to 1.
    """
    size = min(size, cells)
    count = math.ceil((cells - overlap) / (size - overlap)) if cells > size else 1
    moved = round(shift * MOVES * overlap)
    inner = [round(index * (cells - size) / (count - 1)) + moved for index in range(1, count - 1)]
    firsts = [0] if count == 1 else [0, *inner, cells - size]
    weights = np.zeros((count, cells * px))
    distances = (np.arange(size * px) + 0.5) / px  # in cells from the end of a window
    rise = np.clip((distances - MARGIN * overlap) / (RAMP * overlap), 0, 1)
    for index, first in enumerate(firsts):
        own = weights[index, first * px : (first + size) * px]
        own[:] = 1
        if index:
            own *= rise
        if index < count - 1:
            own *= rise[::-1]
    weights /= weights.sum(axis=0)
    spans = []
    for first, own in zip(firsts, weights, strict=True):
        used = np.flatnonzero(own)
        start, stop = int(used[0]), int(used[-1]) + 1
        spans.append(Span(first, size, start, stop, own[start:stop].astype(np.float32), px))
    return spans


def weighted(values: Tensor, row: Span, column: Span) -> Tensor:
    """Return the part of a window that counts, times its weights.

    Args:
        values: (..., h, w), the result for a whole window.
        row: the window along the height.
        column: that along the width.
    """
    px = round(row.ratio)
    rows = slice(row.start - row.first * px, row.stop - row.first * px)
    columns = slice(column.start - column.first * px, column.stop - column.first * px)
    down, across = (torch.from_numpy(span.weight).to(values.device) for span in (row, column))
    return values[..., rows, columns] * down[:, None] * across


def joined(rows: Sequence[Span], columns: Sequence[Span], part: Callable[[Span, Span], Tensor]) -> Tensor:
    """Compute all windows, and return their weighted sum, (1, C, H, W) float32 on the host.

    Args:
        rows: the windows along the height, with one value for each cell.
        columns: those along the width.
        part: returns the values of a window, (1, C, h, w) float32.
    """
    whole: Tensor | None = None
    shape = max(row.stop for row in rows), max(column.stop for column in columns)
    for row in rows:
        for column in columns:
            values = weighted(part(row, column).cpu(), row, column)
            if whole is None:
                whole = values.new_zeros((*values.shape[:2], *shape))
            whole[..., row.start : row.stop, column.start : column.stop] += values
    assert whole is not None  # for the type checker: there is always a window
    return whole
