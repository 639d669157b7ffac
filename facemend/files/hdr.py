"""Pictures with high dynamic range to sRGB.

The peak of the source is taken as 1,000 cd/m2, and is brought to 203, which BT.2408 gives for white in a picture, by
the curve of BT.2390-11, 5.4.1: darker values up to the knee stay as they are. The curve is applied to the largest of
red, green and blue, so hues stay.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from facemend.records import Pixels, Reals, peak, to_dtype

SOURCE_PEAK, TARGET_PEAK = 1000.0, 203.0  # cd/m2
# PQ (SMPTE ST 2084)
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK = 10000.0  # cd/m2
# HLG (BT.2100)
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
HLG_GAMMA = 1.2  # of the system, for a display with a peak of 1,000 cd/m2
BT2020_LUMINANCE = np.array((0.2627, 0.6780, 0.0593))
ROWS = 64  # converted at once, so that the float values need little memory


def of_pq(values: Reals) -> Reals:
    """Luminance in cd/m2 of PQ values, 0 to 1."""
    root = np.maximum(values, 0) ** (1 / M2)
    return np.asarray(PQ_PEAK * (np.maximum(root - C1, 0) / (C2 - C3 * root)) ** (1 / M1))


def to_pq(luminance: Reals) -> Reals:
    """PQ values, 0 to 1, of luminance in cd/m2."""
    power = (np.maximum(luminance, 0) / PQ_PEAK) ** M1
    return np.asarray(((C1 + C2 * power) / (1 + C3 * power)) ** M2)


def of_hlg(values: Reals) -> Reals:
    """Luminance in cd/m2 on a display of 1,000 cd/m2 of HLG values, 0 to 1, (..., 3)."""
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - HLG_C) / HLG_A) + HLG_B) / 12)
    brightness = np.maximum(scene @ BT2020_LUMINANCE, 1e-9)[..., None]
    return np.asarray(SOURCE_PEAK * scene * brightness ** (HLG_GAMMA - 1))


def tone_mapped(luminance: Reals) -> Reals:
    """Bring luminance in cd/m2, (..., 3), to linear values from 0 to 1."""
    brightest = luminance.max(axis=-1, keepdims=True)
    white = float(to_pq(np.array(SOURCE_PEAK)))
    target = float(to_pq(np.array(TARGET_PEAK))) / white
    knee = 1.5 * target - 0.5
    value = np.minimum(to_pq(brightest) / white, 1)
    t = (value - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * target
    mapped = of_pq(np.where(value < knee, value, spline) * white)
    return np.asarray(np.minimum(luminance * (mapped / np.maximum(brightest, 1e-9)) / TARGET_PEAK, 1))


def of_scene(linear: Reals) -> Pixels:
    """sRGB, uint16, of linear light, (H, W, 3) with the primaries of sRGB; tone-mapped where it is brighter than 1."""
    bright = linear.max(initial=0) > 1

    def to_linear(rows: Reals) -> Reals:
        light = np.maximum(rows.astype(np.float64), 0)
        return tone_mapped(light * TARGET_PEAK) if bright else light

    return _converted(linear, np.uint16, to_linear)


def to_sdr(pixels: Pixels, transfer: str, to_srgb: Reals) -> Pixels:
    """Tone-map a picture.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16, of PQ or HLG values.
        transfer: "PQ" or "HLG".
        to_srgb: (3, 3), from its linear RGB to that of sRGB.

    Returns:
        The same shape and dtype, in sRGB.
    """
    luminance = {"PQ": of_pq, "HLG": of_hlg}[transfer]
    return _converted(pixels, pixels.dtype, lambda rows: tone_mapped(luminance(rows / peak(pixels))) @ to_srgb.T)


def _converted(picture: Pixels, dtype: npt.DTypeLike, to_linear: Callable[[Pixels], Reals]) -> Pixels:
    """The sRGB values of a picture, (H, W, 3), of whose rows `to_linear` gives the linear light, 0 to 1."""
    result: Pixels = np.empty(picture.shape, dtype)
    for row in range(0, len(picture), ROWS):
        srgb = linear_to_srgb(to_linear(picture[row : row + ROWS]))
        result[row : row + ROWS] = to_dtype(srgb * peak(result), dtype)
    return result


def linear_to_srgb(linear: Reals) -> Reals:
    """Return the sRGB values of linear light, both 0 to 1 (IEC 61966-2-1)."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
