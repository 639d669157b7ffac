"""From a picture to a better one: the only file that knows the order of the stages."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from facemend.errors import InputError, NotInstalledError, OptionError
from facemend.files.decode import Source, decode
from facemend.machine import process
from facemend.machine.device import Device, choose
from facemend.records import Crop, Face, Landmarks, Picture, Pixels, Settings
from facemend.result import Result
from facemend.stages.align import TEMPLATE, TEMPLATE_SIZE, align, whole
from facemend.stages.detect import Detector
from facemend.stages.parse import Parser
from facemend.stages.paste import canvas_size, enlarged, paste, square_mask
from facemend.stages.restore import FunctionRestorer, NetRestorer, RestorerFunction, colourless, in_grey
from facemend.stages.upscale import FunctionUpscaler, LanczosUpscaler, NetUpscaler, UpscalerFunction, lanczos, linear
from facemend.weights import load as load_net
from facemend.weights.installed import find, folders
from facemend.weights.models import Model, Task, lookup, named, names

ENLARGE_FACES_FROM = 1.5  # canvas px per crop px from which a face goes through the upscaler before it is pasted
NEARLY_SQUARE = 0.02  # relative difference of width and height an aligned face may have
NO_MODEL = "none"
LARGE = 64 * 2**20  # bytes of a result from which the memory it took is given back: by then that costs little

# What is used where nothing is asked for: the first that is installed. CodeFormer is not among them, for its licence
# forbids what some users do; whoever may use it asks for it by name.
PREFERRED: Mapping[Task, tuple[str, ...]] = {
    "restorer": ("gfpgan-v1.4", "gfpgan-v1.3", "gfpgan-v1.2", "restoreformer", "lite-restorer"),
    "upscaler": ("realesrgan-x4plus", "realesrgan-x2plus", "realesr-general-x4v3", "lite-upscaler"),
    "detector": ("retinaface-r50", "retinaface-mobile0.25", "lite-detector"),
    "parser": ("parsenet",),
}

Weights = Mapping[str, str | Path]
Progress = Callable[[str, int, int], None]  # stage, parts done, their total


class Pipeline:
    """Networks, loaded once; `run` may be called from several threads at once.

    `Pipeline.load` is the usual way to make one. The constructor takes the stages themselves.

    Args:
        detector: finds faces; None where there is none, and then only pictures that need none can be run.
        restorer: restores aligned faces; None leaves faces as they are.
        upscaler: enlarges the picture.
        parser: tells the face from the rest of a crop; None pastes a soft square.
    """

    def __init__(
        self,
        *,
        detector: Detector | None,
        restorer: NetRestorer | FunctionRestorer | None,
        upscaler: NetUpscaler | FunctionUpscaler | LanczosUpscaler,
        parser: Parser | None = None,
    ) -> None:
        self.detector = detector
        self.restorer = restorer
        self.upscaler = upscaler
        self.parser = parser

    @classmethod
    def load(
        cls,
        restorer: str | RestorerFunction | None = None,
        upscaler: str | UpscalerFunction | None = None,
        detector: str | None = None,
        parser: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        weights: Weights | None = None,
    ) -> "Pipeline":
        """Load networks by name; None takes the one of `weights` that fits, else the best one that is installed.

        On Linux the process keeps a few hundred MB of freed memory from then on, for the networks' next layers: see
        `facemend.heap`.

        Args:
            restorer: a name ("gfpgan-v1.4", ..., "none"), or a function: called with a list of (512, 512, 3) uint8
                RGB crops and `fidelity=`, it returns a list of the same.
            upscaler: a name ("realesrgan-x4plus", ..., "lanczos"), or a function from (H, W, 3) uint8 RGB to
                (H * k, W * k, 3) uint8 RGB.
            detector: a name ("retinaface-r50", ...).
            parser: "parsenet" or "none".
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            precision: "auto" (half where the hardware is fast in it and the network safe), "fp32", "bf16", "fp16".
            weights: files of your own by model name, instead of the installed ones; not hash-checked, but strict.

        Raises:
            OptionError: an unknown name, or weights of a model that is not used.
            WeightsError: a file is missing, wrong or unreadable.
        """
        loader = Loader(device, precision, weights)
        pipeline = cls(
            detector=loader.detector(detector),
            restorer=loader.restorer(restorer),
            upscaler=loader.upscaler(upscaler),
            parser=loader.parser(parser),
        )
        loader.check_all_used()
        return pipeline

    def run(
        self, source: Source | Picture, settings: Settings | None = None, progress: Progress | None = None
    ) -> Result:
        """Restore and enlarge one picture.

        Args:
            source: a path, the bytes of a file, a Pillow image, an (H, W, 3) uint8 or uint16 RGB array, or a picture
                that `images.decode` read.
            settings: what to do.
            progress: told the stage ("restore", "upscale", "paste"), the parts done and their total.

        Raises:
            InputError: the picture cannot be read, is too large, or an option does not fit it.
            FacemendError: a network failed; nothing half-done is returned.
        """
        settings = Settings() if settings is None else settings
        if not isinstance(settings, Settings):
            raise OptionError("settings", settings, "of type Settings")
        seconds: dict[str, float] = {}
        with _timed(seconds, "total"):
            with _timed(seconds, "decode"):
                before = source if isinstance(source, Picture) else decode(source, settings)
                height, width = before.pixels.shape[:2]
                settings.check_size(height, width)
            with _timed(seconds, "detect"):
                faces = self._find(before, settings)
                chosen = self._choose(faces, before, settings)
            with _timed(seconds, "align"):
                crops = {index: self._crop(before, faces[index], settings) for index in chosen}
                fitting = {index: crop for index, crop in crops.items() if crop is not None}
            with _timed(seconds, "restore"):
                restored = self._restore(before, fitting, settings, progress)
            with _timed(seconds, "upscale"):
                size = settings.output_size(height, width)
                covered = settings.aligned and settings.strength == 1 and bool(restored)
                canvas = lanczos(before.pixels, size) if covered else self._enlarge(before, size, settings, progress)
                alpha = None if before.alpha is None else linear(before.alpha, size)
            with _timed(seconds, "paste"):
                self._paste(canvas, before, restored, settings, progress)
        if canvas.nbytes > LARGE:
            process.give_back()
        return Result(
            picture=replace(before, pixels=canvas, alpha=alpha, several=False),
            before=before,
            faces=tuple(self._outcome(face, index, chosen, restored) for index, face in enumerate(faces)),
            restorer=self.restorer.name if self.restorer else NO_MODEL,
            upscaler=self.upscaler.name,
            seconds=seconds,
        )

    def _find(self, picture: Picture, settings: Settings) -> list[Face]:
        height, width = picture.pixels.shape[:2]
        if settings.aligned:
            if abs(width - height) > NEARLY_SQUARE * max(width, height):
                raise InputError(
                    f"an aligned face is square, but the picture is {width} x {height} px: leave out --aligned"
                )
            scale = np.array((width, height)) / TEMPLATE_SIZE
            points = (TEMPLATE.array() + 0.5) * scale - 0.5
            return [Face((0, 0, width - 1, height - 1), Landmarks(*map(tuple, points.tolist())), 1.0)]
        if settings.faces == "none":
            return []
        if self.detector is None and self.restorer is None:
            return []
        if self.detector is None:
            raise NotInstalledError(PREFERRED["detector"][0], folders())
        return self.detector(picture.pixels, sensitivity=settings.sensitivity, min_face=settings.min_face)

    def _choose(self, faces: Sequence[Face], picture: Picture, settings: Settings) -> list[int]:
        """Indices of the faces to restore."""
        if not isinstance(settings.faces, str):
            if max(settings.faces) >= len(faces):
                numbers = ",".join(map(str, settings.faces))
                found = f"below {len(faces)}: so many faces were found" if faces else "left out: no faces were found"
                raise OptionError("faces", numbers, found)
            wanted = sorted(set(settings.faces))
        elif settings.faces == "largest":
            wanted = sorted(range(len(faces)), key=lambda index: -_area(faces[index]))[:1]
        elif settings.faces == "center":
            height, width = picture.pixels.shape[:2]
            middle = (width - 1) / 2, (height - 1) / 2
            wanted = sorted(range(len(faces)), key=lambda index: _distance(faces[index], middle))[:1]
        else:
            wanted = list(range(len(faces))) if settings.faces == "all" else []
        return wanted if self.restorer else []

    def _crop(self, picture: Picture, face: Face, settings: Settings) -> Crop | None:
        size = self.restorer.face_size if self.restorer else TEMPLATE_SIZE
        if settings.aligned:
            return whole(picture.pixels, size)
        return align(picture.pixels, face.landmarks, size)

    def _restore(
        self, picture: Picture, crops: Mapping[int, Crop], settings: Settings, progress: Progress | None
    ) -> dict[int, tuple[Crop, Pixels]]:
        """The crops with their restored pixels, by index of the face."""
        if self.restorer is None or not crops:
            return {}
        restored = self.restorer(
            [crop.pixels for crop in crops.values()],
            fidelity=settings.fidelity,
            seed=settings.seed,
            progress=partial(progress, "restore") if progress else None,
        )
        if colourless(picture.pixels):  # and the face too: a colour photo on a white page is no grey picture
            restored = [
                in_grey(face, crop.pixels) if colourless(crop.pixels) else face
                for face, crop in zip(restored, crops.values(), strict=True)
            ]
        return {index: (crop, face) for (index, crop), face in zip(crops.items(), restored, strict=True)}

    def _enlarge(
        self, picture: Picture, size: tuple[int, int], settings: Settings, progress: Progress | None
    ) -> Pixels:
        return self.upscaler(
            picture.pixels,
            size,
            denoise=settings.denoise,
            progress=partial(progress, "upscale") if progress else None,
        )

    def _paste(
        self,
        canvas: Pixels,
        picture: Picture,
        restored: Mapping[int, tuple[Crop, Pixels]],
        settings: Settings,
        progress: Progress | None,
    ) -> None:
        ratio = canvas.shape[1] / picture.pixels.shape[1], canvas.shape[0] / picture.pixels.shape[0]
        for done, (crop, face) in enumerate(restored.values(), 1):
            if settings.aligned:
                mask = np.ones(face.shape[:2], np.float32)
            else:
                mask = square_mask(face.shape[0])
                if self.parser:
                    mask = np.minimum(mask, self.parser(face))
            factor = canvas_size(crop, ratio)
            if factor >= ENLARGE_FACES_FROM:
                side = round(face.shape[0] * factor)
                face = self.upscaler(face, (side, side), denoise=settings.denoise)
            paste(canvas, enlarged(crop, face), mask, ratio, settings.strength)
            if progress:
                progress("paste", done, len(restored))
        if picture.grey or _equal_channels(picture.pixels):
            canvas[:] = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[..., None]

    def _outcome(
        self, face: Face, index: int, chosen: Sequence[int], restored: Mapping[int, tuple[Crop, Pixels]]
    ) -> Face:
        if self.restorer is None:
            return face.left_alone("no restorer")
        if index in restored:
            return face.done(self.restorer.name)
        return face.left_alone("its landmarks fit no face" if index in chosen else "not chosen")


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


def _distance(face: Face, point: tuple[float, float]) -> float:
    x0, y0, x1, y1 = face.box
    return math.dist(((x0 + x1) / 2, (y0 + y1) / 2), point)


def _equal_channels(pixels: Pixels) -> bool:
    """Whether a colour picture holds not a trace of colour."""
    return all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


class Loader:
    """Makes stages out of names, and remembers which of the user's own files it used.

    `Pipeline.load` makes all stages of one pipeline; a server that keeps several restorers and upscalers loads each
    stage once and combines them with the constructor of `Pipeline`. The arguments are those of `Pipeline.load`.
    """

    def __init__(self, device: str = "auto", precision: str = "auto", weights: Weights | None = None) -> None:
        self._files = {name: Path(path) for name, path in (weights or {}).items()}
        self._device = device
        self._precision = precision
        self._used: set[str] = set()

    def detector(self, wanted: str | None) -> Detector | None:
        """Load a detector; None is the best one installed, "none" is none."""
        model = self._model("detector", wanted, NO_MODEL)
        return Detector(model.called, *self._net(model)) if model else None

    def restorer(self, wanted: str | RestorerFunction | None) -> NetRestorer | FunctionRestorer | None:
        """Load a restorer; None is the best one installed, "none" is none."""
        if callable(wanted):
            return FunctionRestorer(wanted)
        model = self._model("restorer", wanted, NO_MODEL)
        return NetRestorer(model.called, *self._net(model), model.face_size) if model else None

    def upscaler(self, wanted: str | UpscalerFunction | None) -> NetUpscaler | FunctionUpscaler | LanczosUpscaler:
        """Load an upscaler; None is the best one installed, else "lanczos"."""
        if callable(wanted):
            return FunctionUpscaler(wanted)
        model = self._model("upscaler", wanted, LanczosUpscaler.name)
        if model is None:
            return LanczosUpscaler()
        _, *companions = model.parts()
        grainy = [self._net(companion)[0] for companion in companions if self._installed(companion)]
        net, place = self._net(model)
        return NetUpscaler(
            model.called,
            net,
            model.scale,
            place,
            keeps_grain=next(iter(grainy), None),
            grain_model=next(iter(model.also), None),
        )

    def parser(self, wanted: str | None) -> Parser | None:
        """Load a parser; None is the best one installed, "none" is none."""
        model = self._model("parser", wanted, NO_MODEL)
        return Parser(model.called, *self._net(model)) if model else None

    def check_all_used(self) -> None:
        """Raise OptionError if a file was given for a model that was not loaded."""
        if unused := self._files.keys() - self._used:
            raise OptionError("weights", ", ".join(sorted(unused)), "given for models that are used")

    def _model(self, task: Task, wanted: str | None, without: str) -> Model | None:
        """The model asked for, or the preferred one that is installed; None where the answer is to go without."""
        if wanted is None:
            own = [name for name in self._files if lookup(name).task == task]
            return next(filter(self._installed, map(lookup, (*own, *PREFERRED[task]))), None)
        choices = (*names(task), without)
        if wanted not in choices:
            raise OptionError(f"the {task}", wanted, choices)
        return None if wanted == without else named(task, wanted)

    def _installed(self, model: Model) -> bool:
        return all(part.name in self._files or find(part.name) is not None for part in model.parts())

    def _net(self, model: Model) -> tuple[nn.Module, Device]:
        self._used.add(model.name)
        device = choose(self._device, self._precision, model.half)  # first: a mistake costs no time then
        return load_net(model.name, self._files.get(model.name)), device
