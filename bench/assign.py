"""Measure which faces `facemend.stages.assign` takes for bad: `python -m bench.assign`.

The faces are those of the last portraits of `portraits/train` after damage of many kinds, with the landmarks found
before it, and those of `old_photos`. The limits were chosen by this table.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.adaptive import Damage, averaged, blurred, compressed, enlarged, largest, noisy
from bench.detection import pictures
from facemend.machine import process
from facemend.pipeline import Pipeline
from facemend.records import Crop, Landmarks, Pixels
from facemend.stages.align import align
from facemend.stages.assign import what_is_bad
from facemend.stages.condition import contrast_of_detail, grey_levels, real_side
from training.measure import load_yardstick

PORTRAITS = 20
SHRINKS = (4, 6, 7, 8, 10, 12)
SIGMAS = (3, 4, 5, 6, 7, 8, 10)  # px of the portraits, of which a crop has nearly as many
ENLARGED = (4, 6, 8, 10, 12, 16)


def damages() -> Iterator[tuple[str, Damage]]:
    """Kinds of damage, each with its name."""
    yield "clean", lambda picture, _: picture
    for factor in SHRINKS:
        yield f"shrunk {factor} times", lambda picture, _, factor=factor: averaged(picture, factor)
    for factor in ENLARGED:
        yield f"enlarged again from 1/{factor}", enlarged(factor)
    for sigma in SIGMAS:
        yield f"blur, sigma {sigma} px", blurred(sigma)
    for sigma in SIGMAS:
        yield f"blur, sigma {sigma} px, noise 10, JPEG 60", chained(blurred(sigma), noisy(10), compressed(60))


def chained(*parts: Damage) -> Damage:
    """Several kinds of damage, one after another."""

    def damage(picture: Pixels, seed: int) -> Pixels:
        for part in parts:
            picture = part(picture, seed)
        return picture

    return damage


def cut(picture: Pixels, landmarks: Landmarks, ratio: float) -> Crop:
    """The crop of a face whose landmarks are known in a picture `ratio` times as large."""
    points = (landmarks.array().astype(np.float64) + 0.5) / ratio - 0.5
    crop = align(picture, Landmarks(*map(tuple, points.tolist())))
    assert crop is not None
    return crop


def print_row(title: str, crops: list[Crop]) -> None:
    """Print how many faces are bad, and the ranges of what decides it."""
    bad = sum(bool(what_is_bad(crop)) for crop in crops)
    values: list[Callable[[Crop], float]] = [real_side, lambda crop: contrast_of_detail(grey_levels(crop.pixels))]
    ranges = (np.quantile([value(crop) for crop in crops], (0, 0.5, 1)) for value in values)
    real, detail = (", ".join(f"{number:.3g}" for number in three) for three in ranges)
    print(f"| {title} | {bad} of {len(crops)} | {real} | {detail} |")


def main() -> None:
    """Print a row for each kind of damage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/")
    data = parser.parse_args().shared / "data"
    yardstick = load_yardstick(data / "degrade.py")
    with process.startup():
        finder = Pipeline.load(restorer="none", upscaler="lanczos", detector="lite", parser="none", device="cpu")
    portraits = pictures(data / "portraits/train")[-PORTRAITS:]
    found = [(picture, face.landmarks) for picture in portraits if (face := largest(finder.find(picture)))]
    kinds = list(damages())
    for level in yardstick.LEVELS:
        kinds.append((level, lambda picture, seed, level=level: yardstick.degrade(picture, level, seed)[0]))
        kinds.append(
            (f"{level}, enlarged", lambda picture, seed, level=level: yardstick.degrade(picture, level, seed)[1])
        )
    print("| faces | bad | real px: least, median, most | contrast of detail |\n" + "| --- " * 4 + "|")
    for title, damage in kinds:
        damaged = [(damage(picture, seed), picture, landmarks) for seed, (picture, landmarks) in enumerate(found)]
        print_row(
            title, [cut(small, landmarks, picture.shape[1] / small.shape[1]) for small, picture, landmarks in damaged]
        )
    old = [(picture, face) for picture in pictures(data / "old_photos") for face in finder.find(picture)]
    print_row("`old_photos`", [crop for picture, face in old if (crop := align(picture, face.landmarks))])


if __name__ == "__main__":
    main()
