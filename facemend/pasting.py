"""Paste the restored faces of a picture: where each replaces the canvas, and with how many px."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from facemend.records import Crop, Floats, Pixels, Settings, Size, StageProgress
from facemend.stages import Parser, Upscaler
from facemend.stages.align import turn
from facemend.stages.grey import keep_ink
from facemend.stages.paste import (
    Layer,
    canvas_px_per_crop_px,
    enlarged,
    oval_mask,
    overlapping,
    paste,
    square_mask,
    visible,
)
from facemend.stages.tone import toned
from facemend.treatment import Treatment

ENLARGE_FACES_FROM = 1.5  # canvas px per crop px from which a face goes through the upscaler before it is pasted


@dataclass(frozen=True)
class Pasting:
    """Pastes faces.

    Attributes:
        parser: finds the outline of a face; without one, an oval is pasted.
        upscaler: enlarges faces that have too few px for the canvas.
        settings: of the picture.
        redrawn: whether the canvas was redrawn. It then has the colours of the picture, but other details.
    """

    parser: Parser | None
    upscaler: Upscaler
    settings: Settings
    redrawn: bool = False

    def __call__(
        self,
        canvas: Pixels,
        size: Size,
        treatments: Sequence[Treatment],
        restored: Sequence[Pixels],
        progress: StageProgress | None,
    ) -> None:
        """Paste faces into the canvas, in place.

        Args:
            canvas: (H, W, 3) RGB, uint8 or uint16: the enlarged picture.
            size: (height, width) of the picture in px.
            treatments: those of the faces.
            restored: (S, S, 3) of each, in the same order.
            progress: called with the number of faces done, and of all.
        """
        ratio = canvas.shape[1] / size[1], canvas.shape[0] / size[0]
        groups = overlapping([treatment.crop for treatment in treatments], ratio, canvas.shape[:2])
        order = [index for group in groups for index in group]
        masks = self._masks([treatments[index] for index in order], [restored[index] for index in order])
        done = 0

        def report(*tiles: int) -> None:  # also between the tiles of a face, so that a caller can cancel there
            if progress:
                progress(done, len(treatments))

        for group in groups:
            layers = []
            for index in group:
                treatment = treatments[index]
                crop = Crop(restored[index], treatment.crop.matrix)
                finer = self._finer(crop, size, ratio, report)
                if finer is None and not self.redrawn:  # a finer one gets its tone from the upscaler
                    crop = toned(crop, treatment.crop, canvas, ratio)
                layers.append(Layer(crop, next(masks), treatment.share, finer))
                done += 1
                report()
            paste(canvas, layers, ratio)

    def _masks(self, treatments: Sequence[Treatment], faces: Sequence[Pixels]) -> Iterator[Floats]:
        """A mask for each restored face: where it is pasted."""
        if self.settings.aligned:
            yield from (np.ones(face.shape[:2], np.float32) for face in faces)
        elif self.parser:
            for face, mask in zip(faces, self.parser(faces), strict=True):
                yield np.minimum(square_mask(len(face)), mask)
        else:
            for treatment, face in zip(treatments, faces, strict=True):
                yield oval_mask(len(face), turn(treatment.face.landmarks, treatment.crop))

    def _finer(self, crop: Crop, size: Size, ratio: tuple[float, float], progress: StageProgress) -> Crop | None:
        """The visible part of a face with as many px as it covers; None where the face has enough."""
        factor = canvas_px_per_crop_px(crop, ratio)
        if factor < ENLARGE_FACES_FROM:
            return None
        part = visible(crop, size)
        height, width = (round(side * factor) for side in part.pixels.shape[:2])
        finer = self.upscaler(part.pixels, (height, width), self.settings, progress)
        return enlarged(part, keep_ink(part.pixels, finer))
