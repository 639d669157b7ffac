"""Affine maps between pictures, and warping with them.

Coordinates are x, y in px. Whole numbers are pixel centres: (0, 0) is the centre of the top left pixel, and
(-0.5, -0.5) is the corner of the picture. Enlarging by s therefore maps x to (x + 0.5) * s - 0.5. With this convention,
a region that is cut out, enlarged, shrunk and put back does not move.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from facemend.records import Crop, Matrix, Pixels

TEMPLATE_SIZE = 512  # px, side of an aligned face
MARGIN = 4  # px kept around a region, because Lanczos interpolation at its edge reads them


def scaling(x: float, y: float) -> Matrix:
    """Return the map (2, 3) that enlarges by x and y and keeps the picture's top left corner in place."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]], dtype=np.float64)


def shift(x: float, y: float) -> Matrix:
    """Return the map (2, 3) that moves by x and y px."""
    return np.array([[1, 0, x], [0, 1, y]], dtype=np.float64)


def compose(*maps: Matrix) -> Matrix:
    """Return the map (2, 3) that applies all `maps`, the last one first, as in a matrix product."""
    product = np.eye(3)
    for matrix in maps:
        product = product @ np.vstack((matrix, (0, 0, 1)))
    return product[:2]


def inverse(matrix: Matrix) -> Matrix:
    """Return the map (2, 3) from the target to the source of a map."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack((linear, -linear @ matrix[:, 2]))


def magnification(matrix: Matrix) -> float:
    """Return the target px per source px of a map: the geometric mean of both axes."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def to_canvas(crop: Crop, ratio: tuple[float, float]) -> Matrix:
    """Return the map (2, 3) from crop px to px of the enlarged picture, which has `ratio` px per px along x and y."""
    return compose(scaling(*ratio), inverse(crop.matrix))


def bounds(matrix: Matrix, size: tuple[int, int], canvas: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a canvas that a warped picture can cover.

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
    """Warp a picture. To avoid aliasing, a picture that becomes smaller is averaged first.

    Args:
        source: (H, W, 3) uint8 or uint16.
        matrix: source px -> target px.
        size: (height, width) of the target.
        interpolation: one of cv2.INTER_*.
        border: how pixels outside the source are filled, one of cv2.BORDER_*.
        value: the RGB of cv2.BORDER_CONSTANT.

    Returns:
        (height, width, 3) of the source's dtype.
    """
    region, matrix = shrunk(*cut(source, matrix, size))
    if border == cv2.BORDER_REFLECT_101 and 1 in region.shape[:2]:  # OpenCV 5.0 does not return from it
        border = cv2.BORDER_REPLICATE
    return cv2.warpAffine(region, matrix, size[::-1], flags=interpolation, borderMode=border, borderValue=value)


def cut(source: Pixels, matrix: Matrix, size: tuple[int, int]) -> tuple[Pixels, Matrix]:
    """Cut out the region of a picture that a warp needs.

    Args:
        source: (H, W, 3) or (H, W).
        matrix: source px -> target px.
        size: (height, width) of the target.

    Returns:
        The region, and the map from its px to target px.
    """
    to_source = inverse(matrix)
    margin = MARGIN * max(1, math.ceil(magnification(to_source)))
    rows, columns = bounds(to_source, size, source.shape[:2])
    top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
    region = source[top : rows.stop + margin, left : columns.stop + margin]
    return region, compose(matrix, shift(left, top))


def shrunk(source: Pixels, matrix: Matrix) -> tuple[Pixels, Matrix]:
    """Average a picture to the size that it has in the target, if it is smaller there.

    Args:
        source: (H, W, 3) or (H, W).
        matrix: source px -> target px.

    Returns:
        The picture, and the map from its px to target px.
    """
    height, width = source.shape[:2]
    scale = magnification(matrix)
    if scale >= 1:
        return source, matrix
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    averaged: Pixels = cv2.resize(source, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return averaged, compose(matrix, scaling(width / new_width, height / new_height))
