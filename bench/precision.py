"""How far the fast paths are from float32: PSNR of the 8-bit results, on the files `bench.compare` prepares."""

from pathlib import Path

import cv2
import numpy as np

from bench.ours import weights
from facemend.loader import Loader
from facemend.records import Pixels, Settings
from facemend.weights.models import MODELS

REAL, DRAWN = 40, 35  # dB at least, with real weights and with drawn ones
GOALS = {
    "lite-restorer": REAL,
    "lite-upscaler": REAL,
    "realesr-animevideov3": REAL,
    "realesr-general-x4v3": REAL,
    "gfpgan-v1.4": DRAWN,
    "codeformer": DRAWN,
    "restoreformer": DRAWN,
    "realesrgan-x4plus": DRAWN,
    "realesrgan-x2plus": DRAWN,
}


def deviations(folder: Path) -> list[str]:
    """A table with a row for every design of network whose result is a picture.

    It tells how much of the result is black or white, too: drawn weights may make something far brighter than white
    and darker than black, in which errors are as much larger.
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
    """The face restored or the photo enlarged."""
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
