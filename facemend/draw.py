"""Pictures that show a result: before and after side by side, numbered faces, masks of faces and of repairs."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from facemend.records import Face, Floats, Picture, Pixels, converted, to_dtype
from facemend.stages.align import align, turn
from facemend.stages.geometry import TEMPLATE_SIZE, bounds, compose, inverse, scaling, shift, shrunk
from facemend.stages.paste import oval_mask

RESTORED_COLOUR, UNRESTORED_COLOUR = (40, 200, 80), (240, 160, 40)  # RGB of the boxes
WHITE = 255  # grey level between the pictures and under transparent pixels
SEAM = 4  # px between before and after


def before_after(before: Picture, after: Picture) -> Pixels:
    """Draw the input, enlarged to the output's size, to the left of the output.

    Args:
        before: the input.
        after: the output, H x W px.

    Returns:
        (H, 2 * W + SEAM, 3) uint8 RGB.
    """
    right = on_white(after)
    left = cv2.resize(on_white(before), right.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    seam = np.full((right.shape[0], SEAM, 3), WHITE, np.uint8)
    return np.concatenate((left, seam, right), axis=1)


def numbered(picture: Picture, faces: Sequence[Face]) -> Pixels:
    """Draw a box, the landmarks and the index of each face on the input.

    Args:
        picture: the input, H x W px. It is not changed.
        faces: the faces found in it.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    pixels = on_white(picture)
    line = max(2, round(min(pixels.shape[:2]) / 300))
    for index, face in enumerate(faces):
        colour = RESTORED_COLOUR if face.restored else UNRESTORED_COLOUR
        x0, y0, x1, y1 = (round(value) for value in face.box)
        cv2.rectangle(pixels, (x0, y0), (x1, y1), colour, line)
        for x, y in face.landmarks:
            cv2.circle(pixels, (round(x), round(y)), line, colour, -1)
        label = f"{index} {face.share:.0%}" if 0 < face.share < 1 else str(index)
        size = max(0.5, line * 0.35)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, size, line)
        top = max(y0, height + 2 * line)
        left = max(0, min(x0, pixels.shape[1] - width - 2 * line))
        cv2.rectangle(pixels, (left, top - height - 2 * line), (left + width + 2 * line, top), colour, -1)
        cv2.putText(pixels, label, (left + line, top - line), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), line)
    return pixels


def white_where(mask: Floats) -> Pixels:
    """Draw a mask (H, W) in [0, 1] as (H, W, 3) uint8 RGB: white where it is 1."""
    return np.repeat(to_dtype(mask * WHITE, np.uint8)[..., None], 3, axis=2)


def draw_faces(mask: Floats, picture: Picture, faces: Sequence[Face]) -> None:
    """Draw an oval on each face into a mask.

    Args:
        mask: (H, W) float32, of the picture or of an enlargement. It becomes 1 on the faces, fading to what it was.
        picture: the one in which the faces were found. A face whose landmarks fit no face is left out.
        faces: those to draw.
    """
    enlarge = scaling(mask.shape[1] / picture.pixels.shape[1], mask.shape[0] / picture.pixels.shape[0])
    for face in faces:
        if crop := align(picture.pixels, face.landmarks):
            oval = oval_mask(TEMPLATE_SIZE, turn(face.landmarks, crop))
            matrix = compose(enlarge, inverse(crop.matrix))
            rows, columns = bounds(matrix, oval.shape, mask.shape)
            part = mask[rows, columns]
            source, placed = shrunk(oval, compose(shift(-columns.start, -rows.start), matrix))
            np.maximum(part, cv2.warpAffine(source, placed, part.shape[::-1]), out=part)


def on_white(picture: Picture) -> Pixels:
    """Return a copy of the pixels on a white background: (H, W, 3) uint8 RGB."""
    pixels = converted(picture.pixels, np.uint8)
    if picture.alpha is None:
        return np.array(pixels)
    height, width = pixels.shape[:2]
    background = Image.new("RGB", (width, height), (WHITE, WHITE, WHITE))
    background.paste(Image.fromarray(pixels), mask=Image.fromarray(converted(picture.alpha, np.uint8)))
    return np.array(background)
