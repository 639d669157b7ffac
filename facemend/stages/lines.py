"""Straight lines among the areas of a mask."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from facemend.records import Floats

BESIDE = 1  # px; what is at most this far beside a line belongs to it
# At least this share of an area belongs to the line. The rest may be other damage, or parts of the picture, that touch
# the line.
ON_LINE = 2 / 3
# The px on the line fill at least this share of the rectangle around them; those of a bent line fill less.
STRAIGHT = 0.82
FITTED = 1000  # px of an area to which the axis is fitted: more px take longer and hardly move it


class Axis(NamedTuple):
    """The axis of a straight line.

    Attributes:
        middle: (2,), x and y of a point of it.
        direction: (2,), a unit vector along it.
    """

    middle: Floats
    direction: Floats

    def along(self, px: NDArray[np.intp]) -> Floats:
        """(N,), how far px (N, 2) are from the middle along the axis."""
        return np.asarray((px - self.middle) @ self.direction)

    def off(self, px: NDArray[np.intp]) -> Floats:
        """(N,), how far px (N, 2) are from the axis."""
        return np.asarray(np.abs((px - self.middle) @ (-self.direction[1], self.direction[0])))


class Line(NamedTuple):
    """A straight line.

    Attributes:
        px: (N, 2), x and y of its px.
        axis: its axis.
        width: in px; 0 for a line of 1 px along a row or a column.
        length: in px.
    """

    px: NDArray[np.intp]
    axis: Axis
    width: float
    length: float


def lines(areas: NDArray[np.uint8], length: float, width: float) -> Iterator[Line]:
    """Find the connected areas that are straight lines.

    Args:
        areas: (H, W), 1 in the areas.
        length: the least length of a line in px.
        width: the largest width in px.
    """
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(areas)
    for label, (x, y, across, down, _) in enumerate(boxes[1:].tolist(), 1):
        if math.hypot(across, down) < length:  # so most areas need no fit
            continue
        px = np.argwhere(labels[y : y + down, x : x + across] == label)[:, ::-1] + (x, y)
        sample = px[:: math.ceil(len(px) / FITTED)].astype(np.float32)
        fitted = cv2.fitLine(sample, cv2.DIST_WELSCH, 0, 0.01, 0.01).ravel()
        axis = Axis(middle=fitted[2:], direction=fitted[:2])
        off = axis.off(px)
        # In a straight line, the distances from the axis lie evenly between 0 and half the width. So half the width is
        # twice their median, and twice their mean; for the mean, only px on the line count.
        on = off <= 2 * np.median(off) + BESIDE
        line = Line(px[on], axis, width=4 * float(off[on].mean()), length=float(np.ptp(axis.along(px[on]))))
        least = max(ON_LINE * len(px), STRAIGHT * line.width * line.length)
        if line.width <= width and line.length >= length and len(line.px) >= least:
            yield line
