"""Accuracy of half precision: PSNR of the 8-bit results against float32, with the files `bench.compare` prepares."""

from pathlib import Path

import cv2
import numpy as np

from bench.ours import weights
from facemend.loader import Loader
from facemend.records import Pixels, Settings
from facemend.weights.models import MODELS

REAL, DRAWN = 40, 35  # lowest PSNR in dB, with official weights and with random ones
GOALS = {
    "lite-restorer": REAL,
    "lite-upscaler": REAL,
    "realesr-animevideov3": REAL,
    "realesr-general-x4v3": REAL,
    "realesrgan-x4plus": REAL,
    "realesrgan-x4plus-anime-6b": REAL,
    "gfpgan-v1.4": DRAWN,
    "codeformer": DRAWN,
    "restoreformer": DRAWN,
    "realesrgan-x2plus": DRAWN,
    "swinir-m-x4": DRAWN,
}


def deviations(folder: Path) -> list[str]:
    """Return a table with a row for every architecture whose output is a picture.

    The table also has the share of black and white values. Random weights can produce values far outside the range from
    black to white, and the errors grow with the values.
    """
    face = np.load(folder / "face.npy")
    photo = cv2.imread(str(folder / "two.jpg"))[100:340, 200:440, ::-1].copy()
    lines = [
        "| network | weights | values at 0 or 255 | PSNR against float32 | goal |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, goal in GOALS.items():
        fast, exact = (result(folder, name, precision, face, photo).astype(float) for precision in ("auto", "fp32"))
        psnr = 10 * np.log10(255**2 / max(float(np.mean((fast - exact) ** 2)), 1e-9))
        drawn = "real" if goal == REAL else "drawn"
        ends = np.isin(exact, (0, 255)).mean()
        lines.append(
            f"| {name} | {drawn} | {ends:.0%} | {psnr:.1f} dB | {goal} dB, {'met' if psnr >= goal else 'NOT met'} |"
        )
    return lines


def result(folder: Path, name: str, precision: str, face: Pixels, photo: Pixels) -> Pixels:
    """Return the restored face or the enlarged photo."""
    model = MODELS[name]
    files = {} if model.bundled else weights(folder, *(part.name for part in model.parts()))
    loader = Loader(precision=precision, weights=files)
    if model.task == "restorer":
        restorer = loader.restorer(model.public_name)
        assert restorer
        return restorer([face])[0]
    height, width = photo.shape[:2]
    scale = model.tiling.scale
    return loader.upscaler(model.public_name)(photo, (height * scale, width * scale), Settings(denoise=1))
