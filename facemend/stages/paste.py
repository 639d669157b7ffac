"""Put restored faces back into the enlarged picture."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facemend.records import Crop, Floats, Matrix, Pixels, to_dtype
from facemend.stages.geometry import (
    TEMPLATE_SIZE,
    bounds,
    compose,
    cut,
    inverse,
    magnification,
    scaling,
    shift,
    shrunk,
    to_canvas,
)

STRIP = 256  # rows of the canvas blended at once, so that floats never fill the memory
# An ellipse on the template that holds the face from the forehead to the chin, without ears and hair.
OVAL_CENTRE = 256.0, 288.0  # px
OVAL_SIZE = 150.0, 205.0  # px, semi-axes; inside, a face replaces the canvas
# Of a head that is turned, the far side is narrower. A head is turned if its nose is more than the first number of px
# from the middle of eyes and mouth; for each px beyond, the semi-axis is shorter by the second, down to the third.
TURNED, NARROWER, NARROWEST = 8, 2.0, 75.0
OVAL_RIM = 1.2  # of the semi-axes: from there on the canvas stays as it is
NEAREST = 8  # a face's weight in a shared pixel is distance ** -NEAREST: nearly all of it is the nearest face's
NEAR = 0.01  # least distance that counts


@dataclass(frozen=True, eq=False)
class Layer:
    """A restored face to be pasted.

    Attributes:
        crop: the restored face with the map from the picture (not the canvas) to it; of any size.
        mask: (S, S) float32 in [0, 1]: where on the crop the face replaces the canvas; of any size.
        strength: 1 replaces, 0 leaves the canvas as it is.
        finer: the part of the face that lies on the canvas, with more px, to be pasted in place of those of `crop`.
    """

    crop: Crop
    mask: Floats
    strength: float = 1.0
    finer: Crop | None = None


def paste(canvas: Pixels, layers: Sequence[Layer], ratio: tuple[float, float]) -> None:
    """Blend faces into the canvas, in place. Where a mask is 0, the canvas keeps its bytes.

    A pixel under several faces is shared by their distances, in units of each face's size. The result does not depend
    on the order of the faces, and where they do not overlap it equals that of pasting each alone.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16: the enlarged picture.
        layers: the faces.
        ratio: canvas px per picture px along x and y.
    """
    ordered = sorted(layers, key=lambda layer: layer.crop.matrix.tolist())  # sums of floats depend on the order
    places = [_place(layer.crop, ratio, canvas.shape[:2]) for layer in ordered]
    pasted = [layer.finer or layer.crop for layer in ordered]
    prepared = [shrunk(crop.pixels, to_canvas(crop, ratio)) for crop in pasted]
    top, bottom = min(rows.start for rows, _ in places), max(rows.stop for rows, _ in places)
    for start in range(top // STRIP * STRIP, bottom, STRIP):  # the same strips for a face alone and among others
        stop = min(start + STRIP, bottom)
        inside = [
            i
            for i, (rows, columns) in enumerate(places)
            if rows.start < stop and start < rows.stop and columns.start < columns.stop
        ]
        if not inside:  # all lie beside the canvas
            continue
        left, right = min(places[i][1].start for i in inside), max(places[i][1].stop for i in inside)
        strip = canvas[start:stop, left:right]
        shares = np.zeros((len(inside), *strip.shape[:2]), np.float32)
        for share, i in zip(shares, inside, strict=True):
            columns = places[i][1]
            here = slice(columns.start - left, columns.stop - left)
            share[:, here] = _laid_mask(ordered[i], ratio, (columns.start, start), share[:, here].shape)
        if len(inside) > 1:
            _divide(shares, [ordered[i] for i in inside], ratio, (left, start))
        total = np.zeros(strip.shape, np.float32)
        for share, i in zip(shares, inside, strict=True):
            layer, columns, (pixels, matrix) = ordered[i], places[i][1], prepared[i]
            here = slice(columns.start - left, columns.stop - left)
            beneath, weight = strip[:, here], share[:, here, None] * np.float32(layer.strength)
            face = _laid(pixels, compose(shift(-columns.start, -start), matrix), beneath.shape[:2], cv2.INTER_LANCZOS4)
            total[:, here] += weight * (face - beneath)
        strip[:] = to_dtype(strip + total, canvas.dtype)


def overlapping(crops: Sequence[Crop], ratio: tuple[float, float], canvas: tuple[int, int]) -> list[list[int]]:
    """Indices of the crops in groups; crops of different groups do not overlap on a canvas of this (height, width)."""
    places = [_place(crop, ratio, canvas) for crop in crops]
    groups: list[list[int]] = []
    for index, place in enumerate(places):
        touching = [group for group in groups if any(_meet(place, places[other]) for other in group)]
        groups = [group for group in groups if group not in touching]
        groups.append(sorted([index, *(other for group in touching for other in group)]))
    return sorted(groups)


def canvas_px_per_crop_px(crop: Crop, ratio: tuple[float, float]) -> float:
    """Canvas px per crop px: above 1, the crop has too few pixels for the canvas."""
    return magnification(to_canvas(crop, ratio))


def enlarged(crop: Crop, pixels: Pixels) -> Crop:
    """The crop with other, larger pixels of the same face."""
    x, y = (pixels.shape[axis] / crop.pixels.shape[axis] for axis in (1, 0))
    return Crop(pixels, compose(scaling(x, y), crop.matrix))


def visible(crop: Crop, size: tuple[int, int]) -> Crop:
    """The part of a crop that lies on a picture of this (height, width)."""
    pixels, matrix = cut(crop.pixels, inverse(crop.matrix), size)
    return Crop(pixels, inverse(matrix))


@functools.lru_cache(maxsize=4)
def square_mask(size: int) -> Floats:
    """(size, size) float32: 1 inside, fading to 0 at the crop's edge."""
    edge = size // 20
    inner = np.zeros((size, size), np.float32)
    inner[edge:-edge, edge:-edge] = 1
    blurred = cv2.GaussianBlur(inner, (2 * edge - 1, 2 * edge - 1), 0)
    mask: Floats = (blurred / blurred.max()).astype(np.float32)  # the rounded weights of the blur do not add up to 1
    return mask


