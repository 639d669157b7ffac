"""Add overlapping tiles."""

from collections.abc import Sequence

import torch
from torch import Tensor

from facemend.stages.tiles import Span


class Seams:
    """Adds tiles of a result where they overlap.

    The tiles come row by row, and in a row from left to right. Only what tiles share with later ones is kept, so the
    memory hardly grows with the result.

    Args:
        rows: the spans of the tiles along the height.
        columns: those along the width.
        place: where they are.
    """

    def __init__(self, rows: Sequence[Span], columns: Sequence[Span], place: torch.device) -> None:
        self._rows, self._columns = rows, columns
        self._above = torch.empty((1, 0, columns[-1].stop), device=place)  # px shared with the row of tiles before
        self._below = self._above  # px shared with the row of tiles after
        self._left = torch.empty(0, device=place)  # px shared with the tile before

    def add(self, tile: Tensor, row: int, column: int) -> tuple[Tensor, tuple[slice, slice]]:
        """Add a tile.

        Args:
            tile: (C, h, w), its px times their weights; it is written to.
            row: index of its span among the rows.
            column: index of its span among the columns.

        Returns:
            The px of the result that no later tile contributes to, (C, H, W), and their rows and columns.
        """
        (top, bottom, end), (left, right, _) = _reach(self._rows, row), _reach(self._columns, column)
        if column == 0:
            self._above, self._below = self._below, tile.new_empty((len(tile), end - bottom, self._above.shape[2]))
        else:
            tile[:, :, : self._left.shape[2]] += self._left
        self._left = tile[:, :, right - left :].clone()  # a copy, which does not keep the whole tile in memory
        complete = tile[:, :, : right - left]
        complete[:, : self._above.shape[1]] += self._above[:, :, left:right]
        self._below[:, :, left:right] = complete[:, bottom - top :]
        return complete[:, : bottom - top], (slice(top, bottom), slice(left, right))


def _reach(spans: Sequence[Span], index: int) -> tuple[int, int, int]:
    """The first px of a tile along an axis, the first that the next tile shares, and its end."""
    following = spans[index + 1].start if index + 1 < len(spans) else spans[index].stop
    return spans[index].start, following, spans[index].stop
