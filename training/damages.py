"""Random damage of scanned prints and films: scratches, fibres, dust, creases, cracks, rubbed and torn places.

Images are (H, W, 3) RGB in [0, 255], float32. All random numbers come from the generator `rng`. `unit` is the scale of
the damage: with 1, lines are about 0.5 to 4 px wide.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.degradations import Image, Rng

Map = NDArray[np.float32]  # (H, W), values in [0, 1]
Path = NDArray[np.float64]  # (N, 2), points x, y in px
FINE = 3  # strokes are drawn at this many times the size
SHIFT = 4  # bits behind the point of the coordinates that OpenCV draws at


def damage(image: Image, rng: Rng) -> Image:
    """Damage an image: a few kinds of damage, from a single speck to a ruined print."""
    unit = float(np.exp(rng.choice([rng.normal(0, 0.25), rng.uniform(-0.5, 1.4)], p=[0.6, 0.4])))
    amount = rng.uniform(0.1, 1)  # from a good print to a bad one
    area = image.shape[0] * image.shape[1] / 256**2
    counts: list[tuple[Callable[[Image, float, Rng], Image], float, float]] = [
        # kind, probability, mean number on 256 x 256 px of a bad print
        (crease, 0.25 * amount, 1.0),
        (craze, 0.10 * amount, 1.0),
        (crack, 0.35 * amount, 1.5),
        (rub, 0.15, 1.5),
        (scratch, 0.7, 7.0),
        (bundle, 0.12, 1.0),
        (film_line, 0.15, 1.0),
        (fibre, 0.5, 5.0),
        (dust, 0.75, 1.5),
        (tear, 0.25 * amount, 1.0),
    ]
    result = image
    kinds = [counts[i] for i in rng.permutation(len(counts))]
    chosen = [kind for kind in kinds if rng.random() < kind[1]] or [(scratch, 1.0, 1.0)]
    for draw, _, mean in chosen:
        for _ in range(max(1, rng.poisson(mean * amount * area))):
            result = draw(result, unit, rng)
    return np.clip(result, 0, 255).astype(np.float32)


def mix(image: Image, cover: Map, value: Image | NDArray[np.float64]) -> Image:
    """Paint `value` over the image with the opacity `cover`."""
    change = np.float32(value) - image
    change *= cv2.merge([cover, cover, cover])  # faster than broadcasting it
    change += image
    return change


def ink(image: Image, rng: Rng, bright: float = 0.65) -> Image | NDArray[np.float64]:
    """A colour to paint damage with: that of bare paper, of dirt, any, or a lightened or darkened image."""
    kind = rng.random()
    if kind < 0.12:  # the image shows through
        factor = rng.uniform(1.3, 2.2) if rng.random() < bright else rng.uniform(0.2, 0.7)
        return np.clip(image * factor + (25 if factor > 1 else 0), 0, 255)
    if kind < 0.2:  # scratches of colour film are coloured
        return rng.uniform(0, 255, 3)
    light = rng.uniform(185, 255) if rng.random() < bright else rng.uniform(0, 75)
    return np.clip(light - np.array([0, rng.uniform(-2, 10), rng.uniform(-4, 28)]) * (rng.random() < 0.7), 0, 255)


def smooth_noise(shape: tuple[int, int], cell: float, rng: Rng) -> Map:
    """Smooth noise in [0, 1] with features of about `cell` px."""
    cells = [max(2, int(n / max(cell, 1)) + 2) for n in shape]
    noise = cv2.resize(rng.random(cells, np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    low, high = float(noise.min()), float(noise.max())
    return (noise - low) / (high - low + 1e-6)


def broken(cover: Map, unit: float, rng: Rng) -> Map:
    """Take parts of a cover away, as a scratch skips over low places of the paper."""
    if rng.random() < 0.25:
        return cover
    noise = smooth_noise(cover.shape, rng.uniform(3, 40) * unit, rng)
    return cover * np.clip((noise - rng.uniform(0, 0.55)) * rng.uniform(1.5, 8), 0, 1)


def walk(start: Sequence[float], angle: float, length: float, bend: float, rng: Rng, step: float = 4) -> Path:
    """A random walk in steps of `step` px; `bend` is the standard deviation of the change of direction in radians."""
    angles = angle + np.cumsum(rng.normal(0, bend, max(2, int(length / step))))
    moves = step * np.c_[np.cos(angles), np.sin(angles)]
    return np.vstack([start, start + np.cumsum(moves, 0)])


def lines(shape: tuple[int, int], paths: Sequence[Path], width: float) -> Map:
    """The cover of anti-aliased lines of `width` px."""
    canvas = np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)
    cv2.polylines(canvas, [grid(path) for path in paths], False, 255, max(1, round(width * FINE)), cv2.LINE_AA, SHIFT)
    return cover_of(canvas)


def cover_of(canvas: NDArray[np.uint8]) -> Map:
    """The cover of what is drawn on a canvas of `FINE` times the size."""
    height, width = canvas.shape
    return cv2.resize(canvas, (width // FINE, height // FINE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def grid(path: Path) -> NDArray[np.int32]:
    """The coordinates of a path on the enlarged canvas, as OpenCV draws them."""
    return np.round((path + 0.5) * FINE * 2**SHIFT).astype(np.int32)


def stroke(shape: tuple[int, int], path: Path, width: float, rng: Rng, vary: float = 0.0) -> Map:
    """The cover of an anti-aliased line of `width` px; `vary` is how much the width changes along it, in [0, 1]."""
    if not vary:
        return lines(shape, [path], width)
    canvas = np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)
    points = grid(path)
    change = 1 + vary * np.sin(np.linspace(0, rng.uniform(2, 20), len(points) - 1) + rng.uniform(0, 6))
    for a, b, factor in zip(points[:-1], points[1:], change, strict=True):
        thickness = max(1, round(width * FINE * factor))
        cv2.line(canvas, a.tolist(), b.tolist(), 255, thickness, cv2.LINE_AA, SHIFT)
    return cover_of(canvas)


def soften(cover: Map, unit: float, rng: Rng) -> Map:
    """Blur some covers: damage that is out of focus, or was there before the print was copied."""
    return cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.2) * unit) if rng.random() < 0.3 else cover


def place(shape: tuple[int, int], rng: Rng) -> tuple[float, float]:
    """A random point x, y, sometimes a little outside of the image."""
    return rng.uniform(-0.1, 1.1) * shape[1], rng.uniform(-0.1, 1.1) * shape[0]


def direction(rng: Rng) -> float:
    """A direction along the height or the width of the image, in radians. More scratches are along the height."""
    return float(rng.choice([np.pi / 2, 0.0], p=[0.6, 0.4]))


def scratch(image: Image, unit: float, rng: Rng) -> Image:
    """A long thin line, straight or slightly curved."""
    shape = image.shape[:2]
    along_a_side = rng.random() < 0.4
    angle = direction(rng) + rng.normal(0, 0.12) if along_a_side else rng.uniform(0, 2 * np.pi)
    length = np.exp(rng.uniform(np.log(20), np.log(700))) * unit
    path = walk(place(shape, rng), angle, length, rng.choice([0.0, 0.01, 0.03, 0.08]), rng)
    width = np.exp(rng.uniform(np.log(0.35), np.log(3.5 if rng.random() < 0.75 else 9))) * unit
    cover = stroke(shape, path, width, rng, vary=rng.uniform(0, 0.6) if rng.random() < 0.3 else 0.0)
    cover = soften(broken(cover, unit, rng), unit, rng)
    return mix(image, cover * rng.uniform(0.3, 1), ink(image, rng))


def film_line(image: Image, unit: float, rng: Rng) -> Image:
    """A straight line from one side to the other, as film and scanners with dust on the sensor have."""
    shape = image.shape[:2]
    angle = direction(rng) + rng.normal(0, 0.01)
    middle = np.array([rng.uniform(0, shape[1]), rng.uniform(0, shape[0])])
    reach = 2 * max(shape) * np.array([np.cos(angle), np.sin(angle)])
    width = np.exp(rng.uniform(np.log(0.35), np.log(2 if rng.random() < 0.75 else 7))) * unit
    cover = stroke(shape, np.array([middle - reach, middle + reach]), width, rng)
    if rng.random() < 0.4:
        cover = broken(cover, unit, rng)
    return mix(image, soften(cover, unit, rng) * rng.uniform(0.3, 1), ink(image, rng))


def bundle(image: Image, unit: float, rng: Rng) -> Image:
    """Parallel scratches, as a dirty machine leaves them."""
    shape = image.shape[:2]
    angle = (direction(rng) if rng.random() < 0.6 else rng.uniform(0, np.pi)) + rng.normal(0, 0.02)
    path = walk(place(shape, rng), angle, rng.uniform(60, 700) * unit, 0.004, rng)
    across = np.array([-np.sin(angle), np.cos(angle)])
    colour = ink(image, rng)
    cover = np.zeros(shape, np.float32)
    for offset in rng.normal(0, rng.uniform(3, 25) * unit, rng.integers(2, 8)):
        line = stroke(shape, path + across * offset, rng.uniform(0.3, 1.3) * unit, rng) * rng.uniform(0.3, 1)
        cover = np.maximum(cover, broken(line, unit, rng))
    return mix(image, soften(cover, unit, rng), colour)


def fibre(image: Image, unit: float, rng: Rng) -> Image:
    """A hair or fibre: short and curled."""
    shape = image.shape[:2]
    length = rng.uniform(10, 160) * unit
    path = walk(place(shape, rng), rng.uniform(0, 2 * np.pi), length, rng.uniform(0.05, 0.35), rng, step=3)
    cover = stroke(shape, path, np.exp(rng.uniform(np.log(0.35), np.log(1.8))) * unit, rng)
    return mix(image, soften(cover, unit, rng) * rng.uniform(0.4, 1), ink(image, rng, bright=0.5))


def dust(image: Image, unit: float, rng: Rng) -> Image:
    """Specks: many small ones, some large ones."""
    shape = image.shape[:2]
    colour = ink(image, rng, bright=0.7)
    count = int(np.exp(rng.uniform(0, np.log(45))))
    centre = np.array(place(shape, rng))
    spread = rng.uniform(15, 80) * unit
    together = rng.random() < 0.3
    canvas = np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)
    size = rng.uniform(0.5, 1.3) * unit
    for _ in range(count):
        at = rng.normal(centre, spread) if together else np.array(place(shape, rng))
        radius = min(rng.gamma(1.4, size), 14 * unit) + 0.35
        turn = np.linspace(0, 2 * np.pi, rng.integers(5, 12), endpoint=False) + rng.uniform(0, 6)
        shape_of_it = rng.uniform(0.5, 1.4, len(turn)) * radius
        blob = np.c_[np.cos(turn) * shape_of_it * rng.uniform(0.4, 1), np.sin(turn) * shape_of_it]
        tilt = rng.uniform(0, np.pi)
        blob = blob @ np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) + at
        points = np.round(blob * FINE * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(canvas, [points], int(rng.uniform(110, 255)), cv2.LINE_AA, SHIFT)
    cover = cover_of(canvas)
    return mix(image, soften(cover, unit, rng) * rng.uniform(0.6, 1), colour)


def crease(image: Image, unit: float, rng: Rng) -> Image:
    """A fold across the image: a broken bright line between a dark and a light band."""
    shape = image.shape[:2]
    start, angle = place(shape, rng), rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.1)
    forth = walk(start, angle, 1.5 * max(shape), 0.01, rng)
    back = walk(start, angle + np.pi, 1.5 * max(shape), 0.01, rng)
    path = np.vstack([back[::-1], forth])
    core = stroke(shape, path, rng.uniform(0.6, 3) * unit, rng)
    core = core * (rng.uniform(0, 0.7) + smooth_noise(shape, rng.uniform(2, 14) * unit, rng))
    normal = np.array([-np.sin(angle), np.cos(angle)]) * rng.uniform(0, 3) * unit
    for side, factor in ((normal, rng.uniform(0.45, 0.95)), (-normal, rng.uniform(0.8, 1.3))):
        band = stroke(shape, path + side, rng.uniform(0.8, 3) * unit, rng)
        band = cv2.GaussianBlur(band, (0, 0), rng.uniform(1, 4) * unit)
        image = mix(image, np.clip(band * rng.uniform(0.3, 1), 0, 1), image * factor)
    return mix(image, np.clip(core, 0, 1), ink(image, rng, bright=0.95))


def crack(image: Image, unit: float, rng: Rng) -> Image:
    """Jagged lines that branch."""
    shape = image.shape[:2]
    cover, start = np.zeros(shape, np.float32), np.array(place(shape, rng))
    for _ in range(rng.integers(2, 8)):
        path = walk(start, rng.uniform(0, 2 * np.pi), rng.uniform(20, 180) * unit, rng.uniform(0.15, 0.5), rng)
        cover = np.maximum(cover, stroke(shape, path, rng.uniform(0.4, 2) * unit, rng) * rng.uniform(0.5, 1))
        start = path[rng.integers(len(path) // 3, len(path))]
    return mix(image, soften(cover, unit, rng), ink(image, rng, bright=0.85))


def craze(image: Image, unit: float, rng: Rng) -> Image:
    """A net of fine cracks, as dry paint and varnish have, in a part of the image."""
    shape = image.shape[:2]
    cells = max(12, int(image.shape[0] * image.shape[1] / (rng.uniform(10, 28) * unit) ** 2))
    sites = np.c_[rng.uniform(0, shape[1], cells), rng.uniform(0, shape[0], cells)].astype(np.float32)
    subdivision = cv2.Subdiv2D((-1, -1, shape[1] + 2, shape[0] + 2))
    subdivision.insert(sites.tolist())
    canvas = np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)
    facets = map(np.asarray, subdivision.getVoronoiFacetList([])[0])
    points = [
        np.round((facet + rng.normal(0, 0.7, facet.shape)) * FINE * 2**SHIFT).astype(np.int32) for facet in facets
    ]
    cv2.polylines(canvas, points, True, 255, max(1, round(rng.uniform(0.3, 1) * unit * FINE)), cv2.LINE_AA, SHIFT)
    cover = cover_of(canvas)
    region = np.clip((smooth_noise(shape, rng.uniform(60, 200), rng) - rng.uniform(0.2, 0.7)) * 5, 0, 1)
    return mix(image, cover * region * rng.uniform(0.4, 1), ink(image, rng, bright=0.6))


def rub(image: Image, unit: float, rng: Rng) -> Image:
    """A place where the surface is rubbed off: ragged flecks within a soft outline."""
    shape = image.shape[:2]
    x, y = place(shape, rng)
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    tilt, reach = rng.uniform(0, np.pi), rng.uniform(6, 40) * unit
    u = (xs - x) * np.cos(tilt) + (ys - y) * np.sin(tilt)
    v = ((ys - y) * np.cos(tilt) - (xs - x) * np.sin(tilt)) / rng.uniform(0.1, 0.8)
    outline = np.exp(-(u**2 + v**2) / (2 * reach**2))
    flecks = 0.6 * smooth_noise(shape, rng.uniform(1.2, 4) * unit, rng) + 0.4 * smooth_noise(shape, 9 * unit, rng)
    cover = np.clip((outline + flecks - rng.uniform(1.15, 1.45)) * rng.uniform(3, 10), 0, 1)
    return mix(image, cover * rng.uniform(0.5, 1), ink(image, rng, bright=0.85))


def tear(image: Image, unit: float, rng: Rng) -> Image:
    """A corner or edge that is torn off; the paper or the scanner's bed shows."""
    height, width = shape = image.shape[:2]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    reach = rng.uniform(4, 75) * min(unit, 1.5)
    kind = rng.random()
    if kind < 0.5:  # round a corner
        distance = np.hypot(xs - rng.integers(2) * width, ys - rng.integers(2) * height)
    elif kind < 0.75:  # straight across a corner
        across = xs if rng.random() < 0.5 else width - xs
        distance = (across + rng.uniform(0.5, 2) * (ys if rng.random() < 0.5 else height - ys)) / 1.6
    else:  # along a side
        distance = (xs, width - xs, ys, height - ys)[rng.integers(4)]
        reach *= 0.3
    edge = reach * (0.6 + 0.8 * smooth_noise(shape, rng.uniform(4, 40) * unit, rng))
    value = np.broadcast_to(ink(image, rng, bright=0.85), image.shape)
    value = value + (smooth_noise(shape, 2, rng)[..., None] - 0.5) * rng.uniform(0, 25)
    fibres = np.clip(1 - np.abs(edge - distance) / (rng.uniform(1, 4) * unit), 0, 1)
    image = mix(image, np.clip(edge - distance, 0, 1), value)
    return mix(image, fibres * rng.uniform(0.3, 1), np.full(3, rng.uniform(200, 255))) if rng.random() < 0.4 else image
