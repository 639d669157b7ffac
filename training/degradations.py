"""What time, cameras and websites do to a picture, at random: blur, shrink, grain, scratches, noise, JPEG.

All functions take and return float32 (H, W, 3) RGB on the 0..255 scale, and draw only from the generator given.
"""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Rng = np.random.Generator

# Blur sigma in px, shrink factor, noise sigma in grey levels, JPEG quality: the levels the figures are quoted on.
LEVELS = ((0.8, 2, 3.0, 85), (1.5, 4, 6.0, 65), (2.5, 8, 10.0, 50))


@dataclass(frozen=True)
class Recipe:
    """One draw: the numbers of a degradation, and which old-photo effects come with it."""

    blur: float = 0.0  # sigma, px of the large picture
    stretch: float = 1.0  # ratio of the two sigmas of the blur
    angle: float = 0.0  # of the blur, degrees
    shrink: float = 1.0
    shrink_filter: int = cv2.INTER_AREA
    enlarge_filter: int = cv2.INTER_CUBIC
    noise: float = 0.0  # sigma, grey levels
    grey_noise: bool = False
    quality: int | None = None  # JPEG; None: not compressed
    grain: float = 0.0  # paper and film, sigma in grey levels
    halftone: float = 0.0  # depth of the print screen, 0..1
    scratches: int = 0


def draw(rng: Rng) -> Recipe:
    """Draw a recipe: a fifth nearly clean, two fifths around the quoted levels, the rest wide."""
    kind = rng.random()
    if kind < 0.06:
        return Recipe()
    if kind < 0.18:  # nearly clean
        return Recipe(
            blur=rng.uniform(0, 0.7),
            shrink=rng.choice([1.0, 1.0, rng.uniform(1, 1.6)]),
            noise=rng.uniform(0, 2.5),
            quality=int(rng.integers(85, 99)),
        )
    if kind < 0.62:
        return near(LEVELS[rng.integers(3)], rng)
    old = rng.random() < 0.4
    return Recipe(
        blur=rng.uniform(0.1, 3.5),
        stretch=rng.choice([1.0, rng.uniform(0.3, 1.0)]),
        angle=rng.uniform(0, 180),
        shrink=float(np.exp(rng.uniform(0, np.log(8)))),
        shrink_filter=int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC])),
        enlarge_filter=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])),
        noise=rng.uniform(0, 14) * rng.random(),
        grey_noise=old or rng.random() < 0.3,
        quality=int(rng.integers(30, 99)) if rng.random() < 0.85 else None,
        grain=rng.uniform(0, 9) if old else 0.0,
        halftone=rng.uniform(0.05, 0.35) if old and rng.random() < 0.4 else 0.0,
        scratches=int(rng.integers(1, 5)) if old and rng.random() < 0.5 else 0,
    )


def draw_bad(rng: Rng) -> Recipe:
    """Draw a recipe around the worse two of the quoted levels."""
    return near(LEVELS[1 + rng.integers(2)], rng)


def draw_mild(rng: Rng, largest_shrink: float) -> Recipe:
    """Draw a recipe that leaves faces findable: shrunk by at most so much, blurred in proportion."""
    recipe = draw(rng)
    shrink = min(recipe.shrink, largest_shrink)
    return dataclasses.replace(recipe, shrink=shrink, blur=min(recipe.blur, 0.6 * largest_shrink))


def near(level: tuple[float, int, float, int], rng: Rng) -> Recipe:
    """Draw a recipe around a quoted level."""
    sigma, shrink, noise, quality = level
    return Recipe(
        blur=sigma * rng.uniform(0.75, 1.25),
        shrink=float(shrink if rng.random() < 0.6 else shrink * rng.uniform(0.75, 1.25)),
        noise=noise * rng.uniform(0.5, 1.5),
        quality=int(np.clip(quality + rng.integers(-12, 13), 30, 98)),
    )


