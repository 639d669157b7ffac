"""Undamaged images for the repairer, with many thin things that are no damage; text and drawings for the upscaler too.

Images are (H, W, 3) RGB in [0, 255], float32. All random numbers come from the generator `rng`.
"""

import pathlib
import string
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from training import degradations
from training.damages import FINE, SHIFT, Map, Path, cover_of, grid, lines, mix, smooth_noise, walk
from training.degradations import Image, Rng

LETTERS = list(string.ascii_letters * 3 + string.digits + ".,;:-&()'\"")


def crop(image: NDArray[np.uint8], size: int, rng: Rng) -> Image:
    """A part of an image, scaled by 0.5 to 1.6, mirrored and sometimes turned by quarters."""
    part = int(min(size / np.exp(rng.choice([0.0, rng.uniform(np.log(0.5), np.log(1.6))])), *image.shape[:2]))
    y, x = (int(rng.integers(0, n - part + 1)) for n in image.shape[:2])
    result = image[y : y + part, x : x + part]
    filters = cv2.INTER_AREA if part > size else cv2.INTER_CUBIC
    result = cv2.resize(result, (size, size), interpolation=filters) if part != size else result
    result = np.rot90(result, rng.integers(4) if rng.random() < 0.4 else 0)
    return np.ascontiguousarray(result[:, ::-1] if rng.random() < 0.5 else result, np.float32)


def text(size: int, rng: Rng, smallest: int = 8, fonts: Sequence[pathlib.Path] = ()) -> Image:
    """Lines of text on paper, or large letters.

    Args:
        size: px, side of the image.
        rng: random numbers.
        smallest: size of the smallest letters in px.
        fonts: files of fonts, from which one is chosen for all lines; Pillow's font if there are none.
    """
    dark, light = sorted(rng.uniform(0, 255, 2))
    if light - dark < 60:
        dark, light = 20, 235
    paper, ink = (light, dark) if rng.random() < 0.8 else (dark, light)
    picture = Pillow.new("RGB", (size, size), tuple(int(np.clip(paper + rng.normal(0, 6), 0, 255)) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    height = int(smallest * np.exp(rng.uniform(0, np.log(7.5 if rng.random() < 0.8 else 25))))
    font = ImageFont.truetype(fonts[rng.integers(len(fonts))], height) if fonts else ImageFont.load_default(height)
    colour = tuple(int(np.clip(ink + rng.normal(0, 10), 0, 255)) for _ in range(3))
    y = rng.uniform(-height, height)
    while y < size:
        words = ("".join(rng.choice(LETTERS, rng.integers(1, 10))) for _ in range(max(2, 3 * size // (height * 4))))
        draw.text((rng.uniform(-20, 20), y), " ".join(words), fill=colour, font=font)
        y += height * rng.uniform(1.1, 1.8)
    return turned(np.asarray(picture, np.float32), rng)


def turned(image: Image, rng: Rng) -> Image:
    """Turn an image by a few degrees, sometimes."""
    if rng.random() < 0.5:
        return image
    side = len(image)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 6), rng.uniform(0.9, 1.3))
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)


def drawing(size: int, rng: Rng) -> Image:
    """Line art: curves, circles and boxes, of one pen, on plain or shaded paper."""
    paper, ink = (rng.uniform(170, 255), rng.uniform(0, 110)) if rng.random() < 0.75 else (rng.uniform(0, 60), 220)
    image = np.full((size, size, 3), paper, np.float32) + (smooth_noise((size, size), 90, rng)[..., None] - 0.5) * 40
    width = np.exp(rng.uniform(np.log(0.6), np.log(4)))
    paths = []
    for _ in range(rng.integers(3, 22)):
        kind = rng.random()
        centre = rng.uniform(0, size, 2)
        if kind < 0.5:
            path = walk(centre, rng.uniform(0, 6.3), rng.uniform(20, 300), rng.choice([0.0, 0.05, 0.2]), rng)
        elif kind < 0.75:
            turn = np.linspace(0, rng.uniform(3, 6.5), 40) + rng.uniform(0, 6)
            path = centre + np.c_[np.cos(turn), np.sin(turn)] * rng.uniform(5, size / 2, 2)
        else:
            box = rng.uniform(8, size / 2, 2)
            path = centre + np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * box
        paths.append(path)
    return mix(image, lines((size, size), paths, width), ink + rng.normal(0, 10, 3))


def engraving(image: Image, rng: Rng) -> Image:
    """Redraw an image with parallel lines whose width follows its tone; sometimes with two sets of lines."""
    grey = cv2.GaussianBlur(degradations.grey(image), (0, 0), 1.5) / 255
    size = grey.shape
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float32)
    period, angle = rng.uniform(2.5, 9), rng.uniform(0, np.pi)
    bend = (smooth_noise(size, rng.uniform(40, 150), rng) + 0.3 * grey) * rng.uniform(0, 6) * period
    result = np.ones(size, np.float32)
    for extra in (0.0, rng.uniform(0.6, 1.6))[: rng.integers(1, 3)]:
        phase = (xs * np.cos(angle + extra) + ys * np.sin(angle + extra) + bend) * (2 * np.pi / period)
        result = np.minimum(result, np.clip((np.cos(phase) + 2.2 * grey - 1) * period * 0.35 + 0.5, 0, 1))
    dark, light = rng.uniform(0, 80), rng.uniform(180, 255)
    return np.repeat((dark + (light - dark) * result)[..., None], 3, 2).astype(np.float32)


def masonry(size: int, rng: Rng) -> Image:
    """A wall of bricks or tiles with joints."""
    height, width = rng.uniform(7, 60), rng.uniform(15, 120)
    joint = rng.uniform(0.8, 5)
    brick, mortar = rng.uniform(40, 200, 3), rng.uniform(60, 235)
    image = np.full((size, size, 3), mortar, np.float32)
    for row in range(int(size / height) + 2):
        start = rng.uniform(-width, 0)
        for column in range(int(size / width) + 3):
            low = np.array([start + column * width, row * height - 3]) + rng.normal(0, 0.4, 2)
            high = low + np.array([width - joint, height - joint])
            colour = np.clip(brick * rng.normal(1, 0.08), 0, 255).tolist()
            ends = [np.round(point * 2**SHIFT).astype(int).tolist() for point in (low, high)]
            cv2.rectangle(image, *ends, colour, -1, cv2.LINE_8, SHIFT)
    grain = cv2.GaussianBlur(rng.normal(0, rng.uniform(5, 40), image.shape[:2]).astype(np.float32), (0, 0), 0.9)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1)) + grain[..., None]
    return turned(image, rng)


