"""Sheets that compare models: labelled pictures in rows, with a heading for each task."""

import math
from bisect import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facemend.records import Pixels

COLUMNS = 4  # at most, so that a sheet of pictures of 512 px is at most 2,146 px wide
MARGIN = 24  # px around and between the pictures
NARROWEST = 380  # px: the width that the longest name and note need
TITLE, LABEL, NOTE = 36, 28, 22  # px: sizes of the letters
BACKGROUND, TEXT, FAINT = (255, 255, 255), (20, 20, 20), (100, 100, 100)  # RGB


class Tile(NamedTuple):
    """A picture of a sheet.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        name: written under it.
        note: written under the name, smaller.
    """

    pixels: Pixels
    name: str
    note: str


class Section(NamedTuple):
    """Pictures under a heading, all of one size."""

    heading: str
    tiles: list[Tile]


def sheet(title: str, sections: Sequence[Section]) -> Pixels:
    """Draw a sheet.

    Args:
        title: written at the top, on one line; what does not fit is left out.
        sections: from top to bottom, each with at least one picture.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    grids = [_Grid(section) for section in sections]
    width = max(grid.width for grid in grids) + 2 * MARGIN
    height = 2 * MARGIN + TITLE + sum(grid.height for grid in grids)
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    _write(draw, (MARGIN, MARGIN), title, TITLE, TEXT, width - 2 * MARGIN)
    top = MARGIN + TITLE
    for grid in grids:
        _write(draw, (MARGIN, top + MARGIN), grid.heading, LABEL, FAINT, width - 2 * MARGIN)
        for index, tile in enumerate(grid.tiles):
            x, y = grid.place(index)
            x, y = x + MARGIN, y + top
            image.paste(Image.fromarray(tile.pixels), (x, y))
            below = y + grid.picture_height
            _write(draw, (x, below + 4), tile.name, LABEL, TEXT, grid.cell_width)
            _write(draw, (x, below + LABEL + 12), tile.note, NOTE, FAINT, grid.cell_width)
        top += grid.height
    return np.asarray(image)


class _Grid:
    """A section in as few rows as COLUMNS allows, with as many pictures in each as possible."""

    def __init__(self, section: Section) -> None:
        self.heading, self.tiles = section
        self.picture_height, width = self.tiles[0].pixels.shape[:2]
        self.cell_width = max(width, NARROWEST)
        self._cell_height = self.picture_height + LABEL + NOTE + 2 * MARGIN
        self._rows = math.ceil(len(self.tiles) / COLUMNS)
        self._columns = math.ceil(len(self.tiles) / self._rows)
        self.width = self._columns * (self.cell_width + MARGIN) - MARGIN
        self.height = 2 * MARGIN + LABEL + self._rows * self._cell_height

    def place(self, index: int) -> tuple[int, int]:
        """The top left corner of a picture, x and y in px of the section."""
        row, column = divmod(index, self._columns)
        return column * (self.cell_width + MARGIN), 2 * MARGIN + LABEL + row * self._cell_height


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: tuple[int, int, int], width: int
) -> None:
    """Write one line; where it is wider than `width` px, its end is replaced by three dots."""
    font = ImageFont.load_default(size)
    line = " ".join(text.split())
    if draw.textlength(line, font) > width:
        fitting = bisect(range(len(line)), float(width), key=lambda kept: draw.textlength(f"{line[:kept]}...", font))
        line = f"{line[: fitting - 1]}..."
    draw.text(place, line, colour, font)
