"""How much restored faces look like the person: distances of the descriptors of dlib's face recognition network.

`python -m training.measure --save FOLDER ...` writes the faces. This script runs in an environment of its own:
pip install "setuptools<81" dlib-bin face-recognition-models opencv-python-headless, then

python training/measure_likeness.py FOLDER

dlib's network (Davis King, public domain) takes 150 px of a face and gives 128 numbers. The distance between two
pictures of one person is below 0.6, of two persons mostly above.
"""
# ruff: noqa: T201

import sys
from pathlib import Path

import cv2
import dlib
import face_recognition_models
import numpy as np

FACE = dlib.rectangle(120, 140, 392, 470)  # of an aligned face of 512 px


def main() -> None:
    """Print a table: the mean distance to the truth, and how often the nearest truth is the right person."""
    folder = Path(sys.argv[1])
    describe = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
    points = dlib.shape_predictor(face_recognition_models.pose_predictor_five_point_model_location())

    def descriptors(level: str, kind: str) -> np.ndarray:
        paths = sorted(folder.glob(f"{level}-*-{kind}.png"))
        images = [np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in paths]
        return np.array([describe.compute_face_descriptor(image, points(image, FACE)) for image in images])

    print("| faces | level | degraded | lite | nearest truth is the same person |\n| --- | --- | --- | --- | --- |")
    for level in dict.fromkeys(path.name.split("-")[0] for path in sorted(folder.glob("*-truth.png"))):
        given, result, truth = (descriptors(level, kind) for kind in ("given", "result", "truth"))
        off = [np.linalg.norm(faces - truth, axis=1).mean() for faces in (given, result)]
        nearest = np.linalg.norm(result[:, None] - truth[None], axis=2).argmin(axis=1)
        same = int((nearest == np.arange(len(truth))).sum())
        print(f"| {len(truth)} | {level} | {off[0]:.3f} | {off[1]:.3f} | {same} of {len(truth)} |")


if __name__ == "__main__":
    main()
