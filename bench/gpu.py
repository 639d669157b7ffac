"""Time facemend and the packages it replaces on a GPU: `python -m bench.gpu --shared FOLDER`, from the repository.

The first table is for facemend alone. Each work is done twice to warm up, because a network is recorded as a CUDA graph
at its second run. Then the median of further runs is taken. A run starts and ends with pixels in the host's memory, so
the copies to and from the GPU are included. The second table compares facemend with the originals as `bench.compare`
does on a CPU; `make .venv-originals/ready` creates their environment.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from bench.compare import ENVIRONMENT, WORKS, compared, prepare
from bench.ours import weights
from facemend.loader import Loader
from facemend.pipeline import Pipeline
from facemend.records import Settings

RUNS = 20
WARM_UP = 2
SIDE = 1024  # px of the picture and of the portrait
COMPARED = ("gfpgan", "codeformer", "x4plus", "two")  # names of works of `bench.compare`
FASTER = 6  # goal: how many times faster than the originals


def milliseconds(call: Callable[[], object]) -> float:
    """Return the median wall-clock time of a call. Its result is in the host's memory, so the GPU has finished."""
    times = []
    for _ in range(RUNS + WARM_UP):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def alone(folder: Path, portraits: Path) -> None:
    """Print the times of facemend, row by row."""
    face = np.load(folder / "face.npy")
    photo = cv2.resize(cv2.imread(str(folder / "two.jpg"))[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    portrait = cv2.imread(str(min(portraits.glob("*.jpg"))))
    cv2.imwrite(str(folder / "portrait.png"), cv2.resize(portrait, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    faces = weights(folder, "gfpgan-v1.4", "codeformer")
    loader = Loader(weights=faces | weights(folder, "realesrgan-x4plus"))
    upscaler = loader.upscaler("realesrgan-x4plus")
    used = weights(folder, "gfpgan-v1.4", "realesrgan-x2plus", "retinaface-mobile0.25")
    pipeline = Pipeline.load("gfpgan-v1.4", "realesrgan-x2plus", "retinaface-mobile0.25", "none", weights=used)
    works: list[tuple[str, Callable[[], object], float]] = []  # title, call, goal in ms
    for model, one, among in (("gfpgan-v1.4", 6, 2.5), ("codeformer", 8, 4)):
        restorer = loader.restorer(model)
        assert restorer
        works.append((f"{model}, one face", lambda restorer=restorer: restorer([face]), one))
        works.append((f"{model}, eight faces", lambda restorer=restorer: restorer([face] * 8), 8 * among))
    size = (4 * SIDE, 4 * SIDE)
    works.append((f"realesrgan-x4plus, {SIDE}x{SIDE} px", lambda: upscaler(photo, size), 250))

    def whole() -> None:
        pipeline.run(folder / "portrait.png", Settings(scale=2)).save(folder / "restored.png")

    works.append((f"{SIDE}x{SIDE} px portrait, GFPGAN, x2plus, scale 2, file to file", whole, 150))
    print("| work | ms | goal |\n| --- | --- | --- |")
    for title, call, goal in works:
        print(f"| {title} | {milliseconds(call):.1f} | {goal:g} |", flush=True)


def beside(folder: Path, python: Path) -> None:
    """Print the times of the originals and of facemend, row by row."""
    print(f"| work | original | facemend | ratio (goal {FASTER}x) |\n| --- | --- | --- | --- |")
    for work in WORKS:
        if work.name in COMPARED:
            (mine, _), (theirs, _) = compared(work, folder, [(python, "originals")])
            row = f"{1000 * theirs:.1f} ms | {1000 * mine:.1f} ms | {theirs / mine:.2f}x"
            print(f"| {work.title} | {row} |", flush=True)


def main() -> None:
    """Read the command line and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with the small real weights/ and data/")
    parser.add_argument(
        "--originals", type=Path, default=ENVIRONMENT, help="environment of the originals (%(default)s)"
    )
    options = parser.parse_args()
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: the CPU instead"
    print(f"{place}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.shared)
        alone(folder, options.shared / "data/portraits/val")
        print()
        beside(folder, options.originals / "bin/python")


if __name__ == "__main__":
    main()
