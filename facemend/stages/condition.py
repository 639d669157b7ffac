"""Measure the condition of a face: its real pixels, its sharpness, its noise, its specks and its blocks.

Levels are 8-bit grey levels.
"""

import itertools
import math

import cv2
import numpy as np

from facemend.records import Crop, Floats, Pixels, peak
from facemend.stages.geometry import inverse, magnification

FACE = ((0.20, 0.29), (0.80, 0.90))  # two corners (x, y) of the region measured, over the side of the crop
MIDDLE = (0.50, 0.59)  # x, y of the centre of the square in which blocks are searched, over the side of the crop
HALF = 0.29  # half the side of that square, over the side of the crop
SIGMAS = (1 / 512, 2 / 512, 4 / 512)  # of the Gaussian blurs between which detail lies, over the side of the crop
WIDE_SIGMAS = (8 / 512, 16 / 512)  # of those between which the features of a face lie: eyes, nose and mouth
EDGES = 97  # percentile of the absolute detail that stands for the edges of a face
TEXTURE = 2.0  # medians of the absolute detail that are not counted as edges; noise is 3.2 medians at this percentile
DIAGONAL = np.outer((1, -2, 1), (1, -2, 1)).astype(np.float32) / 6  # keeps the deviation of white noise; few edges
LOWER_HALF = 0.3247  # mean of the smaller half of |x| over the standard deviation of x, for a normal distribution
COARSE = ((4, 1.0), (6, 0.8))  # real px in one px of a size in which the noise of colours is measured; its weight
SPECK = 40  # levels between a speck and its neighbours
BLOCK = 8  # px: the side of a JPEG block
PERIODS = (3.4, 20.0)  # px: the sides of the blocks that are searched
UNRESIZED = 0.6  # weight of a grid of 8 px, or of a half of that, which is not weakened
AROUND = 21  # columns: the usual step is the median of that many
TRANSFORM = 2048  # columns of the Fourier transform, more than a square has
LARGEST_STEP = 12.0  # levels: larger steps count as this much, so that the edges of the face do not dominate
LEAST = 0.1  # levels: added to denominators, so that an empty picture has a defined value
SMALLEST = 24  # px: the side of the smallest square in which blocks are searched


def real_side(crop: Crop) -> float:
    """Return the real px along the side of a crop: those of the picture under it, at most those of the crop."""
    return len(crop.pixels) / max(magnification(crop.matrix), 1)


def grey_levels(pixels: Pixels) -> Floats:
    """Return (H, W, 3) pixels as (H, W) float32 levels."""
    levels = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY) * np.float32(255 / peak(pixels))
    return levels.astype(np.float32, copy=False)


def contrast_of_detail(grey: Floats) -> float:
    """Return how strong the detail of a crop is, (S, S) levels, over that of the features of a face.

    The detail is that between the second and the third of SIGMAS, which is coarse enough that noise hardly changes it.
    Heavy blur lowers the ratio.
    """
    fine, coarse = (_between(grey, *sigmas) for sigmas in (SIGMAS[1:], WIDE_SIGMAS))
    return float(np.percentile(np.abs(fine), EDGES) / (np.percentile(np.abs(coarse), EDGES) + LEAST))


def sharpness(grey: Floats) -> tuple[float, float, float]:
    """Return how sharp a crop is, (S, S) levels.

    Detail is the difference of two Gaussian blurs. The finest shows blur best, but noise can pass for it; fine detail
    is hardly changed by noise. As both are measured in crop px, a face with fewer real pixels has to be sharper in
    these to count as sharp.

    Returns:
        The ratio of the finest to coarse detail, that of fine to coarse detail, and the evenness of fine detail: its
        root mean square gradient in the direction where that is smallest over the one across it. Motion blur lowers it.
    """
    faces = [_face(grey), *(_blurred(grey, sigma) for sigma in SIGMAS)]
    finest, fine, coarse = (sharp - soft for sharp, soft in itertools.pairwise(faces))
    reference = float(np.percentile(np.abs(coarse), EDGES)) + LEAST
    return _edges(finest) / reference, _edges(fine) / reference, _evenness(fine)


def noise(grey: Floats, real: float) -> float:
    """Return the standard deviation of the noise of a crop, in levels.

    The interpolation of the crop removes most of the noise: of 8 levels in each channel, mostly 1.3
    to 2.5 remain. A crop that was cut out without interpolation keeps all of it and counts as noisier.

    Args:
        grey: (S, S) levels.
        real: real px along the side of the crop, at most S.
    """
    return _deviation(_face_of(grey, real))


def colour_noise(pixels: Pixels, real: float) -> float:
    """Return the standard deviation of the noise in the colours of a crop, in levels, at parts of its real size.

    Cameras smooth the noise of colours, and JPEG halves their resolution, so their noise has grains of several px.

    Args:
        pixels: (S, S, 3) of the crop.
        real: real px along the side of the crop, at most S.
    """
    levels = cv2.cvtColor(pixels.astype(np.float32) * np.float32(255 / peak(pixels)), cv2.COLOR_RGB2YCrCb)
    colours: list[Floats] = [cv2.extractChannel(levels, channel).astype(np.float32, copy=False) for channel in (1, 2)]
    return max(weight * _deviation(_face_of(one, real / part)) for one in colours for part, weight in COARSE)


