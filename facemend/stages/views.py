"""Renderings of a picture for a detector: scaled, with more contrast, with a border, turned; and the maps back."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from facemend.records import Box, Face, Landmarks, Matrix, Pixels, peak, to_dtype
from facemend.stages.geometry import compose, inverse, scaling, shift, warp

SAMPLED = 256  # px of the longer side, of a sample whose contrast is measured
CONTRAST = 128  # 8-bit levels between its darkest and its brightest hundredth; less is raised to this
HIGHEST_GAIN = 16.0  # a plain grey picture stays nearly plain
MIDDLE = 112  # 8-bit level of the result's middle


class View(NamedTuple):
    """A rendering of a picture, or of a part of it.

    Attributes:
        pixels: (H, W, 3) RGB of the picture's dtype.
        to_picture: (2, 3), px of this view -> px of the picture.
    """

    pixels: Pixels
    to_picture: Matrix

    def turned(self, quarters: int) -> "View":
        """This view, turned to the left."""
        height, width = self.pixels.shape[:2]
        right, bottom = width - 1, height - 1
        back = {
            0: ((1, 0, 0), (0, 1, 0)),
            1: ((0, -1, right), (1, 0, 0)),
            2: ((-1, 0, right), (0, -1, bottom)),
            3: ((0, 1, 0), (-1, 0, bottom)),
        }[quarters]
        turned = np.ascontiguousarray(np.rot90(self.pixels, quarters))
        return View(turned, compose(self.to_picture, np.array(back, dtype=np.float64)))

    def on_picture(self, face: Face) -> Face:
        """A face in px of this view, in px of the picture.

        The box is the bounding box of the ellipse inscribed in the view's box.
        """
        linear, offset = self.to_picture[:, :2], self.to_picture[:, 2]
        points = face.landmarks.array() @ linear.T + offset
        low, high = np.array(face.box).reshape(2, 2)
        x, y = linear @ ((low + high) / 2) + offset
        half_x, half_y = np.hypot(*(linear * (high - low) / 2).T)
        box = float(x - half_x), float(y - half_y), float(x + half_x), float(y + half_y)
        return Face(box, Landmarks(*map(tuple, points.tolist())), face.score)


def scaled(view: View, scale: float) -> View:
    """A view with `scale` times as many px along each axis; what shrinks is averaged."""
    while scale <= 0.5 and min(view.pixels.shape[:2]) > 1:  # OpenCV halves far faster than it averages in other ratios
        height, width = (length // 2 for length in view.pixels.shape[:2])
        even = view.pixels[: 2 * height, : 2 * width]
        half = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
        view, scale = View(half, compose(view.to_picture, scaling(2, 2))), 2 * scale
    height, width = view.pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = cv2.resize(view.pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return View(pixels, compose(view.to_picture, scaling(width / size[0], height / size[1])))


def whole(picture: Pixels) -> View:
    """A view of a picture as it is."""
    return View(picture, scaling(1, 1))


def contrasted(view: View, part: float = 1, enough: float = CONTRAST) -> View:
    """A view with more contrast, where it has little: a detector finds few faces in a dark or faded picture.

    Args:
        view: the view.
        part: the part of each side, in the middle, in which the contrast is measured.
        enough: the contrast from which the view stays as it is, in 8-bit levels.
    """
    pixels, unit = view.pixels, peak(view.pixels) / 255
    step = max(1, max(pixels.shape[:2]) // SAMPLED)
    sides = (slice(round(side * (1 - part) / 2), round(side * (1 + part) / 2), step) for side in pixels.shape[:2])
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[tuple(sides)]), cv2.COLOR_RGB2GRAY)
    dark, bright = np.percentile(grey, (1, 99))
    if bright - dark >= enough * unit:
        return view
    gain = min(CONTRAST * unit / max(bright - dark, 1), HIGHEST_GAIN)
    values = (pixels - np.float32((dark + bright) / 2)) * np.float32(gain) + np.float32(MIDDLE * unit)
    return View(to_dtype(values, pixels.dtype), view.to_picture)


def squared(view: View, side: int, colour: Sequence[float]) -> View:
    """A view in the middle of a square of `side` px, with a border of one RGB colour around it."""
    height, width = view.pixels.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    bottom, right = side - height - top, side - width - left
    pixels = cv2.copyMakeBorder(view.pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)
    return View(pixels, compose(view.to_picture, shift(-left, -top)))


def around(view: View, box: Box, degrees: float, margin: float, side: int, colour: Sequence[float]) -> View:
    """A square of `side` px around a box.

    Args:
        view: what the square is cut out of.
        box: in px of the picture.
        degrees: that the square is turned to the left, so that what leans to the right by as much is upright in it.
        margin: side of the square over the longer side of the box.
        side: of the result, in px.
        colour: RGB of what lies outside the view.
    """
    x0, y0, x1, y1 = box
    scale = margin * max(x1 - x0, y1 - y0, 1e-3) / side  # px of the picture per px of the result
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    turn = np.array(((cos, -sin, (x0 + x1) / 2), (sin, cos, (y0 + y1) / 2)))
    to_picture = compose(turn, shift((1 - side) / 2, (1 - side) / 2))
    from_view = compose(inverse(to_picture), view.to_picture)
    size, flags = (side, side), {"interpolation": cv2.INTER_LINEAR, "border": cv2.BORDER_CONSTANT}
    return View(warp(view.pixels, from_view, size, value=colour, **flags), to_picture)
