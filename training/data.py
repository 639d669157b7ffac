"""The pictures to train on: aligned faces and crops of photographs, degraded at random."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from facemend.machine import device
from facemend.stages.align import align
from facemend.stages.detect import RetinaFaceDetector
from facemend.stages.geometry import warp
from training import degradations

FACE_SIZE = 512  # px
CELL = 16  # px; crops of faces lie on this grid, that of the restorer's deepest level
HELD_OUT = 20  # of the training portraits, kept for tuning


def read(path: Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return np.ascontiguousarray(image[..., ::-1])


@dataclass(frozen=True)
class Portrait:
    """A training portrait.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        matrix: (2, 3), from the picture to the 512 px template.
    """

    image: NDArray[np.uint8]
    matrix: NDArray[np.float64]


def portraits(folder: Path, detector: nn.Module, store: Path | None = None) -> list[Portrait]:
    """Read the portraits of a folder and align the largest face of each.

    Args:
        folder: with JPEG files, in whose order the portraits come; those without a face are left out.
        detector: a `RetinaFace`.
        store: an .npz file to keep the alignments in, for the next run.
    """
    if store is not None and store.exists():
        return [Portrait(read(folder / name), matrix) for name, matrix in np.load(store).items()]
    detect = RetinaFaceDetector("teacher", detector, device.choose("cpu", "fp32", "fp32"))
    found = {}
    for path in tqdm(sorted(folder.glob("*.jpg")), desc="align", mininterval=5):
        image = read(path)
        faces = detect(image)
        crop = align(image, max(faces, key=lambda face: face.box[2] - face.box[0]).landmarks) if faces else None
        if crop is not None:
            found[path.name] = Portrait(image, crop.matrix)
    if store is not None:
        np.savez(store, **{name: portrait.matrix for name, portrait in found.items()})
    return list(found.values())


def aligned(portrait: Portrait) -> NDArray[np.uint8]:
    """(512, 512, 3) RGB: the face on the template, cut as the package cuts it."""
    flags = {"interpolation": cv2.INTER_LINEAR, "border": cv2.BORDER_REFLECT_101}
    return warp(portrait.image, portrait.matrix, (FACE_SIZE, FACE_SIZE), **flags)


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """(H, W, 3) on 0..255 to (3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(127.5) - 1)


class Faces(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Crops of aligned faces with their degraded version; item i is the same in every run.

    Each item: input and truth (3, size, size) in [-1, 1], and the crop's corner (x, y) on the face in px.
    """

    def __init__(
        self,
        portraits: list[Portrait],
        backgrounds: list[NDArray[np.uint8]],
        size: int,
        seed: int,
        length: int,
        lead_in: int = 0,
    ) -> None:
        self.portraits, self.backgrounds = portraits, backgrounds
        self.size, self.seed, self.length = size, seed, length
        self.lead_in = lead_in  # the first items are bad faces only

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        portrait = self.portraits[rng.integers(len(self.portraits))]
        room = (FACE_SIZE - self.size) // CELL
        if rng.random() < 0.5:
            corner = rng.integers(0, room + 1, 2) * CELL
        else:  # over eyes, nose and mouth
            corner = np.clip(np.rint((rng.normal((256, 300), 50) - self.size / 2) / CELL), 0, room).astype(int) * CELL
        truth = self._warp(portrait, corner, rng)
        if self.backgrounds and rng.random() < 0.06:
            truth = self._swap_background(truth, corner, rng)
        truth = degradations.retone(truth.astype(np.float32), rng)
        recipe = degradations.draw_bad(rng) if index < self.lead_in else degradations.draw(rng)
        _, given = degradations.apply(truth, recipe, rng)
        return to_tensor(given), to_tensor(truth), torch.from_numpy(corner)

    def _warp(self, portrait: Portrait, corner: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Cut the crop straight from the picture, so that it is interpolated once."""
        if rng.random() < 0.6:
            angle, scale, shift = rng.normal(0, 3), np.exp(rng.normal(0, 0.05)), rng.normal(0, 4, 2)
        else:
            angle, scale, shift = 0.0, 1.0, np.zeros(2)
        jitter = np.vstack([cv2.getRotationMatrix2D((256, 300), angle, scale), (0, 0, 1)])
        jitter[:2, 2] += shift
        if rng.random() < 0.5:
            jitter = np.array([(-1, 0, FACE_SIZE - 1), (0, 1, 0), (0, 0, 1)]) @ jitter
        matrix = (jitter @ np.vstack([portrait.matrix, (0, 0, 1)]))[:2]
        matrix[:, 2] -= corner
        return cv2.warpAffine(portrait.image, matrix, (self.size, self.size), borderMode=cv2.BORDER_REFLECT)

    def _swap_background(
        self, face: NDArray[np.uint8], corner: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Put another picture behind a soft ellipse around the head."""
        photo = self.backgrounds[rng.integers(len(self.backgrounds))]
        y, x = (int(rng.integers(0, n - self.size + 1)) for n in photo.shape[:2])
        mask = np.zeros((self.size, self.size), np.float32)
        centre = (int(256 - corner[0]), int(270 - corner[1]))
        cv2.ellipse(mask, centre, (175, 240), 0, 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 8)[..., None]
        return face * mask + photo[y : y + self.size, x : x + self.size] * (1 - mask)
