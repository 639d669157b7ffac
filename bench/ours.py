"""The works of `bench.compare`, done by facemend.

All options have their defaults, except `denoise`, which is 1: a single network runs, as in the originals.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from facemend.loader import Loader
from facemend.machine import process
from facemend.pipeline import Pipeline
from facemend.records import Settings
from facemend.result import Result
from facemend.weights.models import MODELS

LOADED = ("gfpgan-v1.4", "retinaface-r50", "realesrgan-x4plus")
SEEN = 240  # px; facemend adds 8 mirrored px on each side, which makes a tile of 256 px as the originals get

process.keep_freed_memory()  # as the command line does
process.limit_threads()


def weights(folder: Path, *names: str) -> dict[str, Path]:
    """Return the weights files that `bench.compare` prepared for these models."""
    return {name: folder / MODELS[name].file for name in names}


def face(folder: Path, name: str) -> Callable[[], object]:
    """Return a function that restores one 512 px face."""
    restorer = Loader(weights=weights(folder, name)).restorer(name)
    crop = np.load(folder / "face.npy")
    return lambda: restorer([crop])


def tile(folder: Path, name: str, seen: int = SEEN) -> Callable[[], object]:
    """Return a function that enlarges a picture of one tile."""
    upscaler = Loader(weights=weights(folder, *(part.name for part in MODELS[name].parts()))).upscaler(name)
    pixels = np.load(folder / "face.npy")[:seen, :seen]
    size = (seen * MODELS[name].tiling.scale,) * 2
    return lambda: upscaler(pixels, size, Settings(denoise=1))


def picture(
    folder: Path, file: str, upscaler: str, restorer: str = "gfpgan-v1.4", parser: str = "parsenet"
) -> Callable[[], Result]:
    """Return a function that restores a picture at twice its size, from file to file."""
    used = {"retinaface-mobile0.25", parser, restorer, upscaler} - {"lanczos", "none"}
    pipeline = Pipeline.load(
        restorer=restorer,
        upscaler=upscaler,
        detector="retinaface-mobile0.25",
        parser=parser,
        weights=weights(folder, *used),
    )

    def run() -> Result:
        result = pipeline.run(folder / file, Settings(scale=2))
        result.save(folder / "ours.png")
        return result

    return run


def load(folder: Path) -> Callable[[], object]:
    """Return a function that loads three large models."""
    files = weights(folder, *LOADED)
    return lambda: Pipeline.load("gfpgan-v1.4", "realesrgan-x4plus", "retinaface-r50", "none", weights=files)


WORKS = {
    "load": load,
    "gfpgan": partial(face, name="gfpgan-v1.4"),
    "codeformer": partial(face, name="codeformer"),
    "restoreformer": partial(face, name="restoreformer"),
    "x4plus": partial(tile, name="realesrgan-x4plus"),
    "x2plus": partial(tile, name="realesrgan-x2plus"),
    "general": partial(tile, name="realesr-general-x4v3"),
    "swinir": partial(tile, name="swinir-m-x4", seen=112),
    "group": partial(picture, file="group.png", upscaler="lanczos"),
    "group-square": partial(picture, file="group.png", upscaler="lanczos", parser="none"),
    "two": partial(picture, file="two.jpg", upscaler="realesrgan-x2plus"),
    "two-square": partial(picture, file="two.jpg", upscaler="realesrgan-x2plus", parser="none"),
    "large": partial(picture, file="large.png", upscaler="realesrgan-x2plus", restorer="none"),
}
