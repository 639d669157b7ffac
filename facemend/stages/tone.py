"""Give a restored face the tone that the upscaler has given to its surroundings."""

import cv2
import numpy as np

from facemend.records import Crop, Pixels, peak, to_dtype
from facemend.stages.geometry import compose, inverse, scaling, warp

SMALL = 64  # px of the side of the reduced copy in which tones are compared
SIGMA = 2.0  # px of the blur there: differences of less extent are edges and noise
IGNORED = 1.0  # 8-bit levels by which tones differ without meaning, as by rounding


def toned(face: Pixels, crop: Crop, canvas: Pixels, ratio: tuple[float, float]) -> Pixels:
    """Change the tone of a restored face as the upscaler has changed that of the picture around it.

    Some upscalers change tones: paper that was light grey becomes white, say. A face that is restored from the picture
    as it was would then lie on a grey spot.

    Args:
        face: (S, S, 3) RGB, uint8 or uint16, restored.
        crop: the face before it was restored, of the same size.
        canvas: (H, W, 3) RGB of the same dtype: the enlarged picture.
        ratio: canvas px per picture px along x and y.

    Returns:
        (S, S, 3), the face itself where the tones are the same.
    """
    size = face.shape[:2]
    to_crop = compose(crop.matrix, inverse(scaling(*ratio)))
    here = warp(canvas, to_crop, size, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    difference = cv2.resize(here.astype(np.float32) - crop.pixels, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    difference = cv2.GaussianBlur(difference, (0, 0), SIGMA)
    ignored = IGNORED * peak(face) / 255
    change = difference - difference.clip(-ignored, ignored)
    if not change.any():
        return face
    return to_dtype(face + cv2.resize(change, size[::-1], interpolation=cv2.INTER_LINEAR), face.dtype)
