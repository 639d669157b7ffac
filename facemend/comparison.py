"""Compare all installed restorers and upscalers on one picture."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from facemend.errors import FacemendError, InputError, OptionError, Remedy
from facemend.loader import Loader
from facemend.pipeline import Pipeline
from facemend.records import Crop, Picture, Pixels, Progress, Settings, converted
from facemend.sheet import Section, Tile
from facemend.stages.align import align
from facemend.stages.choose import choose
from facemend.stages.condition import real_side
from facemend.stages.geometry import TEMPLATE_SIZE
from facemend.stages.upscale import LanczosUpscaler
from facemend.weights.installed import find
from facemend.weights.models import MODELS, Task

MIDDLE = "middle"
SIDE = TEMPLATE_SIZE  # px of each picture of the sheet: that of an aligned face
SHORTEST = 0.005  # seconds that are written as a number


class Subject(NamedTuple):
    """What of a picture is compared.

    Attributes:
        words: what it is.
        centre: x, y in px, around which the upscalers are compared.
        crop: the face that the restorers get; None where none is compared.
    """

    words: str
    centre: tuple[float, float]
    crop: Crop | None = None


def find_subject(picture: Picture, face: int | str | None = None) -> Subject:
    """Choose what to compare.

    Args:
        picture: the picture.
        face: number of a face, from left to right; "middle" for the middle of the picture without a face; None for the
            largest face, or the middle where there is none.

    Raises:
        OptionError: there is no face of this number.
        InputError: the landmarks of the face fit no face.
    """
    height, width = picture.pixels.shape[:2]
    middle = Subject("the middle", ((width - 1) / 2, (height - 1) / 2))
    if face == MIDDLE:
        return middle
    pipeline = Pipeline(detector=Loader().detector(None), restorer=None, upscaler=LanczosUpscaler())
    faces = pipeline.find(picture)
    try:
        numbers = choose(faces, (height, width), Settings(faces="largest" if face is None else (int(face),)))
    except OptionError as error:
        raise OptionError.but("face", face, str(error.allowed), Remedy("use {} middle", "face")) from error
    if not numbers:
        return middle._replace(words="the middle, as no face was found")
    (number,) = numbers
    crop = align(picture.pixels, faces[number].landmarks)
    if crop is None:
        raise InputError(f"the landmarks of face {number} fit no face", Remedy("choose another with {}", "face"))
    x0, y0, x1, y1 = faces[number].box
    return Subject(f"face {number} ({len(faces)} found)", ((x0 + x1) / 2, (y0 + y1) / 2), crop)


class _Run(NamedTuple):
    """One model to run."""

    task: Task
    name: str
    limits: str  # of its licence, in words
    picture: Picture
    settings: Settings

    def tile(self) -> Tile:
        """Load the model, run it once and drop it."""
        loader = Loader()
        pipeline = Pipeline(
            detector=None,
            restorer=loader.restorer(self.name) if self.task == "restorer" else None,
            upscaler=loader.upscaler(self.name) if self.task == "upscaler" else LanczosUpscaler(),
        )
        result = pipeline.run(self.picture, self.settings)
        seconds = result.seconds["restore" if self.task == "restorer" else "upscale"]
        words = f"{seconds:.2f} s" if seconds >= SHORTEST else "under 0.01 s"
        return Tile(result.pixels, self.name, f"{words}{self.limits}")


def compare(
    picture: Picture,
    subject: Subject,
    scale: float,
    failed: Callable[[FacemendError], None],
    progress: Progress | None = None,
) -> list[Section]:
    """Run every installed restorer on a face, and every installed upscaler on a part of the picture.

    Pictures with 16 bits are compared in 8.

    Args:
        picture: the picture.
        subject: what of it is compared.
        scale: of the upscalers, 1 to 8.
        failed: told why a model is left out.
        progress: called with the model that runs next, the number of models done, and of all.

    Returns:
        A section for the restorers, where there is a face, and one for the upscalers. Each begins with the input.

    Raises:
        OptionError: the scale is out of range.
    """
    enlarging = Settings(scale=scale, faces="none")
    part = Picture(_part(converted(picture.pixels, np.uint8), subject.centre, round(SIDE / scale)), grey=picture.grey)
    height, width = part.pixels.shape[:2]
    tiles = [Tile(_repeated(part.pixels, enlarging), "input", f"{width} x {height} px")]
    sections = [Section(f"Upscalers: a part of the picture, {scale:g} times as large", tiles)]
    runs = [_Run("upscaler", LanczosUpscaler.name, "", part, enlarging), *_runs("upscaler", part, enlarging)]
    if subject.crop:
        face = Picture(converted(subject.crop.pixels, np.uint8), grey=picture.grey)
        tiles = [Tile(face.pixels, "input", f"{real_side(subject.crop):.0f} real px across")]
        sections.insert(0, Section("Restorers: the face, upright", tiles))
        runs = [*_runs("restorer", face, Settings(scale=1, aligned=True, adaptive=False)), *runs]
    for number, run in enumerate(runs):
        if progress:
            progress(run.name, number, len(runs))
        try:
            sections[0 if run.task == "restorer" else -1].tiles.append(run.tile())
        except FacemendError as error:
            failed(error)
    return sections


def _runs(task: Task, picture: Picture, settings: Settings) -> list[_Run]:
    """A run for each installed model with a task."""
    return [
        _Run(task, model.public_name, ", not for commercial use" if model.commercial == "no" else "", picture, settings)
        for model in MODELS.values()
        if model.task == task and find(model.name)
    ]


def _part(pixels: Pixels, centre: tuple[float, float], side: int) -> Pixels:
    """The square around a point, moved into the picture; smaller where the picture is."""
    height, width = pixels.shape[:2]
    left, top = (
        round(min(max(at - side / 2, 0), max(length - side, 0)))
        for at, length in zip(centre, (width, height), strict=True)
    )
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _repeated(pixels: Pixels, settings: Settings) -> Pixels:
    """The pixels as squares, in the size that the upscalers give."""
    height, width = pixels.shape[:2]
    size = settings.output_size(height, width)
    repeated: Pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return repeated
