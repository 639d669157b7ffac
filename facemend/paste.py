"""Put restored faces back into the enlarged picture."""

import functools

import cv2
import numpy as np

from facemend.geometry import bounds, compose, inverse, magnification, scaling, shift, warp
from facemend.records import Crop, Floats, Pixels, to_dtype


def paste(canvas: Pixels, crop: Crop, mask: Floats, ratio: tuple[float, float], strength: float = 1.0) -> None:
    """Blend one face into the canvas, in place; only the part of the canvas under the face is touched.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16: the enlarged picture.
        crop: the restored face with the map from the picture (not the canvas) to it; of any size.
        mask: (S, S) float32 in [0, 1]: where the face replaces the canvas. Resized to the crop if need be.
        ratio: canvas px per picture px along x and y.
        strength: 1 replaces, 0 leaves the canvas as it is.
    """
    to_canvas = compose(scaling(*ratio), inverse(crop.matrix))
    size = crop.pixels.shape[:2]
    rows, columns = bounds(to_canvas, size, canvas.shape[:2])
    if rows.start == rows.stop or columns.start == columns.stop:
        return
    if mask.shape != size:
        mask = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    target = compose(shift(-columns.start, -rows.start), to_canvas)
    layers = np.dstack((crop.pixels.astype(np.float32), mask))
    warped = warp(
        layers,
        target,
        (rows.stop - rows.start, columns.stop - columns.start),
        interpolation=cv2.INTER_LANCZOS4,
        border=cv2.BORDER_REPLICATE,
    )
    face, share = warped[..., :3], np.clip(warped[..., 3:], 0, 1) * strength
    under = canvas[rows, columns].astype(np.float32)
    canvas[rows, columns] = to_dtype(under + share * (face - under), canvas.dtype)


def canvas_size(crop: Crop, ratio: tuple[float, float]) -> float:
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
