"""Random degradations of old, blurred and compressed photographs: blur, shrinking, grain, scratches, noise, JPEG.

Images are (H, W, 3) RGB in [0, 255], float32 unless stated. All random numbers come from the generator `rng`.
"""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Rng = np.random.Generator

# Blur sigma in px, shrink factor, noise sigma in grey levels and JPEG quality of the three levels that are measured.
LEVELS = ((0.8, 2, 3.0, 85), (1.5, 4, 6.0, 65), (2.5, 8, 10.0, 50))


@dataclass(frozen=True)
class Recipe:
    """The parameters of one degradation."""

    blur: float = 0.0  # sigma in px, before shrinking
    stretch: float = 1.0  # smaller sigma of the blur / larger one
    angle: float = 0.0  # of the larger sigma, in degrees
    shrink: float = 1.0
    shrink_filter: int = cv2.INTER_AREA
    enlarge_filter: int = cv2.INTER_CUBIC
    noise: float = 0.0  # sigma in grey levels
    grey_noise: bool = False  # the same noise in all channels
    quality: int | None = None  # of JPEG; None for no compression
    grain: float = 0.0  # of paper and film, sigma in grey levels
    halftone: float = 0.0  # contrast of the print screen, in [0, 1]
    scratches: int = 0  # number of them


def draw(rng: Rng) -> Recipe:
    """Draw a recipe: 18 % clean or nearly clean, 44 % near one of `LEVELS`, the rest from wide ranges."""
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
    """Draw a recipe near one of the two stronger levels of `LEVELS`."""
    return near(LEVELS[1 + rng.integers(2)], rng)


def draw_mild(rng: Rng, largest_shrink: float) -> Recipe:
    """Draw a recipe after which faces can still be found: shrink and blur are limited by `largest_shrink`."""
    recipe = draw(rng)
    shrink = min(recipe.shrink, largest_shrink)
    return dataclasses.replace(recipe, shrink=shrink, blur=min(recipe.blur, 0.6 * largest_shrink))


def near(level: tuple[float, int, float, int], rng: Rng) -> Recipe:
    """Draw a recipe near a level of `LEVELS`."""
    sigma, shrink, noise, quality = level
    return Recipe(
        blur=sigma * rng.uniform(0.75, 1.25),
        shrink=float(shrink if rng.random() < 0.6 else shrink * rng.uniform(0.75, 1.25)),
        noise=noise * rng.uniform(0.5, 1.5),
        quality=int(np.clip(quality + rng.integers(-12, 13), 30, 98)),
    )


def apply(image: Image, recipe: Recipe, rng: Rng) -> Image:
    """Degrade an image. The result is shrunk, and has whole numbers."""
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
    return small.astype(np.float32)


def enlarge(small: Image, recipe: Recipe, shape: tuple[int, ...]) -> Image:
    """Resize a shrunk image to the height and width in `shape`. The result has whole numbers."""
    height, width, *_ = shape
    if small.shape[:2] == (height, width):
        return small
    return cv2.resize(small.astype(np.uint8), (width, height), interpolation=recipe.enlarge_filter).astype(np.float32)


def grey(image: Image) -> NDArray[np.float32]:
    """(H, W): the mean of the channels. NumPy takes many times as long for it."""
    mean: NDArray[np.float32] = cv2.transform(image.astype(np.float32, copy=False), np.full((1, 3), 1 / 3, np.float32))
    return mean


def blur(image: Image, sigma: float, stretch: float = 1.0, angle: float = 0.0) -> Image:
    """Gaussian blur: `sigma` along the direction `angle` (degrees), `stretch` * `sigma` across it."""
    if sigma < 0.1:
        return image
    if stretch == 1.0:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    radius = int(np.ceil(3 * sigma))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    radians = np.deg2rad(angle)
    along, across = x * np.cos(radians) + y * np.sin(radians), y * np.cos(radians) - x * np.sin(radians)
    kernel = np.exp(-0.5 * ((along / sigma) ** 2 + (across / (stretch * sigma)) ** 2))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress as JPEG and decode again; uint8 RGB."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def halftone(image: Image, depth: float, rng: Rng) -> Image:
    """Add the dot screen of a printed image: a rotated product of two cosines, strongest in the mid-tones."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(2.2, 5.0)
    u = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    v = (y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period)
    strength = depth * 255 * (0.25 - (grey(image) / 255 - 0.5) ** 2)
    return image + (strength * np.cos(u) * np.cos(v))[..., None].astype(np.float32)


def scratch(image: Image, count: int, rng: Rng) -> Image:
    """Draw thin, slightly curved, half transparent lines, all light or all dark."""
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
    """Vary the colours at random: gamma, white balance and saturation; some images become faded or grey.

    It is applied to the truth before degradation, so a network learns to keep the colours of its input. A restored
    face must have the colours of the picture around it.
    """
    result = 255 * cv2.pow(np.clip(image, 0, 255).astype(np.float32) / 255, float(np.exp(rng.normal(0, 0.25))))
    result = result * np.float32(rng.normal(1, 0.06, 3))
    mean = grey(result)[..., None]
    amount = 0.0 if rng.random() < 0.15 else rng.uniform(0.5, 1.3)
    result = mean + np.float32(amount) * (result - mean)
    if rng.random() < 0.25:  # faded
        low, high = rng.uniform(0, 70), rng.uniform(180, 255)
        result = low + result * ((high - low) / 255)
    return np.clip(result, 0, 255).astype(np.float32)
