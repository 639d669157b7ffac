"""Tell pictures of one ink (grey, sepia) from coloured ones, and keep what is made of them in that ink."""

import math

import cv2
import numpy as np

from facemend.records import Floats, Pixels, peak, to_dtype

SAMPLE = 4_000_000  # px looked at, evenly spread
AVERAGED = 4  # px of a side; the variance is that of means of so many px, where noise and rounding are small
# Variance of what the luminance does not explain of a channel, in 8-bit levels squared: at most, in one ink. Old prints
# mostly have 5 or less, up to the noise of JPEG; photographs with colour have 15 or more.
ONE_INK_VARIANCE = 5.0
DARK = 96.0  # mean luminance in 8-bit levels; colours of darker pictures have less variance
NOISE = 1.0  # variance of the luminance of a blank page, in 8-bit levels squared
ADDED = 2  # a network that multiplies the amount of colour by more than this has added colours
SPREAD_SIDE = 64  # px of a reduced face, in which its spread of luminance is measured
COLOUR_BLUR = 6 / 512  # standard deviation over the side of a face
STRIP = 256  # rows converted at once, so that floats never fill the memory


def one_ink(pixels: Pixels) -> Floats | None:
    """The ink of a picture that has one: each channel is nearly a linear function of the luminance.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.

    Returns:
        (2, 3): slope and offset of each channel, on the scale of `pixels`; None for a picture with colours.
    """
    ink, colours = _nearest_ink(pixels)
    return ink if colours <= 1 else None


def _nearest_ink(pixels: Pixels) -> tuple[Floats, float]:
    """The ink that comes nearest to a picture, and how much colour the picture has besides, as `_colours` says it."""
    channels = _averaged(pixels)
    luminance, means = _luminance(channels), channels.mean(axis=0)
    middle, noise = float(luminance.mean()), NOISE * (peak(pixels) / 255) ** 2
    # Not a matrix product: its sums depend on the number of threads, and results would differ between processes.
    common = ((luminance - middle) * (channels - means)).mean(axis=0)
    # The noise of a blank page says nothing of its ink: the less the luminance varies, the more the mean colour counts.
    slope = (common + noise * means / max(middle, 1e-3)) / (float(luminance.var()) + noise)
    ink: Floats = np.stack((slope, means - slope * middle)).astype(np.float32)
    return ink, _colours(channels, ink, peak(pixels))


def _colours(channels: Floats, ink: Floats, white: int) -> float:
    """How much colour px (N, 3) have besides an ink, relative to the most that a picture of one ink may have."""
    luminance, level = _luminance(channels), 255 / white
    rest = (channels - luminance * ink[0] - ink[1]) * level
    allowed = ONE_INK_VARIANCE * min(1, float(luminance.mean()) * level / DARK) ** 2
    return float(np.square(rest).mean()) / max(allowed, 1e-9)


def _averaged(pixels: Pixels) -> Floats:
    """Means of squares of `AVERAGED` px, (N, 3)."""
    step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLE))
    thinned = np.ascontiguousarray(pixels[::step, ::step]).astype(np.float32)
    height, width = (math.ceil(side / AVERAGED) for side in thinned.shape[:2])
    means: Floats = cv2.resize(thinned, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    return means.reshape(-1, 3)


def _luminance(channels: Floats) -> Floats:
    """(N, 1) of (N, 3) RGB."""
    luminance: Floats = cv2.cvtColor(channels[None], cv2.COLOR_RGB2GRAY).astype(np.float32, copy=False)
    return luminance.reshape(-1, 1)


def print_in(pixels: Pixels, ink: Floats) -> None:
    """Give (H, W, 3) RGB the colours of one ink, in place; the luminance stays."""
    for top in range(0, len(pixels), STRIP):
        strip = pixels[top : top + STRIP]
        luminance = cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
        strip[:] = to_dtype(luminance * ink[0] + ink[1], pixels.dtype)


def keep_ink(before: Pixels, after: Pixels) -> Pixels:
    """Return the enlarged px of a picture. Where it has one ink and a network has added colours, they get that ink.

    A network that sharpens makes the few colours of a grey picture, such as those of a stamp, a little stronger.
    """
    ink, colours = _nearest_ink(before)
    if colours <= 1 and _colours(_averaged(after), ink, peak(after)) > max(1, ADDED * colours):
        print_in(after, ink)
    return after


def in_tone_of(face: Pixels, crop: Pixels, ink: Floats) -> Pixels:
    """A restored face in the ink of the crop it came from, with the mean and the spread of its luminance.

    So the face of a grey picture comes back grey and that of a sepia picture in sepia, as bright as it was. The little
    colour that the crop has besides, such as that of painted lips, is kept.
    """
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    before = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    grey = (grey - grey.mean()) * (_spread(before) / max(_spread(grey), 1e-3)) + before.mean()
    besides = cv2.GaussianBlur(crop - (before * ink[0] + ink[1]), (0, 0), COLOUR_BLUR * len(crop))
    return to_dtype(grey * ink[0] + ink[1] + besides, face.dtype)


def _spread(luminance: Floats) -> float:
    """The standard deviation of a luminance without grain and the dots of a print, which a restorer removes."""
    return float(cv2.resize(luminance, (SPREAD_SIDE, SPREAD_SIDE), interpolation=cv2.INTER_AREA).std())
