"""Pictures about a result: before beside after, and faces with their numbers."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from facemend.records import Face, Picture, Pixels, converted

RESTORED, LEFT = (40, 200, 80), (240, 160, 40)  # RGB of the boxes of faces restored and left alone
PAPER = 255  # grey level under transparent pixels
SEAM = 4  # px of white between before and after


def before_after(before: Picture, after: Picture) -> Pixels:
    """The input, enlarged to the output's size, left of the output: (H, 2 * W + 4, 3) uint8 RGB."""
    right = _flat(after)
    left = cv2.resize(_flat(before), right.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    seam = np.full((right.shape[0], SEAM, 3), PAPER, np.uint8)
    return np.concatenate((left, seam, right), axis=1)


def numbered(picture: Picture, faces: Sequence[Face]) -> Pixels:
    """The input with a box, landmarks and an index on each face: (H, W, 3) uint8 RGB."""
    pixels = _flat(picture)
    line = max(2, round(min(pixels.shape[:2]) / 300))
    for index, face in enumerate(faces):
        colour = RESTORED if face.restored else LEFT
        x0, y0, x1, y1 = (round(value) for value in face.box)
        cv2.rectangle(pixels, (x0, y0), (x1, y1), colour, line)
        for x, y in face.landmarks:
            cv2.circle(pixels, (round(x), round(y)), line, colour, -1)
        label, size = str(index), max(0.5, line * 0.35)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, size, line)
        top = max(y0, height + 2 * line)
        cv2.rectangle(pixels, (x0, top - height - 2 * line), (x0 + width + 2 * line, top), colour, -1)
        cv2.putText(pixels, label, (x0 + line, top - line), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), line)
    return pixels


def _flat(picture: Picture) -> Pixels:
    """(H, W, 3) uint8 RGB of its own memory, transparent parts on white."""
    pixels = converted(picture.pixels, np.uint8)
    if picture.alpha is None:
        return np.array(pixels)
    height, width = pixels.shape[:2]
    page = Image.new("RGB", (width, height), (PAPER, PAPER, PAPER))
    page.paste(Image.fromarray(pixels), mask=Image.fromarray(converted(picture.alpha, np.uint8)))
    return np.array(page)
