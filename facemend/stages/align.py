"""Cut a face out of a picture, turned upright and brought to the size restorers expect."""

import cv2
import numpy as np

from facemend.records import Crop, Landmarks, Matrix, Pixels, Reals
from facemend.stages.geometry import TEMPLATE_SIZE, bounds, inverse, scaling, warp

OFF = 50.0  # px of the template, 0.4 eye distances; a landmark farther than this from its target has less weight
ROUNDS = 20  # of weighting; the weights settle in fewer
SMALLEST_SCALE = 1e-4  # crop px per picture px
TEMPLATE = Landmarks(  # where FFHQ's mean face has its landmarks at 512 px
    left_eye=(192.98138, 239.94708),
    right_eye=(318.90277, 240.1936),
    nose=(256.63416, 314.01935),
    left_mouth=(201.26117, 371.41043),
    right_mouth=(313.08905, 371.15118),
)


def align(pixels: Pixels, landmarks: Landmarks, size: int = TEMPLATE_SIZE) -> Crop | None:
    """Cut out one face.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        landmarks: of the face, in px of `pixels`.
        size: side of the crop in px.

    Returns:
        The crop. None where no similarity transform fits the landmarks (they lie in one point, say), or where the crop
        lies outside the picture.
        What lies outside the picture is the mirror image of the part of the picture in the crop.
    """
    matrix = _similarity(landmarks.array().astype(np.float64), _template(size), OFF * size / TEMPLATE_SIZE)
    if matrix is None:
        return None
    rows, columns = bounds(inverse(matrix), (size, size), pixels.shape[:2])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    cut = warp(pixels, matrix, (size, size), interpolation=cv2.INTER_CUBIC, border=cv2.BORDER_REFLECT_101)
    return Crop(cut, matrix)


def turn(landmarks: Landmarks, crop: Crop) -> int:
    """How far a head is turned: px of the template from the middle of eyes and mouth to the nose; negative to the left.

    Args:
        landmarks: of the face, in px of the picture.
        crop: of the face.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = map(float, landmarks.array() @ crop.matrix[0, :2])
    middle = (left_eye + right_eye + left_mouth + right_mouth) / 4
    return round((nose - middle) * TEMPLATE_SIZE / len(crop.pixels))


def whole(pixels: Pixels, size: int = TEMPLATE_SIZE) -> Crop:
    """The whole picture as one crop, for pictures that are an aligned face already."""
    height, width = pixels.shape[:2]
    matrix = scaling(size / width, size / height)
    cut = warp(pixels, matrix, (size, size), interpolation=cv2.INTER_CUBIC, border=cv2.BORDER_REFLECT_101)
    return Crop(cut, matrix)


def _similarity(points: Reals, target: Reals, off: float) -> Matrix | None:
    """The rotation, enlargement and shift that bring points nearest to a target, by weighted least squares.

    All points have the same weight unless one is more than `off` px from its target. The weight of such a point falls
    with the square of its distance. So the map depends on the points without jumps, and a single wrong point hardly
    moves it. Least squares as by Umeyama 1991, doi:10.1109/34.88573; weights as by Holland and Welsch 1977,
    doi:10.1080/03610927708827533.

    Returns:
        (2, 3), or None where the points lie in one place.
    """
    # A similarity of the plane is a product and a sum of complex numbers.
    source, wanted = points @ (1, 1j), target @ (1, 1j)
    weights = np.full(len(source), 1 / len(source))
    for _ in range(ROUNDS):
        here, there = weights @ source, weights @ wanted
        spread = weights @ np.abs(source - here) ** 2
        if not np.isfinite(spread) or spread <= 0:
            return None
        turn = weights @ ((source - here).conj() * (wanted - there)) / spread
        distances = np.abs((source - here) * turn - (wanted - there))
        before, weights = weights, np.minimum(1, off / np.maximum(distances, 1e-9)) ** 2
        weights /= weights.sum()
        if np.abs(weights - before).max() < 1e-6:
            break
    if not abs(turn) > SMALLEST_SCALE:
        return None
    move = there - turn * here
    return np.array(((turn.real, -turn.imag, move.real), (turn.imag, turn.real, move.imag)))


def _template(size: int) -> Reals:
    """(5, 2) landmarks of the template in px of a crop of this size."""
    enlarge = scaling(size / TEMPLATE_SIZE, size / TEMPLATE_SIZE)
    points: Reals = np.array(TEMPLATE) @ enlarge[:, :2].T + enlarge[:, 2]
    return points
