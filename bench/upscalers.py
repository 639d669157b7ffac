"""Quality of the upscalers on photos: `python -m bench.upscalers --shared FOLDER`, from the repository.

The Kodak pictures are degraded by `degrade.py` and enlarged to their size again. PSNR is the fidelity to the original.
Sharpness is the gradient energy over that of the original: below 1 the result is softer. With the same sharpness, a
higher PSNR is better; a network that draws plausible detail has a lower PSNR than one that blurs. `--sheet FILE` writes
a picture of all results, to look at.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from facemend.loader import Loader
from facemend.records import Pixels, Size
from facemend.stages.upscale import LanczosUpscaler
from training.measure import degraded, load_yardstick, quality

FILES = {  # model -> file in weights/ of the test data; its values are those of the official file in float16
    "realesr-general-x4v3": "realesr-general-x4v3.fp16-rounded.pth",
    "realesr-general-wdn-x4v3": "realesr-general-wdn-x4v3.fp16-rounded.pth",
    "realesrgan-x4plus": "realesrgan-x4plus.fp16.safetensors",
    "realesrgan-x4plus-anime-6b": "realesrgan-x4plus-anime-6b.fp16.safetensors",
}
NAMES = ("lanczos", "lite", "realesr-general-x4v3", "realesrgan-x4plus", "realesrgan-x4plus-anime-6b")
PICTURES = 8  # of Kodak
CROP = 256  # px of a side of each picture on the sheet
SHOWN = (4, 6, 7)  # pictures on the sheet

Enlarge = Callable[[Pixels, Size], Pixels]


def main() -> None:
    """Read the command line, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with the small real weights/ and data/")
    parser.add_argument("--sheet", type=Path, help="picture to write")
    options = parser.parse_args()
    yardstick = load_yardstick(options.shared / "data/degrade.py")
    loader = Loader(weights={name: options.shared / "weights" / file for name, file in FILES.items()})
    upscalers: dict[str, Enlarge] = {name: loader.upscaler(name) for name in NAMES if name != LanczosUpscaler.name}
    upscalers = {LanczosUpscaler.name: LanczosUpscaler(), **upscalers}
    paths = sorted((options.shared / "data/kodak").glob("*.png"))[:PICTURES]
    truths = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    print(f"| Kodak, the first {PICTURES} | {' | '.join(f'{name}: PSNR, sharpness' for name in upscalers)} |")
    print("| --- " * (1 + len(upscalers)) + "|")
    rows = []
    for level in yardstick.LEVELS:
        figures = []
        for index, truth in enumerate(tqdm(truths, desc=level)):
            small, _ = degraded(yardstick, level, truth, index)
            results = [enlarge(small, truth.shape[:2]) for enlarge in upscalers.values()]
            figures.append([quality(yardstick, result, truth) for result in results])
            if index in SHOWN:
                given = cv2.resize(small, truth.shape[1::-1], interpolation=cv2.INTER_NEAREST)
                rows.append(np.hstack([middle(image) for image in (given, *results, truth)]))
        cells = [f"{psnr:.2f} dB, {sharpness:.2f}" for psnr, sharpness in np.mean(figures, axis=0)]
        print(f"| {level} | {' | '.join(cells)} |", flush=True)
    if options.sheet:
        cv2.imwrite(str(options.sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def middle(image: Pixels) -> Pixels:
    """The middle of a picture."""
    top, left = (image.shape[0] - CROP) // 2, (image.shape[1] - CROP) // 2
    return image[top : top + CROP, left : left + CROP]


if __name__ == "__main__":
    main()
