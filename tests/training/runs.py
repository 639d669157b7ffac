"""Images of noise, a folder of training pictures, a face recognition network, and runs of a trainer."""

import json
import sys
from itertools import pairwise

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


def recognition(folder):
    """Make the files of a small face recognition network with random weights, most of them stored as bytes."""
    rng = np.random.default_rng(0)
    widths = [4] * 4 + [8] * 4 + [12] * 3 + [16] * 4  # of the first convolution, and of the blocks
    layers = [("first_down", 7, 3, 4)]
    for block, (inputs, outputs) in enumerate(pairwise(widths)):
        name = f"block{block}_down" if block in (3, 7, 10, 13) else f"block{block}"
        layers += [(f"{name}/conv1", 3, inputs, outputs), (f"{name}/conv2", 3, outputs, outputs)]
    entries, stored = [], b""
    for name, size, inputs, outputs in layers:
        for part, shape in (
            ("conv/filters", [size, size, inputs, outputs]),
            ("conv/bias", [outputs]),
            ("scale/weights", [outputs]),
            ("scale/biases", [outputs]),
        ):
            scaling = {"dtype": "uint8", "scale": 0.004, "min": -0.5}
            entries.append({"name": f"{name}/{part}", "shape": shape, "dtype": "float32", "quantization": scaling})
            stored += rng.integers(0, 256, int(np.prod(shape)), dtype=np.uint8).tobytes()
    entries.append({"name": "fc", "shape": [16, 128], "dtype": "float32"})
    stored += rng.normal(0, 1, (16, 128)).astype(np.float32).tobytes()
    folder.mkdir()
    manifest = [{"weights": entries, "paths": ["face_recognition_model.bin"]}]
    (folder / "face_recognition_model-weights_manifest.json").write_text(json.dumps(manifest))
    (folder / "face_recognition_model.bin").write_bytes(stored)
    return folder


def command(monkeypatch, trainer, *options):
    monkeypatch.setattr(sys, "argv", ["trainer", *map(str, options)])
    trainer.main()
