"""Put restored faces back into the enlarged picture."""

import functools

import cv2
import numpy as np

from facemend.records import Crop, Floats, Matrix, Pixels, to_dtype
from facemend.stages.geometry import bounds, compose, cut, inverse, magnification, scaling, shift, shrunk

STRIP = 256  # rows of the canvas blended at once, so that floats never fill the memory


def paste(canvas: Pixels, crop: Crop, mask: Floats, ratio: tuple[float, float], strength: float = 1.0) -> None:
    """Blend one face into the canvas, in place; only the part of the canvas under the face is touched.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16: the enlarged picture.
        crop: the restored face with the map from the picture (not the canvas) to it; of any size.
        mask: (S, S) float32 in [0, 1]: where on the crop the face replaces the canvas; of any size.
        ratio: canvas px per picture px along x and y.
        strength: 1 replaces, 0 leaves the canvas as it is.
    """
    to_canvas = compose(scaling(*ratio), inverse(crop.matrix))
    rows, columns = bounds(to_canvas, crop.pixels.shape[:2], canvas.shape[:2])
    mask_to_canvas = compose(to_canvas, scaling(*np.divide(crop.pixels.shape[1::-1], mask.shape[::-1])))
    pixels, to_canvas = shrunk(crop.pixels, to_canvas)
    for top in range(rows.start, rows.stop, STRIP):
        strip = canvas[top : min(top + STRIP, rows.stop), columns]
        if not strip.size:
            return
        offset = shift(-columns.start, -top)
        face = _laid(pixels, compose(offset, to_canvas), strip.shape[:2], cv2.INTER_LANCZOS4)
        share = _laid(mask, compose(offset, mask_to_canvas), strip.shape[:2], cv2.INTER_LINEAR)[..., None] * strength
        strip[:] = to_dtype(strip + share * (face - strip), canvas.dtype)


def _laid(source: Pixels, matrix: Matrix, size: tuple[int, int], interpolation: int) -> Floats:
    """The source as it lies on a canvas of this size, float32; its outermost px go on for ever."""
    region, matrix = cut(source, matrix, size)
    region = region.astype(np.float32)
    laid = cv2.warpAffine(region, matrix, size[::-1], flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
    return laid.astype(np.float32, copy=False)


def canvas_px_per_crop_px(crop: Crop, ratio: tuple[float, float]) -> float:
    """Canvas px per crop px: above 1, the crop has too few pixels for the canvas."""
    return magnification(compose(scaling(*ratio), inverse(crop.matrix)))


def enlarged(crop: Crop, pixels: Pixels) -> Crop:
    """The crop with other, larger pixels of the same face."""
    factor = pixels.shape[0] / crop.pixels.shape[0]
    return Crop(pixels, compose(scaling(factor, factor), crop.matrix))


@functools.lru_cache(maxsize=4)
def square_mask(size: int) -> Floats:
    """(size, size) float32: 1 inside, fading to 0 before the crop's edge."""
    edge = size // 20
    mask = np.zeros((size, size), np.float32)
    mask[edge:-edge, edge:-edge] = 1
    return cv2.GaussianBlur(mask, (2 * edge + 1, 2 * edge + 1), 0).astype(np.float32, copy=False)
