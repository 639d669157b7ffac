"""Tell grey pictures from coloured ones, and keep the faces of grey ones grey."""

import math

import cv2
import numpy as np

from facemend.records import Pixels, peak, to_dtype

SAMPLE = 1_000_000  # px looked at, evenly spread
GREY_VARIANCE = 10.0  # of the difference between two channels, 8-bit levels squared: at most, in a grey picture


def colourless(pixels: Pixels) -> bool:
    """Whether (H, W, 3) is a grey picture, up to JPEG's noise and an even tint."""
    step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLE))
    sample = pixels[::step, ::step].astype(np.float32) * (255 / peak(pixels))
    return float((sample - np.roll(sample, 1, axis=2)).var(axis=(0, 1)).mean()) <= GREY_VARIANCE


def in_grey(face: Pixels, crop: Pixels) -> Pixels:
    """A restored face without colour of its own, with the mean and spread of each channel of the crop it came from.

    So the face of a grey picture comes back grey and that of a sepia picture in sepia, as bright as it was.
    """
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    mean, spread = crop.mean(axis=(0, 1)), crop.std(axis=(0, 1))
    spread_now = max(float(grey.std()), 1e-3)
    return to_dtype((grey - grey.mean()) * (spread / spread_now) + mean, face.dtype)