def specks(grey: Floats, real: float) -> float:
    """Return the share of px of a crop that are much brighter or darker than most of their neighbours.

    Args:
        grey: (S, S) levels.
        real: real px along the side of the crop, at most S.
    """
    face = _face_of(grey, real).astype(np.uint8)
    return float((cv2.absdiff(face, cv2.medianBlur(face, 3)) > SPECK).mean())


def blocks(pixels: Pixels, crop: Crop) -> float:
    """Return how strong a grid of JPEG blocks or of enlarged px is: the amplitude of its steps, over other steps.

    It is searched in a square of the picture, with blocks of 3.4 to 20 px that start anywhere, because the picture may
    have been resized and cropped after compression. Resizing weakens a grid, so one of 8 px counts less than others. A
    face that is larger than the crop is reduced in it, which weakens its grid too.

    Args:
        pixels: (H, W, 3) of the picture.
        crop: the face in it; only its size and its map are used.
    """
    side, enlarged = len(crop.pixels), magnification(crop.matrix)
    x, y = inverse(crop.matrix) @ (MIDDLE[0] * side, MIDDLE[1] * side, 1)
    half = math.ceil(min(max(HALF * side / enlarged, SMALLEST / 2), side))
    (top, bottom), (left, right) = ((max(round(at) - half, 0), max(round(at) + half, 0)) for at in (y, x))
    square = pixels[top:bottom, left:right]
    if min(square.shape[:2]) < SMALLEST // 2:  # nearly all of the face lies outside the picture
        return 0.0
    levels = grey_levels(square)
    spectrum = np.minimum(_spectrum(levels), _spectrum(levels.T))  # a grid has the same period in both directions
    frequencies = np.fft.rfftfreq(TRANSFORM)
    multiples = frequencies * BLOCK
    width = 2 / min(levels.shape)  # half of that of a line in the spectrum
    spectrum[np.abs(multiples - np.rint(multiples)) < width * BLOCK] *= UNRESIZED
    searched = (frequencies > 1 / PERIODS[1]) & (frequencies < 1 / PERIODS[0])
    return float(spectrum[searched].max()) * min(enlarged, 1) ** 2


def _spectrum(levels: Floats) -> Floats:
    """Return the amplitudes of the steps between the columns of (H, W) levels, at TRANSFORM // 2 + 1 frequencies."""
    # The third difference is large at a step and small on a slope.
    steps = np.abs(np.diff(levels, n=3, axis=1)).clip(max=LARGEST_STEP).mean(axis=0)
    around = np.pad(steps, AROUND // 2, mode="symmetric")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(around, AROUND), axis=-1)
    window = np.hanning(len(steps) + 2)[1:-1]
    relative = steps / (usual + LEAST)
    relative -= np.average(relative, weights=window)
    spectrum: Floats = np.abs(np.fft.rfft(relative * window, TRANSFORM)) * 2 / window.sum()
    return spectrum


def _deviation(values: Floats) -> float:
    """Return the standard deviation of the noise in (H, W)."""
    diagonal = np.sort(np.abs(cv2.filter2D(values, -1, DIAGONAL)), axis=None)
    # The smaller half leaves out edges as the median does, but does not jump between the few values of whole levels.
    return float(diagonal[: len(diagonal) // 2].mean()) / LOWER_HALF


def _edges(detail: Floats) -> float:
    """Return how strong edges are in (H, W) detail, less the noise and texture everywhere in it."""
    strength = np.abs(detail)
    return float(np.percentile(strength, EDGES) - TEXTURE * np.median(strength))


def _evenness(detail: Floats) -> float:
    """Return the square root of the ratio of both eigenvalues of the structure tensor of (H, W) detail."""
    y, x = np.gradient(detail)
    xx, yy, xy = float((x * x).mean()), float((y * y).mean()), float((x * y).mean())
    total, difference = xx + yy + LEAST**2, math.hypot(xx - yy, 2 * xy)
    return math.sqrt((total - difference) / (total + difference))


def _face(crop: Floats) -> Floats:
    side = len(crop)
    (x0, y0), (x1, y1) = FACE
    return crop[round(y0 * side) : round(y1 * side), round(x0 * side) : round(x1 * side)]


def _face_of(crop: Floats, side: float) -> Floats:
    """Return the face of a crop that is reduced to this side in px."""
    small = cv2.resize(crop, (round(side), round(side)), interpolation=cv2.INTER_AREA)
    return _face(small.astype(np.float32, copy=False))


def _between(grey: Floats, sigma: float, larger: float) -> Floats:
    """Return the detail of the face between two Gaussian blurs; the sigmas are over the side of the crop."""
    return _blurred(grey, sigma) - _blurred(grey, larger)


def _blurred(grey: Floats, sigma: float) -> Floats:
    blurred = cv2.GaussianBlur(grey, (0, 0), sigma * len(grey))
    return _face(blurred.astype(np.float32, copy=False))
