"""Gather more photographs to train with: `python -m training.photographs --out <folder>`.

They come from public repositories, and are in the public domain or dedicated to it (CC0). photographs.tsv, beside this
file, lists them. It needs git and access to GitHub.
"""

import argparse
import csv
import subprocess
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

LIST = Path(__file__).with_suffix(".tsv")
HOST = "https://github.com"
SIDE = 600  # px of the shorter side; reducing hides the noise and the JPEG blocks of the originals
QUALITY = 92  # of the JPEG files


def rows() -> list[dict[str, str]]:
    """The list: for each photograph its file, its use (training or tuning), its source and its terms."""
    with LIST.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def original(repository: str, blob: str, folder: Path) -> bytes:
    """Read a file by git's hash of it. `folder` gets the repository's history without the other files."""
    clone = folder / f"{repository.replace('/', '+')}.git"
    if not clone.exists():
        command = ["git", "clone", "--quiet", "--bare", "--filter=blob:none", f"{HOST}/{repository}", clone]
        subprocess.run(command, check=True)
    return subprocess.run(["git", "-C", clone, "cat-file", "blob", blob], check=True, capture_output=True).stdout


def reduced(data: bytes) -> bytes:
    """Reduce an image file to `SIDE` px, as a JPEG file.

    Raises:
        ValueError: it is not an image.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a listed file is not an image")
    factor = SIDE / min(image.shape[:2])
    size = [round(side * factor) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", small, options)[1].tobytes()


def main() -> None:
    """Parse the command line and write the photographs that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the photographs, and for the repositories")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for row in tqdm(rows()):
        target = out / row["file"]
        if not target.exists():
            part = target.with_suffix(".part")
            part.write_bytes(reduced(original(row["repository"], row["blob"], out)))
            part.replace(target)


if __name__ == "__main__":
    main()