def wires(size: tuple[int, int], rng: Rng) -> list[Path]:
    """Wires that hang."""
    paths = []
    for _ in range(rng.integers(1, 6)):
        x = np.linspace(-10, size[1] + 10, 40)
        sag, slope = rng.uniform(0, 60), rng.normal(0, 0.3)
        y = rng.uniform(0, size[0]) + slope * x + sag * ((x / size[1] - 0.5) ** 2 - 0.25)
        paths.append(np.c_[x, y])
    return paths


def masts(size: tuple[int, int], rng: Rng) -> list[Path]:
    """Masts and rails: straight lines, most of them upright."""
    paths = []
    for _ in range(rng.integers(1, 5)):
        a, b = rng.uniform(-0.2, 1.2, (2, 2)) * size[::-1]
        b = np.array([a[0] + rng.normal(0, 6), b[1]]) if rng.random() < 0.6 else b
        paths.append(np.linspace(a, b, 5))
    return paths


def fence(size: tuple[int, int], rng: Rng) -> list[Path]:
    """The pales and rails of a fence."""
    gap, lean = rng.uniform(6, 40), rng.normal(0, 8)
    low, high = np.sort(rng.uniform(0, size[0], 2))
    pales = [np.array([(x, low), (x + lean, high)]) for x in np.arange(rng.uniform(0, gap), size[1], gap)]
    return [*pales, *(np.array([(-5, y), (size[1] + 5, y)]) for y in (low + 3, high - 3))]


def window_frames(size: tuple[int, int], rng: Rng) -> list[Path]:
    """Windows of four panes."""
    paths = []
    for _ in range(rng.integers(1, 5)):
        corner, box = rng.uniform(0, 0.8, 2) * size[::-1], rng.uniform(15, 130, 2)
        outline, upright, level = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], [(0.5, 0), (0.5, 1)], [(0, 0.5), (1, 0.5)]
        paths += [corner + np.array(line) * box for line in (outline, upright, level)]
    return paths


def glasses(size: tuple[int, int], rng: Rng) -> list[Path]:
    """The rims of a pair of glasses."""
    turn, radii = np.linspace(0, 2 * np.pi, 50), rng.uniform(12, 60, 2) * (1, 0.8)
    centre = rng.uniform(0.2, 0.8, 2) * size[::-1]
    rim = np.c_[np.cos(turn), np.sin(turn)] * radii
    return [centre + np.array([side * radii[0] * 1.25, 0]) + rim for side in (-1, 1)]


def whiskers(size: tuple[int, int], rng: Rng) -> list[Path]:
    """Whiskers, grass or twigs: curved lines from one place."""
    centre, angle = rng.uniform(0, 1, 2) * size[::-1], rng.uniform(0, 6.3)
    starts = range(rng.integers(4, 30))
    return [
        walk(centre + rng.normal(0, 14, 2), angle + rng.normal(0, 0.4), rng.uniform(15, 110), 0.04, rng) for _ in starts
    ]


def beads(size: tuple[int, int], rng: Rng) -> list[Path]:
    """Beads, pearls or stitches: dots or small rings in a row that hangs, or around an oval."""
    radius = rng.uniform(0.4, 3.5)
    turn = np.arange(0, rng.uniform(1, 2 * np.pi), rng.uniform(0.03, 0.2)) + rng.uniform(0, 2 * np.pi)
    row = rng.uniform(0, 1, 2) * size[::-1] + np.c_[np.cos(turn), np.sin(turn)] * rng.uniform(8, 90, 2)
    angle = np.linspace(0, 2 * np.pi, 9)
    return [middle + radius * np.c_[np.cos(angle), np.sin(angle)] for middle in row]


