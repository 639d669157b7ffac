"""Training data: photographs, fonts, portraits with their alignment, and randomly degraded crops of aligned faces."""

from collections.abc import Sequence
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
from training import degradations, photographs

FACE_SIZE = 512  # px
CELL = 16  # px; corners of crops are multiples of it, as one position at the restorer's deepest level is 16 px
HELD_OUT = 20  # training portraits kept for tuning
PHOTOS_HELD_OUT = 3  # the same for photographs


def read(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: the file does not exist or is not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return np.ascontiguousarray(image[..., ::-1])


def photos_and_portraits(
    folder: Path, more: Path | None = None
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Read the photographs and portraits to train with, without those that are kept for tuning.

    Args:
        folder: the shared data folder.
        more: what training/photographs.py makes.

    Returns:
        The photographs, and the portraits.

    Raises:
        FileNotFoundError: there are none, or a file is missing.
    """
    photos = sorted((folder / "photos").glob("*.png"))[:-PHOTOS_HELD_OUT]
    if more:
        photos += [more / row["file"] for row in photographs.rows() if row["use"] == "training"]
    portraits = sorted((folder / "portraits/train").glob("*.jpg"))[:-HELD_OUT]
    if not photos or not portraits:
        raise FileNotFoundError(f"{folder} has too few of photos/*.png or portraits/train/*.jpg")
    return [read(path) for path in photos], [read(path) for path in portraits]


def font_files(folders: Sequence[Path]) -> list[Path]:
    """The TrueType and OpenType fonts in these folders, in the order of the folders and of their names.

    Raises:
        FileNotFoundError: a folder has none.
    """
    files = []
    for folder in folders:
        found = sorted(folder.glob("*.[ot]tf"))
        if not found:
            raise FileNotFoundError(f"{folder} is not a folder with .ttf or .otf files")
        files += found
    return files


@dataclass(frozen=True)
class Portrait:
    """A training portrait.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        matrix: (2, 3), from the image to the 512 px template.
    """

    image: NDArray[np.uint8]
    matrix: NDArray[np.float64]


def portraits(folder: Path, detector: nn.Module, store: Path | None = None) -> list[Portrait]:
    """Read the portraits of a folder and align the largest face of each.

    Args:
        folder: a folder of JPEG files. Files without a face are left out.
        detector: a `RetinaFace`.
        store: an .npz file. If it exists, alignments are read from it, else they are saved to it.

    Returns:
        The portraits in the order of their file names.
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
    """(512, 512, 3) RGB: the face aligned to the template, with bilinear interpolation."""
    flags = {"interpolation": cv2.INTER_LINEAR, "border": cv2.BORDER_REFLECT_101}
    return warp(portrait.image, portrait.matrix, (FACE_SIZE, FACE_SIZE), **flags)


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """Convert (H, W, 3) in [0, 255] to (3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(127.5) - 1)


class Faces(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Crops of aligned faces and their degraded versions. Item i is the same in every run.

    Each item: input and truth (3, size, size) in [-1, 1], and the crop's top left corner (x, y) on the face in px.

    Args:
        portraits: where the faces are taken from.
        backgrounds: (H, W, 3) uint8 RGB images to put behind some of the faces.
        size: side of a crop in px.
        seed: another seed gives other items.
        length: number of items.
        lead_in: number of first items that are strongly degraded.
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
        self.size, self.seed, self.length, self.lead_in = size, seed, length, lead_in

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        portrait = self.portraits[rng.integers(len(self.portraits))]
        room = (FACE_SIZE - self.size) // CELL
        if rng.random() < 0.5:
            corner = rng.integers(0, room + 1, 2) * CELL
        else:  # near the middle of the face
            corner = np.clip(np.rint((rng.normal((256, 300), 50) - self.size / 2) / CELL), 0, room).astype(int) * CELL
        truth = self._warp(portrait, corner, rng)
        if self.backgrounds and rng.random() < 0.06:
            truth = self._swap_background(truth, corner, rng)
        truth = degradations.retone(truth.astype(np.float32), rng)
        recipe = degradations.draw_bad(rng) if index < self.lead_in else degradations.draw(rng)
        given = degradations.enlarge(degradations.apply(truth, recipe, rng), recipe, truth.shape)
        return to_tensor(given), to_tensor(truth), torch.from_numpy(corner)

    def _warp(self, portrait: Portrait, corner: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Cut the crop from the image in one warp, so that pixels are interpolated only once."""
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
        """Replace what is outside a soft ellipse around the head by a part of another image."""
        photo = self.backgrounds[rng.integers(len(self.backgrounds))]
        y, x = (int(rng.integers(0, n - self.size + 1)) for n in photo.shape[:2])
        mask = np.zeros((self.size, self.size), np.float32)
        centre = (int(256 - corner[0]), int(270 - corner[1]))
        cv2.ellipse(mask, centre, (175, 240), 0, 0, 360, 1.0, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 8)[..., None]
        return face * mask + photo[y : y + self.size, x : x + self.size] * (1 - mask)
