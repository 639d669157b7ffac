"""Measure what `facemend.stages.adapt` does to faces that are good, bad and old: `python -m bench.adaptive`.

Good faces are `portraits/val`, shrunk, and restored with the lite models: they should stay as sharp as without a
restorer. Bad faces are the same after `degrade.py`: they should be as near to the truth as with full restoration. All
figures are those of the box of the largest face. For faces that are blurred, noisy or compressed, only the share of
the restored face is measured.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from bench.detection import pictures
from facemend.machine import process
from facemend.pipeline import Pipeline
from facemend.records import Face, Pixels, Settings
from facemend.stages.adapt import share
from facemend.stages.align import align
from training.measure import load_yardstick

Damage = Callable[[Pixels, int], Pixels]  # picture, seed -> picture
SHRINKS = (1, 1.25, 1.5, 1.75, 2)
TINY = (3, 4, 6, 8)  # shrink factors


class Comparison(NamedTuple):
    """What the share does to one face.

    Attributes:
        share: the share of the restored face.
        sharpness: the face's sharpness with that share, over that without a restorer.
        full_sharpness: the same with all of the restored face.
        gain: PSNR with that share, less that with all of the restored face, in dB.
    """

    share: float
    sharpness: float
    full_sharpness: float
    gain: float


def averaged(picture: Pixels, factor: float) -> Pixels:
    """The picture, averaged to a smaller size."""
    return cv2.resize(picture, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)


def blurred(sigma: float) -> Damage:
    """Gaussian blur with a sigma in px."""
    return lambda picture, _: cv2.GaussianBlur(picture, (0, 0), sigma)


def noisy(sigma: float) -> Damage:
    """White noise with a sigma in 8-bit levels, independent in each channel."""

    def damage(picture: Pixels, seed: int) -> Pixels:
        noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
        return np.rint(picture + noise).clip(0, 255).astype(np.uint8)

    return damage


def compressed(quality: int) -> Damage:
    """JPEG compression."""

    def damage(picture: Pixels, _: int) -> Pixels:
        return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)

    return damage


def enlarged(factor: float) -> Damage:
    """Shrinking and bicubic enlargement to the size before."""

    def damage(picture: Pixels, _: int) -> Pixels:
        return cv2.resize(averaged(picture, factor), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)

    return damage


def shaken(length: int) -> Damage:
    """Horizontal motion blur over a length in px."""
    return lambda picture, _: cv2.filter2D(picture, -1, np.full((1, length), 1 / length))


def damages() -> Iterator[tuple[str, Damage]]:
    """Kinds of damage, each with its name."""
    for sigma in (0.5, 1, 1.5, 2, 3, 4):
        yield f"blur, sigma {sigma} px", blurred(sigma)
    for sigma in (2, 5, 8, 12, 20):
        yield f"noise, sigma {sigma}", noisy(sigma)
    for quality in (95, 90, 70, 50, 30, 15):
        yield f"JPEG quality {quality}", compressed(quality)
    for factor in (2, 3, 4, 6):
        yield f"enlarged again from 1/{factor}", enlarged(factor)
    for length in (7, 15, 25):
        yield f"motion blur over {length} px", shaken(length)


def largest(faces: tuple[Face, ...]) -> Face | None:
    """The face with the widest box."""
    return max(faces, key=lambda face: face.box[2] - face.box[0], default=None)


def share_of(picture: Pixels, face: Face) -> float:
    """The share of the restored face; 1 where the face cannot be aligned."""
    crop = align(picture, face.landmarks)
    return 1.0 if crop is None else share(crop, picture)


def gradient(image: Pixels) -> float:
    """Mean gradient magnitude in levels per px."""
    y, x = np.gradient(image.mean(axis=2, dtype=np.float64))
    return float(np.hypot(x, y).mean())


def psnr(image: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((image.astype(np.float64) - truth) ** 2)))


def compare(restoring: Pipeline, plain: Pipeline, picture: Pixels, truth: Pixels, scale: float) -> Comparison | None:
    """Compare the face with the share of `adaptive` to that with all of the restored one; None without a face."""
    everything = Settings(scale=scale, adaptive=False)
    result = restoring.run(picture, everything)
    face = largest(result.faces)
    if face is None:
        return None
    part = share_of(picture, face)
    x0, y0, x1, y1 = (max(round(value * scale), 0) for value in face.box)
    restored = result.picture.pixels
    before, after, truth = (
        image[y0:y1, x0:x1]
        for image in (
            plain.run(picture, everything).picture.pixels,
            restored,
            cv2.resize(truth, restored.shape[1::-1], interpolation=cv2.INTER_CUBIC),
        )
    )
    mixed = np.rint(before + part * (after.astype(np.float64) - before))  # what `adaptive` pastes, up to rounding
    sharpness = gradient(before)
    return Comparison(
        part, gradient(mixed) / sharpness, gradient(after) / sharpness, psnr(mixed, truth) - psnr(after, truth)
    )


def print_shares(title: str, several: list[Pixels], pipeline: Pipeline) -> None:
    """Print a row of the table of shares."""
    faces = [(picture, largest(pipeline.find(picture))) for picture in several]
    shares = [share_of(picture, face) for picture, face in faces if face]
    if not shares:
        print(f"| {title} | 0 | | | | |")
        return
    low, middle, high = np.quantile(shares, (0.1, 0.5, 0.9))
    print(f"| {title} | {len(shares)} | {min(shares):.2f} | {low:.2f} | {middle:.2f} | {high:.2f} |")


def main() -> None:
    """Print a table of sharpness and PSNR, and one of shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/")
    options = parser.parse_args()
    data = options.shared / "data"
    yardstick = load_yardstick(data / "degrade.py")
    with process.startup():
        restoring, plain = (
            Pipeline.load(restorer=name, upscaler="lite", detector="lite", parser="none", device="cpu")
            for name in ("lite", "none")
        )
    portraits = pictures(data / "portraits/val")
    print("Sharpness is relative to that without a restorer; PSNR is relative to that with share 1.\n")
    print("| pictures | faces | share, mean | sharpness | worst | with share 1 | PSNR | worst |")
    print("| --- " * 8 + "|")
    kinds: list[tuple[str, Callable[[Pixels, int], Pixels], float]] = []
    for factor in SHRINKS:
        kinds.append(
            (f"clean, shrunk {factor} times", lambda p, _, f=factor: averaged(p, f), 2 if factor == 1 else factor)
        )
    for level, (_, factor, *_) in yardstick.LEVELS.items():
        kinds.append((level, lambda p, seed, name=level: yardstick.degrade(p, name, seed)[0], factor))
    kinds.append(("light, enlarged", lambda p, seed: yardstick.degrade(p, "light", seed)[1], 1))
    for title, make, scale in kinds:
        rows = [compare(restoring, plain, make(p, index), p, scale) for index, p in enumerate(portraits)]
        found = np.array([row for row in rows if row])
        part, sharp, full, gain = found.mean(axis=0)
        _, worst_sharp, _, worst_gain = found.min(axis=0)
        print(
            f"| {title} | {len(found)} | {part:.2f} | {sharp:.3f} | {worst_sharp:.3f} | {full:.3f} "
            f"| {gain:+.2f} dB | {worst_gain:+.2f} dB |"
        )
    print("\n| share | faces | least | 10 % | median | 90 % |\n" + "| --- " * 6 + "|")
    print_shares("`old_photos`", pictures(data / "old_photos"), restoring)
    for factor in TINY:
        print_shares(f"shrunk {factor} times", [averaged(p, factor) for p in portraits], restoring)
    for factor in (1, 2):
        small = [averaged(p, factor) for p in portraits]
        for name, damage in damages():
            damaged = [damage(p, index) for index, p in enumerate(small)]
            print_shares(f"shrunk {factor} times, {name}", damaged, restoring)


if __name__ == "__main__":
    main()
