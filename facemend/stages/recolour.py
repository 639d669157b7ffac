"""Colours of a picture that is redrawn: exposure fusion before, and afterwards those it had; kept faces."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facemend.records import Box, Floats, Pixels, peak, to_dtype

SIGMA = 24  # px of the result; colours are compared after a blur of this size
SMALL = 8  # px of the result that one px of the comparison covers
BAND = 256  # rows of the result that are finished at a time
FEATHER = 0.25  # of a face's box, over which it fades into its redrawn surroundings
EXPOSURES = 0.7, 0.6  # of the brightness, by which the dark and the bright copy for hdr differ


def exposed(pixels: Pixels, hdr: float, has_colours: bool = True) -> Pixels:
    """Even out dark and bright parts: exposure fusion (Mertens, Kautz and Van Reeth 2007) of three brightnesses.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        hdr: how much the brightnesses differ, 0 to 1.
        has_colours: whether saturation says something; in a picture of one ink, rounding would decide.
    """
    white = peak(pixels)
    values = pixels.astype(np.float32) * (255 / white)
    darker, brighter = EXPOSURES
    exposures = [np.clip(values * factor, 0, 255) for factor in (1 - darker * hdr, 1, 1 + brighter * hdr)]
    fusion = cv2.createMergeMertens(contrast_weight=1.0, saturation_weight=float(has_colours), exposure_weight=0.0)
    return to_dtype(fusion.process(exposures) * white, pixels.dtype)


def inside(boxes: Sequence[Box], ys: npt.NDArray[Any], xs: npt.NDArray[Any]) -> Floats:
    """Return how much each place belongs to a box, (len(ys), len(xs)): 1 in it, and less around it down to 0."""
    share = np.zeros((len(ys), len(xs)), np.float32)
    for x0, y0, x1, y1 in boxes:
        feather = FEATHER * max(x1 - x0, y1 - y0, 1)
        down, across = (
            np.clip(1 - np.maximum(first - places, places - last) / feather, 0, 1).astype(np.float32)
            for places, first, last in ((ys, y0, y1), (xs, x0, x1))
        )
        np.maximum(share, down[:, None] * across, out=share)
    return share


def finish(canvas: Pixels, plain: Pixels, boxes: Sequence[Box]) -> None:
    """Give a redrawn picture the colours of the plain one, and its px in the boxes; in place, in bands.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16.
        plain: the same picture before it was redrawn.
        boxes: of faces, in px.
    """
    height, width = canvas.shape[:2]
    wanted = _small(plain) - _small(canvas)
    difference = cv2.GaussianBlur(wanted, (0, 0), SIGMA / SMALL)
    # A second time, for what one blur leaves of a gradient
    difference = difference + cv2.GaussianBlur(wanted - difference, (0, 0), SIGMA / SMALL)
    difference = cv2.resize(difference, (width, len(difference)), interpolation=cv2.INTER_LINEAR)
    columns = np.arange(width)
    for top in range(0, height, BAND):
        rows = np.arange(top, min(top + BAND, height))
        band, before = canvas[rows[0] : rows[-1] + 1], plain[rows[0] : rows[-1] + 1].astype(np.float32)
        places = np.clip((rows + 0.5) / SMALL - 0.5, 0, len(difference) - 1)
        above = places.astype(int)
        below = np.minimum(above + 1, len(difference) - 1)
        share = (places - above).astype(np.float32)[:, None, None]
        values = band + difference[above] * (1 - share) + difference[below] * share
        if boxes:
            values += (before - values) * inside(boxes, rows, columns)[..., None]
        band[:] = to_dtype(values, canvas.dtype)


def _small(pixels: Pixels) -> Floats:
    """A picture averaged over squares of `SMALL` px, (h, w, 3) float32, without a copy of the whole picture."""
    height, width = pixels.shape[:2]
    size = -(-width // SMALL)
    bands = (pixels[top : top + BAND].astype(np.float32) for top in range(0, height, BAND))
    parts = [cv2.resize(band, (size, -(-len(band) // SMALL)), interpolation=cv2.INTER_AREA) for band in bands]
    return np.concatenate(parts)
