"""Count what the detectors get wrong on turned, tilted, cropped and mixed pictures: `python -m bench.detection`.

The truth is the faces that the official mobile0.25 finds on the upright, uncropped portraits, carried along with each
turn or crop. A face is wrong if it is missing, if a landmark is off by more than 0.3 eye distances, or if there is more
than one. Two other tables have the numbers of faces found in crowds, which are portraits pasted into landscapes, and in
folders of pictures.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from facemend.loader import Loader
from facemend.machine import process
from facemend.records import Face, Matrix, Pixels
from facemend.stages import Detector

WRONG = 0.3  # eye distances that a landmark may be off
PAGE = 255  # grey level around a tilted picture
ANGLES = (90, 180, 270, 30, 45, 60, 120, 150)  # degrees to the left
CROPS = (0.06, 0.12, 0.18)  # of the face's box, cut off on each side
HEADS = (3, 8)  # rows and columns of the heads in a crowd
CROWD = (2250, 3000)  # px, its height and width
HEIGHTS = (16, 20, 25, 30, 40)  # the height of a crowd over that of a face in it
LANDSCAPES = ("2.png", "6.png", "10.png")  # of Kodak, without faces
OFFICIAL = "retinaface-mobile0.25"
PICTURES = {".jpg", ".png", ".jpeg", ".webp"}


def read(path: Path) -> Pixels:
    """(H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def pictures(folder: Path) -> list[Pixels]:
    """All pictures of a folder, by name."""
    return [read(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES]


def rotated(picture: Pixels, degrees: float) -> tuple[Pixels, Matrix]:
    """A picture turned to the left on a white page, and the map to its px."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    cos, sin = np.abs(matrix[0, 0]), np.abs(matrix[0, 1])
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    return cv2.warpAffine(picture, matrix, size, borderValue=(PAGE,) * 3), matrix


def carried(face: Face, matrix: Matrix) -> Pixels:
    """(5, 2): the landmarks of a face after a map."""
    points: Pixels = face.landmarks.array() @ matrix[:, :2].T + matrix[:, 2]
    return points


def right(face: Face, truth: Pixels) -> bool:
    """Whether all landmarks of a face are near the true ones, (5, 2)."""
    off = np.linalg.norm(face.landmarks.array() - truth, axis=1).max()
    return bool(off <= WRONG * np.linalg.norm(truth[0] - truth[1]))


def cases(portraits: list[Pixels], truths: list[Face]) -> Iterator[tuple[str, Pixels, list[Pixels]]]:
    """Kind, picture, and the landmarks of each of its faces."""
    for portrait, truth in zip(portraits, truths, strict=True):
        yield "upright", portrait, [truth.landmarks.array()]
        for degrees in ANGLES:
            picture, matrix = rotated(portrait, degrees)
            yield f"turned by {degrees} degrees", picture, [carried(truth, matrix)]
        for share in CROPS:
            x0, y0, x1, y1 = truth.box
            dx, dy = share * (x1 - x0), share * (y1 - y0)
            left, top = max(round(x0 + dx), 0), max(round(y0 + dy), 0)
            crop = np.ascontiguousarray(portrait[top : round(y1 - dy), left : round(x1 - dx)])
            yield f"cropped {share:.0%} inside the face", crop, [truth.landmarks.array() - (left, top)]
    for index, (portrait, truth) in enumerate(zip(portraits, truths, strict=True)):
        other, its = portraits[index - 1], truths[index - 1]
        for degrees in (90, 180, 270):
            turned, matrix = rotated(other, degrees)
            height = max(len(portrait), len(turned))
            page = np.full((height, portrait.shape[1] + turned.shape[1], 3), PAGE, np.uint8)
            page[: len(portrait), : portrait.shape[1]] = portrait
            page[: len(turned), portrait.shape[1] :] = turned
            truth_there = carried(its, matrix) + np.array((portrait.shape[1], 0))
            yield f"two, one of them turned by {degrees} degrees", page, [truth.landmarks.array(), truth_there]


def crowd(landscape: Pixels, portraits: list[Pixels], truths: list[Face], side: float) -> tuple[Pixels, list[Pixels]]:
    """A picture with a head in each cell of a grid, and the centres of the faces, which are `side` px high."""
    page = cv2.resize(landscape, CROWD[::-1], interpolation=cv2.INTER_CUBIC)
    random, centres = np.random.default_rng(0), []
    for row, column in np.ndindex(HEADS):
        index = int(random.integers(len(portraits)))
        x0, y0, x1, y1 = truths[index].box
        scale = side / (y1 - y0)
        centre = (np.array((column, row)) + random.uniform(0.3, 0.7, 2)) * CROWD[::-1] / HEADS[::-1]
        small = cv2.resize(portraits[index], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        mask = np.zeros(small.shape[:2], np.uint8)
        middle = round(scale * (x0 + x1) / 2), round(scale * (y0 + y1) / 2)
        cv2.ellipse(mask, middle, (round(0.6 * side), round(0.8 * side)), 0, 0, 360, 1, -1)
        y, x = mask.nonzero()
        page[y - middle[1] + round(centre[1]), x - middle[0] + round(centre[0])] = small[y, x]
        centres.append(centre)
    return page, centres


def seen(faces: list[Face], centres: list[Pixels], side: float) -> tuple[int, int]:
    """How many of the true faces are found, and how many others."""
    middles = [np.array(face.box).reshape(2, 2).mean(axis=0) for face in faces]
    found = sum(any(np.linalg.norm(middle - centre) < side / 2 for middle in middles) for centre in centres)
    return found, len(faces) - found


def wrong(faces: list[Face], truths: list[Pixels]) -> bool:
    """Whether the faces found are not exactly the true ones."""
    return len(faces) != len(truths) or not all(any(right(face, truth) for face in faces) for truth in truths)


def milliseconds(detector: Detector, several: list[Pixels]) -> float:
    """Mean wall-clock time of a picture."""
    for picture in several[:2]:
        detector(picture)
    start = time.perf_counter()
    for picture in several:
        detector(picture)
    return 1000 * (time.perf_counter() - start) / len(several)


def main() -> None:
    """Print a table of counts, one of faces by folder, one of times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with weights/ and data/")
    options = parser.parse_args()
    data = options.shared / "data"
    with process.startup():
        official = {OFFICIAL: options.shared / "weights/detection_mobilenet0.25_Final.pth"}
        lite, reference = Loader().detector("lite"), Loader(weights=official).detector(OFFICIAL)
    assert lite and reference  # for the type checker: only "none" is no detector
    portraits = pictures(data / "portraits/val")
    truths = [max(reference(portrait), key=lambda face: face.score) for portrait in portraits]
    counts: dict[str, list[int]] = {}
    for kind, picture, marks in cases(portraits, truths):
        row = counts.setdefault(kind, [0, 0, 0])
        row[0] += 1
        row[1] += wrong(lite(picture), marks)
        row[2] += wrong(reference(picture), marks)
    print(f"| pictures | of | lite: wrong | {OFFICIAL}: wrong |\n| --- | --- | --- | --- |")
    for kind, row in counts.items():
        print(f"| {kind} | {row[0]} | {row[1]} | {row[2]} |")
    print(f"\n| folder | pictures | lite: faces | {OFFICIAL}: faces |\n| --- | --- | --- | --- |")
    for name in ("portraits/val", "group_photos", "old_photos", "photos", "kodak"):
        several = pictures(data / name)
        found = [sum(len(detect(picture)) for picture in several) for detect in (lite, reference)]
        print(f"| {name} | {len(several)} | {found[0]} | {found[1]} |")
    print(f"\n| faces in a crowd | of | lite: found, others | {OFFICIAL} |\n| --- | --- | --- | --- |")
    for part in HEIGHTS:
        side = CROWD[0] / part
        crowds = [crowd(read(data / "kodak" / name), portraits, truths, side) for name in LANDSCAPES]
        cells = []
        for detect in (lite, reference):
            right_and_others = np.sum([seen(detect(page), centres, side) for page, centres in crowds], axis=0)
            cells.append("{}, {}".format(*right_and_others))
        print(f"| 1/{part} of its height | {len(crowds) * math.prod(HEADS)} | {' | '.join(cells)} |")
    large = cv2.resize(portraits[0], (3000, 4000), interpolation=cv2.INTER_CUBIC)
    print(f"\n| time | lite | {OFFICIAL} |\n| --- | --- | --- |")
    for title, several in (
        ("portraits/val", portraits),
        ("group_photos", pictures(data / "group_photos") * 3),
        ("12 MP", [large] * 3),
    ):
        print(f"| {title} | {milliseconds(lite, several):.1f} ms | {milliseconds(reference, several):.1f} ms |")


if __name__ == "__main__":
    main()
