"""Affine maps between pictures, and the one way pictures are warped.

Pixel centres lie at whole numbers in every map: the middle of the top left pixel is (0, 0), its corner (-0.5, -0.5).
Enlarging by s therefore maps x to (x + 0.5) * s - 0.5, and a picture cut out and put back does not move.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from facemend.records import Matrix, Pixels

MARGIN = 4  # px kept around a cut-out region: the reach of Lanczos interpolation


def scaling(x: float, y: float) -> Matrix:
    """(2, 3) map that enlarges by x and y about the picture's corner."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]], dtype=np.float64)


def shift(x: float, y: float) -> Matrix:
    """(2, 3) map that moves by x and y px."""
    return np.array([[1, 0, x], [0, 1, y]], dtype=np.float64)


def compose(*maps: Matrix) -> Matrix:
    """(2, 3) map that does the last of `maps` first, as in a matrix product."""
    product = np.eye(3)
    for matrix in maps:
        product = product @ np.vstack((matrix, (0, 0, 1)))
    return product[:2]


def inverse(matrix: Matrix) -> Matrix:
    """(2, 3) map from the target back to the source."""
    turned = np.linalg.inv(matrix[:, :2])
    return np.column_stack((turned, -turned @ matrix[:, 2]))


def magnification(matrix: Matrix) -> float:
    """Target px per source px (geometric mean of the axes)."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def bounds(matrix: Matrix, size: tuple[int, int], canvas: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a canvas that a warped picture can touch.

    Args:
        matrix: picture px -> canvas px.
        size: (height, width) of the picture.
        canvas: (height, width) of the canvas.
    """
    height, width = size
    corners = np.array([(x, y, 1) for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)])
    points = corners @ matrix.T
    x0, y0 = np.floor(points.min(axis=0)).astype(int)
    x1, y1 = np.ceil(points.max(axis=0)).astype(int) + 1
    return (
        slice(min(max(y0, 0), canvas[0]), min(max(y1, 0), canvas[0])),
        slice(min(max(x0, 0), canvas[1]), min(max(x1, 0), canvas[1])),
    )


def warp(
    source: Pixels,
    matrix: Matrix,
    size: tuple[int, int],
    *,
    interpolation: int,
    border: int,
    value: Sequence[float] = (),
) -> Pixels:
    """Warp a picture without aliasing: what shrinks is averaged over area first.

    Args:
        source: (H, W, 3) uint8 or uint16.
        matrix: source px -> target px.
        size: (height, width) of the target.
        interpolation: one of cv2.INTER_*.
        border: what lies outside the source, one of cv2.BORDER_*.
        value: the RGB of cv2.BORDER_CONSTANT.

    Returns:
        (height, width, 3) of the source's dtype.
    """
    region, matrix = shrunk(*cut(source, matrix, size))
    return cv2.warpAffine(region, matrix, size[::-1], flags=interpolation, borderMode=border, borderValue=value)


def cut(source: Pixels, matrix: Matrix, size: tuple[int, int]) -> tuple[Pixels, Matrix]:
    """The part of a picture that a target of this size is made of, and the map from its px to the target's."""
    back = inverse(matrix)
    reach = MARGIN * max(1, math.ceil(magnification(back)))
    rows, columns = bounds(back, size, source.shape[:2])
    top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
    region = source[top : rows.stop + reach, left : columns.stop + reach]
    return region, compose(matrix, shift(left, top))


def shrunk(source: Pixels, matrix: Matrix) -> tuple[Pixels, Matrix]:
    """A picture averaged down to the size it has on the target, if that is smaller, and the map from its px."""
    height, width = source.shape[:2]
    share = magnification(matrix)
    if share >= 1:
        return source, matrix
    small = max(1, round(width * share)), max(1, round(height * share))
    averaged: Pixels = cv2.resize(source, small, interpolation=cv2.INTER_AREA)
    return averaged, compose(matrix, scaling(width / small[0], height / small[1]))
