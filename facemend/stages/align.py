"""Cut a face out of a picture, turned upright and brought to the size restorers expect."""

import cv2
import numpy as np

from facemend.records import Crop, Floats, Landmarks, Matrix, Pixels
from facemend.stages.geometry import magnification, scaling, warp

TEMPLATE_SIZE = 512  # px
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
        The crop, or None where no similarity transform fits the landmarks (they lie in one point, say).
        What lies outside the picture is its mirror image.
    """
    fit = cv2.estimateAffinePartial2D(landmarks.array(), _template(size), method=cv2.LMEDS)[0]
    if fit is None:
        return None
    matrix: Matrix = fit.astype(np.float64)
    if not np.isfinite(matrix).all() or magnification(matrix) < 1e-4:
        return None
    cut = warp(pixels, matrix, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    return Crop(cut, matrix)


def whole(pixels: Pixels, size: int = TEMPLATE_SIZE) -> Crop:
    """The whole picture as one crop, for pictures that are an aligned face already."""
    height, width = pixels.shape[:2]
    matrix = scaling(size / width, size / height)
    cut = warp(pixels, matrix, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    return Crop(cut, matrix)


def _template(size: int) -> Floats:
    """(5, 2) landmarks of the template in px of a crop of this size."""
    enlarge = scaling(size / TEMPLATE_SIZE, size / TEMPLATE_SIZE)
    points: Floats = (TEMPLATE.array() @ enlarge[:, :2].T + enlarge[:, 2]).astype(np.float32)
    return points