@functools.lru_cache(maxsize=4)
def oval_mask(size: int, turn: int = 0) -> Floats:
    """(size, size) float32: 1 on the face of an aligned crop, fading to 0 around it.

    Args:
        size: of the crop.
        turn: px of the template from the middle of eyes and mouth to the nose; negative to the left.
    """
    side = np.arange(size, dtype=np.float32)
    middle = (OVAL_CENTRE[0] + 0.5) * size / TEMPLATE_SIZE - 0.5
    far = max(OVAL_SIZE[0] - NARROWER * max(abs(turn) - TURNED, 0), NARROWEST)
    x = np.where((side - middle) * turn > 0, middle + (side - middle) * OVAL_SIZE[0] / far, side)
    distance = _distance(x[None], side[:, None], size)
    share = np.clip((OVAL_RIM - distance) / (OVAL_RIM - 1), 0, 1)
    mask: Floats = np.minimum(share * share * (3 - 2 * share), square_mask(size)).astype(np.float32)
    return mask


def _distance(x: Floats, y: Floats, size: int) -> Floats:
    """How far px of a crop of this size are from the middle of the face: 1 on the oval."""
    scale = TEMPLATE_SIZE / size
    (centre_x, centre_y), (width, height) = OVAL_CENTRE, OVAL_SIZE
    across, down = ((x + 0.5) * scale - 0.5 - centre_x) / width, ((y + 0.5) * scale - 0.5 - centre_y) / height
    distance: Floats = np.hypot(across, down).astype(np.float32)
    return distance


def _divide(shares: Floats, layers: Sequence[Layer], ratio: tuple[float, float], corner: tuple[int, int]) -> None:
    """Reduce the masks of faces on a part of the canvas, in place, by what belongs to nearer faces.

    Args:
        shares: (faces, H, W), the masks.
        layers: the faces.
        ratio: canvas px per picture px.
        corner: canvas px of the part's first column and row.
    """
    height, width = shares.shape[1:]
    x = np.arange(corner[0], corner[0] + width, dtype=np.float64)[None]
    y = np.arange(corner[1], corner[1] + height, dtype=np.float64)[:, None]
    claims = np.empty_like(shares)
    for claim, share, layer in zip(claims, shares, layers, strict=True):
        u, v = (row[0] * x + row[1] * y + row[2] for row in inverse(to_canvas(layer.crop, ratio)))
        distance = np.maximum(_distance(u, v, layer.crop.pixels.shape[0]), NEAR)
        claim[:] = share / distance**NEAREST
    shares *= claims / np.maximum(claims.sum(axis=0), np.finfo(np.float32).tiny)


def _place(crop: Crop, ratio: tuple[float, float], canvas: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the canvas that a crop can touch."""
    return bounds(to_canvas(crop, ratio), crop.pixels.shape[:2], canvas)


def _meet(one: tuple[slice, slice], other: tuple[slice, slice]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _laid_mask(layer: Layer, ratio: tuple[float, float], corner: tuple[int, int], size: tuple[int, ...]) -> Floats:
    larger = np.divide(layer.crop.pixels.shape[1::-1], layer.mask.shape[::-1])
    to_corner = compose(shift(-corner[0], -corner[1]), to_canvas(layer.crop, ratio), scaling(*larger))
    return _laid(layer.mask, to_corner, (size[0], size[1]), cv2.INTER_LINEAR)


def _laid(source: Pixels, matrix: Matrix, size: tuple[int, int], interpolation: int) -> Floats:
    """The source as it lies on a canvas of this size, float32; its outermost px go on to the edge."""
    region, matrix = cut(source, matrix, size)
    region = region.astype(np.float32)
    laid = cv2.warpAffine(region, matrix, size[::-1], flags=interpolation, borderMode=cv2.BORDER_REPLICATE)
    return laid.astype(np.float32, copy=False)
