"""Makes old.jpg and scratched.jpg out of scikit-image's astronaut (NASA, public domain).

pip install scikit-image, then: python -m examples.make
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

OLD, SCRATCHED = 320, 448  # px, sides of the pictures
PAPER, INK = 225, 45  # grey levels that white and black have faded to
SEPIA = (1.0, 0.9, 0.72)  # of white paper, RGB
FINE = 8  # lines are drawn at this many times the size

Grey = NDArray[np.float32]


def main() -> None:
    """Write the pictures beside this file."""
    old = faded(OLD, np.random.default_rng(0), grain=7)
    old[:, 231] += 40  # a scratch
    write(old, "old.jpg", quality=70)
    worn = scratched(faded(SCRATCHED, np.random.default_rng(1), grain=4), np.random.default_rng(2))
    write(worn[..., None] * np.float32(SEPIA), "scratched.jpg", quality=85)


def faded(size: int, rng: np.random.Generator, grain: float) -> Grey:
    """The picture in grey: smaller, soft, faded, with grain of this standard deviation before it is blurred."""
    grey = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), 1.6)
    small = cv2.resize(soft, (size, size), interpolation=cv2.INTER_AREA)
    grains = cv2.GaussianBlur(rng.normal(0, grain, small.shape).astype(np.float32), (0, 0), 0.7)
    return INK + small / 255 * (PAPER - INK) + grains


def scratched(picture: Grey, rng: np.random.Generator) -> Grey:
    """A print that was folded once and lay about: a crease, scratches, hairs and dust."""
    size = len(picture)
    cover = np.zeros((size * FINE, size * FINE), np.uint8)

    def line(points: NDArray[np.float64], width: float, opacity: float) -> None:
        whole = np.int32(points * size * FINE)
        cv2.polylines(cover, [whole], False, int(255 * opacity), max(1, round(width * FINE)), cv2.LINE_AA)

    x = np.linspace(0, 1, 60)
    fold = np.c_[x, 0.62 - 0.05 * x + np.cumsum(rng.normal(0, 0.0012, 60))]
    for part in np.split(fold, 12):  # the ink has come off in places
        line(part, rng.uniform(0.8, 2.4), rng.uniform(0.5, 1))
    for _ in range(9):
        start, along = rng.uniform(0.05, 0.95, 2), np.linspace(0, rng.uniform(0.1, 0.6), 30)
        bend = rng.normal(0, 0.15) * along**2
        angle = rng.normal(1.4, 0.3)
        turned = np.c_[np.cos(angle) * along - np.sin(angle) * bend, np.sin(angle) * along + np.cos(angle) * bend]
        line(start + turned, rng.uniform(0.5, 1.4), rng.uniform(0.4, 0.95))
    for _ in range(4):
        curl = rng.uniform(0, 6) + np.cumsum(rng.normal(0, 0.35, 40))
        line(rng.uniform(0.1, 0.9, 2) + 0.004 * np.cumsum(np.c_[np.cos(curl), np.sin(curl)], 0), 0.8, 0.9)
    for _ in range(60):
        centre = tuple(int(value) for value in rng.uniform(0, size * FINE, 2))
        axes = tuple(int(value) for value in rng.gamma(1.5, 0.6, 2) * FINE)
        cv2.ellipse(cover, centre, axes, rng.uniform(0, 180), 0, 360, int(rng.uniform(130, 255)), -1, cv2.LINE_AA)
    share = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return picture + share * (PAPER + 20 - picture)


def write(picture: Grey, name: str, quality: int) -> None:
    """Write a picture as JPEG."""
    pixels = np.rint(picture.clip(0, 255)).astype(np.uint8)
    Image.fromarray(pixels).save(Path(__file__).with_name(name), quality=quality)


if __name__ == "__main__":
    main()
