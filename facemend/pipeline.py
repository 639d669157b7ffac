"""From a picture to a better one: the only file that knows the order of the stages."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from facemend.creative import DEFAULT_CREATIVE, Creative
from facemend.errors import InputError, OptionError, Remedy
from facemend.files.decode import Source, decode
from facemend.loader import AUTO, NONE, Loader, Weights
from facemend.machine import memory, process
from facemend.pasting import Pasting
from facemend.records import (
    DEFAULT_SETTINGS,
    Box,
    Face,
    Floats,
    Landmarks,
    Picture,
    Pixels,
    Progress,
    Settings,
    Size,
    StageProgress,
    is_number,
)
from facemend.result import Result
from facemend.stages import Detector, Parser, Repairer, Restorer, Upscaler
from facemend.stages.align import TEMPLATE, align, whole
from facemend.stages.assign import Assigned, Auto, assign
from facemend.stages.choose import choose
from facemend.stages.geometry import TEMPLATE_SIZE
from facemend.stages.grey import in_tone_of, keep_ink, one_ink, print_in
from facemend.stages.recolour import exposed
from facemend.stages.redraw import CreativeUpscaler
from facemend.stages.restore import RestorerFunction
from facemend.stages.upscale import UpscalerFunction, lanczos, linear
from facemend.treatment import Treatment, share

NEARLY_SQUARE = 0.02  # relative difference of width and height that an aligned face may have
LARGE = 64 * 2**20  # bytes of a result from which freed memory is given back; for smaller ones that takes too long


class Pipeline:
    """Networks, loaded once; `run` may be called from several threads at once.

    `Pipeline.load` is the usual way to make one. The constructor takes the stages themselves.

    Args:
        detector: finds faces; None where there is none, and then only pictures that need none can be run.
        restorer: restores aligned faces, or the restorers of which each face gets one; None leaves faces as they are.
        upscaler: enlarges the picture.
        parser: tells the face from the rest of a crop; None pastes a soft oval.
        repairer: fills scratches and the like; None where there is none, and then only pictures that need none can be
            run.
    """

    def __init__(
        self,
        *,
        detector: Detector | None,
        restorer: Restorer | Auto | None,
        upscaler: Upscaler,
        parser: Parser | None = None,
        repairer: Repairer | None = None,
    ) -> None:
        self.detector = detector
        self.restorer = restorer
        self.upscaler = upscaler
        self.parser = parser
        self.repairer = repairer

    @classmethod
    def load(
        cls,
        restorer: str | Path | RestorerFunction | None = None,
        upscaler: str | Path | UpscalerFunction | None = None,
        detector: str | Path | None = None,
        parser: str | Path | None = None,
        repairer: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        weights: Weights | None = None,
        scale: float = 0,
        allow_noncommercial: bool = False,
        first: str | Path | UpscalerFunction | None = None,
        base: str | Path | None = None,
        control: str | Path | None = None,
        creative: Creative = DEFAULT_CREATIVE,
    ) -> "Pipeline":
        """Load networks.

        Each is named by a model's name or by the path of a weights file whose parameters fit the network of one. "auto"
        or None takes the model of `weights` with that task, else the preferred one that is installed.

        Args:
            restorer: "gfpgan-v1.4", ..., "none", a path, or a function: called with a list of (512, 512, 3) uint8 RGB
                crops and `fidelity=`, it returns a list of the same. With "auto" or None, `Face.net_reason` says why
                a face got its restorer.
            upscaler: "realesrgan-x4plus", ..., "lanczos", a path, or a function from (H, W, 3) uint8 RGB to
                (H * k, W * k, 3) uint8 RGB. "creative" redraws the result of `first`; it needs the extra of that name.
            detector: "retinaface-r50", ..., "none", or a path.
            parser: "parsenet", "none", or a path.
            repairer: "lite", "none", or a path.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            precision: "auto" (half precision where the hardware is fast in it and the network safe), "fp32", "bf16",
                "fp16".
            weights: files of your own by model name, instead of the installed ones. Their hashes are not checked; their
                parameters are.
            scale: of all pictures to come, or 0 if it is not known. Where no upscaler is named, one for this scale is
                preferred: up to 2, realesrgan-x2plus to realesrgan-x4plus.
            allow_noncommercial: whether "auto" may use CodeFormer, where it is installed, for faces with too little
                detail for a likeness. Its licence forbids commercial use.
            first: for "creative": the upscaler whose result is redrawn, named as `upscaler`.
            base: for "creative": "realistic-vision-v5.1", "stable-diffusion-v1.5", or a .safetensors file or a folder.
            control: for "creative": "sd15-tile", or a .safetensors file or a folder.
            creative: for "creative": how it redraws. `creative.PRESETS` has the settings of two other upscalers.

        Raises:
            OptionError: an unknown name, or weights of a model that is not used.
            WeightsError: a file is missing, wrong or unreadable, or the extra `creative` is not installed.
        """
        redraws = upscaler == CreativeUpscaler.name
        for name, value in (("first", first), ("base", base), ("control", control)):
            if value is not None and not redraws:
                fact = f'it is only for upscaler="{CreativeUpscaler.name}"'
                raise OptionError.but(name, value, fact, "leave it out")
        if not isinstance(creative, Creative) or (creative != DEFAULT_CREATIVE and not redraws):
            raise OptionError("creative", creative, f"of type Creative, for the upscaler {CreativeUpscaler.name}")
        if not is_number(scale) or scale < 0:
            raise OptionError("scale", scale, "a number above 0, or 0 if it is not known")
        if not isinstance(allow_noncommercial, bool):  # of a licence, "no" must not mean yes
            raise OptionError("allow_noncommercial", allow_noncommercial, "True or False")
        loader = Loader(device, precision, weights)
        networks = loader.diffusion(base, control) if redraws else None
        enlarging = loader.upscaler(first if redraws else upscaler, scale)
        pipeline = cls(
            detector=loader.detector(detector),
            restorer=loader.auto(allow_noncommercial) if restorer in (None, AUTO) else loader.restorer(restorer),
            upscaler=CreativeUpscaler(networks, enlarging, creative) if networks else enlarging,
            parser=loader.parser(parser),
            repairer=loader.repairer(repairer),
        )
        loader.check_all_used()
        return pipeline

    @property
    def restorers(self) -> tuple[Restorer, ...]:
        """The restorers that faces may get; the first one is the usual one."""
        if isinstance(self.restorer, Auto):
            return self.restorer.restorers
        return (self.restorer,) if self.restorer else ()

    @property
    def names(self) -> dict[str, str]:
        """The names of the networks by what they do: "restorer", "upscaler", "detector", "parser", "repairer".

        With an upscaler that redraws, also "first", the upscaler before it, and "base", its Stable Diffusion.
        """
        stages = {
            "restorer": self.restorer,
            "upscaler": self.upscaler,
            "detector": self.detector,
            "parser": self.parser,
            "repairer": self.repairer,
        }
        names = {part: stage.name if stage else NONE for part, stage in stages.items()}
        return names | ({"first": self._redraws.first.name, "base": self._redraws.base} if self._redraws else {})

    @memory.enough()
    def find(self, source: Source | Picture, settings: Settings = DEFAULT_SETTINGS) -> tuple[Face, ...]:
        """Find the faces of a picture, without restoring them.

        Args:
            source: as for `run`.
            settings: `sensitivity` and `min_face` say which faces count; with `aligned` there is one, the picture.

        Returns:
            The faces from left to right; their places are the indices that `Settings.faces` takes. With `repair`, or
            `Creative.hdr`, `run` looks for faces in a changed picture, and may find others.

        Raises:
            InputError: the picture cannot be read, or is too large.
            OptionError: there is no detector.
        """
        _check(settings)
        return tuple(self._find(_decoded(source, settings), settings))

    @memory.enough()
    def run(
        self,
        source: Source | Picture,
        settings: Settings = DEFAULT_SETTINGS,
        progress: Progress | None = None,
        *,
        faces: Sequence[Face] | None = None,
    ) -> Result:
        """Restore and enlarge one picture.

        Args:
            source: a path, the bytes of a file, a Pillow image, a uint8 or uint16 array of (H, W), (H, W, 3) RGB or
                (H, W, 4) RGBA, or a picture that `files.decode` read.
            settings: what to do.
            progress: called with the stage ("repair", "restore", "upscale", "paste"), the parts done and their total.
                Raise `Cancelled` in it to stop the run: it ends within one tile, or after the search for faces or the
                enlarging with "lanczos", which have no tiles. Nothing is left behind.
            faces: faces found earlier with `find`, or edited; None looks for them. `Settings.faces` chooses from them.

        Raises:
            InputError: the picture cannot be read, is too large, or an option does not fit it.
            FacemendError: a network failed, or there is not enough memory; there is no partial result.
        """
        _check(settings, faces)
        seconds: dict[str, float] = {}
        with _timed(seconds, "total"):
            with _timed(seconds, "decode"):
                before = _decoded(source, settings)
                height, width = before.pixels.shape[:2]
            picture, mask = before, None
            if settings.repair:
                with _timed(seconds, "repair"):
                    picture, mask = self._repair(before, progress)
            if self._redraws and self._redraws.creative.hdr:  # before faces are cut out, as they are pasted into it
                has_colours = one_ink(picture.pixels) is None
                even = exposed(picture.pixels, self._redraws.creative.hdr, has_colours)
                picture = replace(picture, pixels=even)
            with _timed(seconds, "detect"):
                if faces is not None:
                    found = list(faces)
                elif settings.aligned or (
                    self._looks_for_faces(settings) and (self.detector or (self.restorer and settings.faces != "none"))
                ):
                    found = self._find(picture, settings)
                else:
                    found = []
                chosen = choose(found, (height, width), settings) if self.restorer else []
            with _timed(seconds, "align"):
                planned = [
                    self._treatment(picture, face, index in chosen, settings) for index, face in enumerate(found)
                ]
                treatments = [plan for plan in planned if isinstance(plan, Treatment)]
            with _timed(seconds, "restore"):
                restored = self._restore(treatments, settings, progress)
            with _timed(seconds, "upscale"):
                size = settings.output_size(height, width)
                covered = settings.aligned and [treatment.share for treatment in treatments] == [1]
                canvas = (
                    lanczos(picture.pixels, size)
                    if covered
                    else self._enlarge(picture, size, [face.box for face in found], settings, progress)
                )
                alpha = None if before.alpha is None else linear(before.alpha, size)
            with _timed(seconds, "paste"):
                faces_upscaler = self._redraws.first if self._redraws else self.upscaler
                pasting = Pasting(self.parser, faces_upscaler, settings, redrawn=self._redraws is not None)
                pasting(canvas, (height, width), treatments, restored, partial(progress, "paste") if progress else None)
                if _equal_channels(before.pixels):
                    canvas[:] = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[..., None]
        if canvas.nbytes > LARGE:
            process.give_back_memory()
        return Result(
            picture=replace(before, pixels=canvas, alpha=alpha),
            before=before,
            mask=mask,
            faces=tuple(plan.outcome if isinstance(plan, Treatment) else plan for plan in planned),
            restorer=self.restorer.name if self.restorer else NONE,
            upscaler=self.upscaler.name,
            seconds=seconds,
        )

    def _repair(self, picture: Picture, progress: Progress | None) -> tuple[Picture, Floats]:
        """The repaired picture, and how much of the repair is in each px."""
        if self.repairer is None:
            raise OptionError("repairer", NONE, "a model where pictures are repaired")
        pixels, mask = self.repairer(picture.pixels, partial(progress, "repair") if progress else None)
        if picture.alpha is not None:
            hidden = picture.alpha == 0
            pixels[hidden], mask[hidden] = picture.pixels[hidden], 0
        ink = one_ink(picture.pixels) if mask.any() else None
        if ink is not None:  # the px that are filled have traces of the scratch's colour
            filled = pixels[mask > 0][None]
            print_in(filled, ink)
            pixels[mask > 0] = filled[0]
        return replace(picture, pixels=pixels), mask

    def _find(self, picture: Picture, settings: Settings) -> list[Face]:
        height, width = picture.pixels.shape[:2]
        if settings.aligned:
            if abs(width - height) > NEARLY_SQUARE * max(width, height):
                raise InputError(
                    f"an aligned face is square, but the picture is {width} x {height} px",
                    Remedy("leave out {}", "aligned"),
                )
            scale = np.array((width, height)) / TEMPLATE_SIZE
            points = (TEMPLATE.array() + 0.5) * scale - 0.5
            return [Face((0, 0, width - 1, height - 1), Landmarks(*map(tuple, points.tolist())), 1.0)]
        if self.detector is None:
            remedies = "name a detector", Remedy('set {}="none"', "faces")
            raise OptionError.but("detector", NONE, "faces are looked for", *remedies)
        return self.detector(picture.pixels, settings)

    def _treatment(self, picture: Picture, face: Face, is_chosen: bool, settings: Settings) -> Treatment | Face:
        """How a face is restored, or the face with the reason why it is left alone."""
        if self.restorer is None:
            return face.left_alone("no restorer")
        if not is_chosen:
            return face.left_alone("not chosen")
        size = self.restorers[0].face_size
        crop = whole(picture.pixels, size) if settings.aligned else align(picture.pixels, face.landmarks, size)
        if crop is None:
            return face.left_alone("its landmarks fit no face")
        if not (used := share(crop, picture.pixels, settings)):
            return face.left_alone("it is sharp already" if settings.strength else "the strength is 0")
        assigned = assign(crop, self.restorer) if isinstance(self.restorer, Auto) else Assigned(self.restorer)
        return Treatment(face, crop, assigned, used)

    def _restore(self, treatments: Sequence[Treatment], settings: Settings, progress: Progress | None) -> list[Pixels]:
        """The restored pixels of each crop."""
        restored: dict[int, Pixels] = {}
        for restorer in self.restorers:
            own = [index for index, treatment in enumerate(treatments) if treatment.assigned.restorer is restorer]
            if not own:
                continue
            report = _continued(progress, "restore", len(restored), len(treatments)) if progress else None
            faces = restorer([treatments[index].crop.pixels for index in own], settings, report)
            restored.update(zip(own, faces, strict=True))
        for index, treatment in enumerate(treatments):
            before = treatment.crop.pixels
            if (ink := one_ink(before)) is not None:
                restored[index] = in_tone_of(restored[index], before, ink)
        return [restored[index] for index in range(len(treatments))]

    def probe(self) -> None:
        """Run every network once, on a black picture. Errors are raised as they are."""
        face = np.zeros((TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8)
        if self.detector:
            self.detector(face)
        if self.parser:
            list(self.parser([face]))
        if self.repairer:
            self.repairer(face)
        for restorer in self.restorers:
            restorer([face])
        upscaler = self._redraws.quickest() if self._redraws else self.upscaler
        upscaler(face[:8, :8], (16, 16))

    @property
    def _redraws(self) -> CreativeUpscaler | None:
        """The upscaler, if it redraws."""
        return self.upscaler if isinstance(self.upscaler, CreativeUpscaler) else None

    def _looks_for_faces(self, settings: Settings) -> bool:
        """Whether faces are restored, or not to be redrawn."""
        return settings.faces != "none" or (self._redraws is not None and self._redraws.creative.keep_faces)

    def _enlarge(
        self, picture: Picture, size: Size, faces: Sequence[Box], settings: Settings, progress: Progress | None
    ) -> Pixels:
        report = partial(progress, "upscale") if progress else None
        if self._redraws and settings.aligned and self._redraws.creative.keep_faces:  # the picture is a face
            canvas = self._redraws.first(picture.pixels, size, settings, report)
        elif self._redraws:
            canvas = self._redraws(picture.pixels, size, settings, report, keep=faces)
        else:
            canvas = self.upscaler(picture.pixels, size, settings, report)
        return keep_ink(picture.pixels, canvas)


def _check(settings: Settings, faces: Sequence[Face] | None = None) -> None:
    if not isinstance(settings, Settings):
        raise OptionError("settings", settings, "of type Settings")
    if faces is None:
        return
    if isinstance(faces, str) or not isinstance(faces, Sequence) or not all(map(_is_face, faces)):
        raise OptionError("faces", faces, "a list of Face, as `find` returns them")
    if settings.aligned:
        raise OptionError("aligned", True, "False where faces are given")


def _is_face(value: object) -> bool:
    if not (isinstance(value, Face) and isinstance(value.landmarks, Landmarks)):
        return False
    return _has_numbers(value.box, 4) and all(_has_numbers(point, 2) for point in value.landmarks)


def _has_numbers(value: object, count: int) -> bool:
    return isinstance(value, tuple) and len(value) == count and all(map(is_number, value))


def _continued(progress: Progress, stage: str, before: int, total: int) -> StageProgress:
    """The progress of a part of a stage; `before` of `total` are done when it starts."""
    return lambda done, _: progress(stage, before + done, total)


def _decoded(source: Source | Picture, settings: Settings) -> Picture:
    if not isinstance(source, Picture):
        return decode(source, settings)
    settings.check_size(*source.pixels.shape[:2])
    return source


def _equal_channels(pixels: Pixels) -> bool:
    """Whether a colour picture holds not a trace of colour."""
    return all(np.array_equal(pixels[..., 0], pixels[..., channel]) for channel in (1, 2))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