def apply(image: Image, recipe: Recipe, rng: Rng) -> tuple[Image, Image]:
    """Degrade a picture.

    Returns:
        The small picture, and the same enlarged back to the size of `image`.
    """
    height, width = image.shape[:2]
    result = blur(image, recipe.blur, recipe.stretch, recipe.angle)
    if recipe.scratches:
        result = scratch(result, recipe.scratches, rng)
    if recipe.shrink > 1:
        size = (max(round(width / recipe.shrink), 8), max(round(height / recipe.shrink), 8))
        result = cv2.resize(result, size, interpolation=recipe.shrink_filter)
    if recipe.halftone:
        result = halftone(result, recipe.halftone, rng)
    if recipe.grain:
        result = result + cv2.GaussianBlur(rng.normal(0, 2 * recipe.grain, result.shape[:2]), (0, 0), 0.8)[..., None]
    if recipe.noise:
        shape = (*result.shape[:2], 1) if recipe.grey_noise else result.shape
        result = result + rng.normal(0, recipe.noise, shape)
    small = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    if recipe.quality is not None:
        small = jpeg(small, recipe.quality)
    if small.shape[:2] == (height, width):
        return small.astype(np.float32), small.astype(np.float32)
    return small.astype(np.float32), cv2.resize(small, (width, height), interpolation=recipe.enlarge_filter).astype(
        np.float32
    )


def blur(image: Image, sigma: float, stretch: float = 1.0, angle: float = 0.0) -> Image:
    """Blur with a Gaussian, round or (`stretch` < 1) narrower across `angle`."""
    if sigma < 0.1:
        return image
    if stretch == 1.0:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    radius = int(np.ceil(3 * sigma))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    turn = np.deg2rad(angle)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kernel = np.exp(-0.5 * ((along / sigma) ** 2 + (across / (stretch * sigma)) ** 2))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress and read back; RGB in and out."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def halftone(image: Image, depth: float, rng: Rng) -> Image:
    """Overlay the dot screen of a printed picture: a turned product of cosines, strongest in the mid-tones."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    turn, period = rng.uniform(0, np.pi), rng.uniform(2.2, 5.0)
    u = (x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / period)
    v = (y * np.cos(turn) - x * np.sin(turn)) * (2 * np.pi / period)
    strength = depth * 255 * (0.25 - (image.mean(axis=2) / 255 - 0.5) ** 2)
    return image + (strength * np.cos(u) * np.cos(v))[..., None].astype(np.float32)


def scratch(image: Image, count: int, rng: Rng) -> Image:
    """Draw thin light or dark lines, slightly bent and half transparent."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.float32)
    for _ in range(count):
        start = rng.uniform(0, 1, 2) * (width, height)
        steps = np.cumsum(rng.normal(0, 0.05, (12, 2)) + rng.normal(0, 0.06, 2), axis=0) * (width, height)
        cv2.polylines(layer, [np.int32(start + steps)], False, 1.0, int(rng.integers(1, 3)), cv2.LINE_AA)
    colour = 255.0 if rng.random() < 0.7 else 20.0
    alpha = layer[..., None] * rng.uniform(0.3, 0.9)
    return image * (1 - alpha) + colour * alpha


def retone(image: Image, rng: Rng) -> Image:
    """Vary colour: gamma, contrast, warmth, saturation; at times faded or grey. For truth and input alike.

    A restorer must give back the tones it was given, or the face no longer fits its picture: so tones are varied, and
    their change is never something to be undone.
    """
    result = 255 * cv2.pow(np.clip(image, 0, 255).astype(np.float32) / 255, float(np.exp(rng.normal(0, 0.25))))
    result = result * np.float32(rng.normal(1, 0.06, 3))
    grey = result.mean(axis=2, keepdims=True)
    amount = 0.0 if rng.random() < 0.15 else rng.uniform(0.5, 1.3)
    result = grey + np.float32(amount) * (result - grey)
    if rng.random() < 0.25:  # faded
        low, high = rng.uniform(0, 70), rng.uniform(180, 255)
        result = low + result * ((high - low) / 255)
    return np.clip(result, 0, 255).astype(np.float32)
