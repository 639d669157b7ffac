"""Images of noise, a folder of training pictures, and runs of a trainer."""

import sys

import cv2
import numpy as np

from training import data


def picture(seed=0, size=(600, 520)):
    """Blurred noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def few(shared, folder):
    """Make a data folder with photographs of noise and one real portrait more than are held out."""
    for name in ("photos", "portraits/train"):
        (folder / name).mkdir(parents=True)
    for index in range(4):
        cv2.imwrite(str(folder / f"photos/{index}.png"), picture(index, (700, 700)))
    for path in sorted((shared / "data/portraits/train").glob("*.jpg"))[: data.HELD_OUT + 1]:
        (folder / "portraits/train" / path.name).symlink_to(path)
    return folder


def command(monkeypatch, trainer, *options):
    monkeypatch.setattr(sys, "argv", ["trainer", *map(str, options)])
    trainer.main()
