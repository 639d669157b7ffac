"""Fill damaged px from what is around them, so that edges go on through narrow damage.

A first fill (Navier-Stokes: Bertalmio, Bertozzi and Sapiro 2001, doi:10.1109/CVPR.2001.990497) is diffused along its
edges: every px becomes a mean of its neighbours, in which those along an edge count most (edge-enhancing diffusion:
Weickert 1998, "Anisotropic Diffusion in Image Processing"; Galic et al. 2008, doi:10.1007/s10851-008-0087-0).
"""

from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from facemend.records import Floats, Pixels, peak, to_dtype

RADIUS = 3  # px from which the first fill is computed
NEIGHBOURS = tuple((y, x) for y, x in product((-1, 0, 1), repeat=2) if (y, x) != (0, 0))
# The values below were chosen on held-out training pictures.
ROUNDS, STEPS = 2, 8  # edges are looked for ROUNDS times, each time followed by STEPS steps of diffusion
# Standard deviations in px of two blurs: before gradients are taken, and of the products of gradients.
SMOOTH, AROUND = 0.8, 1.0
FILLED = 0.05  # weight of a filled px in the second blur; that of a px of the picture is 1
LEAST_EDGE = 1.0  # gradients with less than this power, in 8-bit levels squared, are noise and no edges
ACROSS = 6.0  # a neighbour across an edge counts exp(-ACROSS) times as much as one along it
TILE = 512  # px, side of the parts that are diffused one after the other, so that they need little memory
MARGIN = ROUNDS * (8 + STEPS)  # px around a tile that its values depend on; 8 are those of blurs and gradients


def fill(pixels: Pixels, found: NDArray[np.uint8]) -> Pixels:
    """Fill a picture, (H, W, 3) uint8 or uint16, where `found` (H, W) is 1; the rest is copied."""
    if not found.any():
        return np.array(pixels)
    first = np.empty_like(pixels)
    for channel in range(3):
        plane = np.ascontiguousarray(pixels[..., channel])
        first[..., channel] = cv2.inpaint(plane, found, RADIUS, cv2.INPAINT_NS)
    result = first.copy()
    for top, left in product(range(0, found.shape[0], TILE), range(0, found.shape[1], TILE)):
        tile = np.s_[top : top + TILE, left : left + TILE]
        if not found[tile].any():
            continue
        above, before = min(top, MARGIN), min(left, MARGIN)
        around = np.s_[top - above : top + TILE + MARGIN, left - before : left + TILE + MARGIN]
        diffused = _diffused(first[around], found[around])
        result[tile] = diffused[above : above + TILE, before : before + TILE]
    return result


def _diffused(pixels: Pixels, found: NDArray[np.uint8]) -> Pixels:
    """Make the px (H, W, 3) where `found` is 1 means of their neighbours; beyond the border, the nearest px counts."""
    height, width = found.shape
    unit = peak(pixels) / 255
    planes = [np.ascontiguousarray(pixels[..., channel], np.float32) / unit for channel in range(3)]
    y, x = np.nonzero(found)
    own = y * width + x
    neighbours = [np.clip(y + dy, 0, height - 1) * width + np.clip(x + dx, 0, width - 1) for dy, dx in NEIGHBOURS]
    for _ in range(ROUNDS):
        weights = _weights(np.mean(planes, axis=0), found, (y, x))
        for plane in planes:
            px = plane.reshape(-1)
            for _ in range(STEPS):
                px[own] = sum(weight * px.take(place) for weight, place in zip(weights, neighbours, strict=True))
    result = pixels.copy()
    result[y, x] = to_dtype(np.dstack(planes)[y, x] * unit, pixels.dtype)
    return result


def _weights(grey: Floats, found: NDArray[np.uint8], where: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Floats:
    """(8, N): how much each neighbour counts for the px at `where`, from the grey picture (H, W) in 8-bit levels.

    It counts less the more the picture changes in its direction, which the structure tensor tells (Foerstner and Guelch
    1987).
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), SMOOTH)
    down, right = (cv2.Sobel(smooth, -1, *order, scale=1 / 8) for order in ((0, 1), (1, 0)))
    count = np.where(found, np.float32(FILLED), np.float32(1))
    total = cv2.GaussianBlur(count, (0, 0), AROUND)
    yy, xx, yx = (
        (cv2.GaussianBlur(powers * count, (0, 0), AROUND) / total)[where]
        for powers in (down * down, right * right, down * right)
    )
    weights = []
    for dy, dx in NEIGHBOURS:
        square = dy * dy + dx * dx
        change = (yy * dy * dy + xx * dx * dx + 2 * yx * dy * dx) / square
        weights.append(np.exp(-ACROSS * change / (yy + xx + LEAST_EDGE)) / square)
    result: Floats = np.array(weights) / np.sum(weights, axis=0)
    return result
