"""Give a restored face the tone that the upscaler has given to its surroundings."""

import cv2
import numpy as np

from facemend.records import Crop, Pixels, peak, to_dtype
from facemend.stages.geometry import inverse, to_canvas, warp

SMALL = 64  # px of the side of the reduced copy in which tones are compared
SIGMA = 2.0  # px of the blur there, 1/32 of the side; lines and edges that an upscaler sharpens are narrower
IGNORED = 1.0  # 8-bit levels by which tones differ without meaning, as by rounding


def toned(face: Crop, before: Crop, canvas: Pixels, ratio: tuple[float, float]) -> Crop:
    """Change the tone of a restored face as the upscaler has changed that of the picture.

    Some upscalers change tones: paper that was light grey becomes white, say. A face that is restored from the picture
    as it was would then lie on a grey spot.

    Args:
        face: the restored face, uint8 or uint16.
        before: the same crop before it was restored.
        canvas: (H, W, 3) RGB of the same dtype: the enlarged picture. It shows the same as the picture.
        ratio: canvas px per picture px along x and y.

    Returns:
        The face, itself where the tones are the same.
    """
    size, to_crop = face.pixels.shape[:2], inverse(to_canvas(face, ratio))
    here = warp(canvas, to_crop, size, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    difference = cv2.resize(here.astype(np.float32) - before.pixels, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    difference = cv2.GaussianBlur(difference, (0, 0), SIGMA)
    ignored = IGNORED * peak(canvas) / 255
    change = difference - difference.clip(-ignored, ignored)
    if not change.any():
        return face
    pixels = face.pixels + cv2.resize(change, size[::-1], interpolation=cv2.INTER_LINEAR)
    return Crop(to_dtype(pixels, canvas.dtype), face.matrix)