Thing = tuple[Callable[[tuple[int, int], Rng], list[Path]], float]

THINGS: tuple[Thing, ...] = (  # what is drawn, and the largest width of its lines in px
    (wires, 6.0),
    (masts, 6.0),
    (fence, 6.0),
    (window_frames, 6.0),
    (glasses, 3.0),
    (whiskers, 2.0),
    (beads, 3.0),
)


NEAR_FACES = ((glasses, 3.0), (beads, 3.0))  # all other thin lines on a face count as damage


def add_lines(image: Image, rng: Rng, things: Sequence[Thing] = THINGS) -> Image:
    """Draw thin things of the scene into a photograph.

    In contrast to damage they have one width and one opacity from end to end, light and shade like the rest of the
    scene, and its blur. Most are hidden where the scene is darker, or lighter, than some tone.
    """
    size = image.shape[:2]
    width = np.exp(rng.uniform(np.log(0.5), np.log(6)))
    draw, widest = things[rng.integers(len(things))]
    cover = lines(size, draw(size, rng), min(width, widest))
    if rng.random() < 0.7:
        tone = cv2.GaussianBlur(degradations.grey(image), (0, 0), 2)
        cover = cover * np.clip((tone - np.quantile(tone, rng.uniform(0.1, 0.6))) * rng.choice([-0.2, 0.2]), 0, 1)
    return painted(image, cover.astype(np.float32), rng)


def add_letters(image: Image, rng: Rng) -> Image:
    """Paint a few words on a photograph, as on signs, shops and boats; sometimes on a plate."""
    side = len(image)
    font = ImageFont.load_default(int(np.exp(rng.uniform(np.log(7), np.log(70)))))
    plates, letters = Pillow.new("L", (side, side)), Pillow.new("L", (side, side))
    for _ in range(rng.integers(1, 5)):
        words = "".join(rng.choice(LETTERS, rng.integers(1, 14)))
        corner = tuple(rng.uniform(-0.2, 0.9, 2) * side)
        left, top, right, bottom = font.getbbox(words)
        margin = rng.uniform(2, 9)
        box = (left - margin, top - margin, right + margin, bottom + margin)
        ImageDraw.Draw(plates).rectangle([corner[i % 2] + box[i] for i in range(4)], 255)
        ImageDraw.Draw(letters).text(corner, words, 255, font)
    lean = np.eye(2, 3) + rng.normal(0, 0.08, (2, 3)) * (1, 1, 0)
    covers = [cv2.warpAffine(np.asarray(cover, np.float32) / 255, lean, (side, side)) for cover in (plates, letters)]
    on_plate = painted(image, covers[0], rng) if rng.random() < 0.5 else image
    return painted(on_plate, covers[1], rng)


def painted(image: Image, cover: Map, rng: Rng) -> Image:
    """Paint things of the scene in one colour: with its light, shade and blur."""
    cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.0))
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.4 else np.full(3, rng.choice([rng.uniform(0, 70), 220]))
    value = 0.75 * colour + 0.25 * cv2.GaussianBlur(image, (0, 0), 12)
    value = value * (0.7 + 0.6 * smooth_noise(image.shape[:2], rng.uniform(30, 120), rng))[..., None]
    return mix(image, cover * np.float32(rng.uniform(0.6, 1)), np.clip(value, 0, 255).astype(np.float32))


def add_border(image: Image, rng: Rng) -> Image:
    """Give a photograph the border that prints have, on some sides; sometimes with a line along it."""
    side = len(image)
    borders = rng.uniform(2, 0.25 * side) * (rng.random(4) < 0.5) - 5  # those that are negative cannot be seen
    left, top, right, bottom = np.array([0, 0, side, side]) + borders * (1, 1, -1, -1)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
    corners += rng.normal(0, rng.choice([0, 1.5]), corners.shape)
    canvas = np.full((side * FINE, side * FINE), 255, np.uint8)
    cv2.fillPoly(canvas, [grid(corners)], 0, cv2.LINE_AA, SHIFT)
    cover = cover_of(canvas)
    tone = rng.uniform(190, 255) if rng.random() < 0.8 else rng.uniform(0, 50)
    result = mix(image, cover, tone - np.array([0, rng.uniform(-2, 8), rng.uniform(-4, 24)]))
    if rng.random() < 0.4:
        inset = corners + np.sign(side / 2 - corners) * rng.uniform(-12, 12)
        result = mix(result, lines((side, side), [inset], rng.uniform(0.6, 3)), np.full(3, rng.uniform(0, 255)))
    return cv2.GaussianBlur(result, (0, 0), rng.uniform(0.3, 0.8)) if rng.random() < 0.5 else result
