"""Cog's way in: declared inputs -> Settings -> Pipeline -> a file.

Cog reads the inputs from the text of this file, without running it, and silently loses what is not a plain literal: so
every keyword of Input() is one, and each description is a single string.
"""
# ruff: noqa: B008, E501

import gc
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress

import numpy as np
import torch
from cog import BaseRunner, Input, Path

from facemend.errors import FacemendError, InputError, OptionError, TooLargeError, WeightsError
from facemend.files import encode
from facemend.files.decode import decode
from facemend.pipeline import NO_MODEL, PREFERRED, Loader, Pipeline
from facemend.records import Settings
from facemend.stages.restore import BATCH
from facemend.weights.installed import download_folder, find
from facemend.weights.models import lookup, named, names

LANCZOS = "lanczos"  # needs no weights
ROOM = 2**30  # bytes of the temp folder that must be free for the server to count as healthy
COG_FOLDERS = Path("/tmp/coglet/predictions")  # two empty ones for each call, which Cog never removes
COG_FOLDER_AGE = 60  # seconds after which no call needs them any more


class Predictor(BaseRunner):
    """Keeps the models FACEMEND_MODELS names (else all that can be asked for) and restores one picture at a time."""

    def setup(self) -> None:
        """Load every model once."""
        held = _held()
        loader = Loader()
        self.restorers = {name: loader.restorer(name) for name in names("restorer") if name in held}
        self.upscalers = {name: loader.upscaler(name) for name in (*names("upscaler"), LANCZOS) if name in held}
        self.detector = loader.detector(next((name for name in names("detector") if name in held), NO_MODEL))
        self.parser = loader.parser(next((name for name in names("parser") if name in held), NO_MODEL))
        self.folder = tempfile.TemporaryDirectory(prefix="facemend-")  # of the last output, until the next call
        self.uploads = Path(tempfile.mkdtemp(dir=self.folder.name))
        tempfile.tempdir = str(self.uploads)  # Cog saves there what comes with a call; nothing else is ever in it
        self.doubted: Pipeline | None = None  # that of the last call, if it failed in a way nobody foresaw
        if torch.cuda.is_available():
            self._warm_up()

    def run(
        self,
        image: Path = Input(
            description="The photo: JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF, up to 100 megapixels.",
        ),
        model: str = Input(
            default="gfpgan-v1.4",
            choices=["auto", "gfpgan-v1.4", "gfpgan-v1.3", "gfpgan-v1.2", "restoreformer", "codeformer", "lite"],
            description="Which network restores the faces. GFPGAN keeps people most like themselves; CodeFormer repairs worse damage but may change a face, and its licence forbids commercial use; lite is small and fast. auto takes the best one this server holds, never CodeFormer.",
        ),
        fidelity: float = Input(
            default=0.5,
            ge=0,
            le=1,
            description="For model codeformer only: 0 gives the best-looking face, 1 the one most like the photo.",
        ),
        upscale: float = Input(
            default=2,
            ge=1,
            le=8,
            description="How many times wider and higher the result is. 1 keeps the size.",
        ),
        face_enhance: bool = Input(
            default=True,
            description="Restore faces. If false, the picture is only enlarged and faces are treated like the rest of it.",
        ),
        only_center_face: bool = Input(
            default=False,
            description="Restore only the face nearest to the middle of the picture and leave the others as they are.",
        ),
        strength: float = Input(
            default=1,
            ge=0,
            le=1,
            description="How much of each restored face is mixed into the picture: 0 none of it, 1 all of it.",
        ),
        upscaler: str = Input(
            default="realesrgan-x4plus",
            choices=[
                "realesrgan-x4plus",
                "realesrgan-x2plus",
                "realesrnet-x4plus",
                "realesrgan-x4plus-anime-6b",
                "realesr-animevideov3",
                "realesr-general-x4v3",
                "lite",
                "lanczos",
            ],
            description="What enlarges the rest of the picture: realesrgan for photos (x4plus is the sharpest), realesrnet for a softer result, anime for drawings, general-x4v3 and lite are fast, lanczos resizes without adding detail.",
        ),
        denoise: float = Input(
            default=0.5,
            ge=0,
            le=1,
            description="For upscaler realesr-general-x4v3 only: 0 keeps the grain of the photo, 1 removes it.",
        ),
        aligned: bool = Input(
            default=False,
            description="The picture is a single face, already cut out square and upright: restore it as it is, without looking for faces.",
        ),
        sensitivity: float = Input(
            default=0.5,
            ge=0,
            le=1,
            description="How readily something counts as a face: raise it if faces are missed, lower it if other things are taken for faces.",
        ),
        seed: int | None = Input(
            default=None,
            ge=0,
            description="For GFPGAN models only: a number that varies fine detail such as skin and hair. The same number gives the same picture; without one it is always the same too.",
        ),
        output_format: str = Input(
            default="auto",
            choices=["auto", "png", "jpg", "webp"],
            description="File type of the result. auto keeps that of the photo where it can, else PNG.",
        ),
        output_quality: int = Input(
            default=95,
            ge=1,
            le=100,
            description="Quality of a JPEG or WebP result: higher looks better and makes a larger file. PNG is always exact.",
        ),
    ) -> Path:
        """Restore the faces of one picture and enlarge it."""
        self._tidy(image)
        pipeline = self._pipeline(model if face_enhance else NO_MODEL, upscaler)
        try:
            settings = Settings(
                scale=float(upscale),
                fidelity=float(fidelity),
                strength=float(strength),
                faces="none" if not face_enhance else "center" if only_center_face else "all",
                aligned=aligned and face_enhance,
                sensitivity=float(sensitivity),
                seed=seed,
                denoise=float(denoise),
            )
            start = time.perf_counter()
            picture = decode(self._uploaded(image), settings)
            size = settings.output_size(*picture.pixels.shape[:2])
            suffix = encode.SUFFIXES[encode.output_format(picture, output_format, size)]
            decoded = time.perf_counter()
            result = pipeline.run(picture, settings, _print_progress)
            computed = time.perf_counter()
            output = result.save(Path(self.folder.name) / f"output{suffix}", quality=output_quality)
            done = time.perf_counter()
        except FacemendError as error:
            raise FacemendError(_explained(error, image)) from error
        except Exception as error:
            self.doubted = pipeline
            raise FacemendError(" ".join(f"{type(error).__name__}: {error}".split())) from error
        self.record_metric("faces_detected", len(result.faces))
        self.record_metric("faces_restored", sum(face.restored for face in result.faces))
        self.record_metric("restorer", result.restorer)
        self.record_metric("upscaler", result.upscaler)
        seconds = {"decode": decoded - start, "encode": done - computed, "total": done - start}
        self.record_metric("seconds", {**result.seconds, **seconds})
        return Path(output)

    def healthcheck(self) -> bool:
        """Whether a result can be written and, after a failure nobody foresaw, the networks of that call compute."""
        if self.doubted:  # half the strength, so that the picture is enlarged too and not only the face in it
            self.doubted.run(np.zeros((8, 8, 3), np.uint8), Settings(aligned=True, strength=0.5))
            self.doubted = None
        return shutil.disk_usage(self.uploads).free >= ROOM

    def _warm_up(self) -> None:
        """Use every network twice: on a GPU the first use of each takes seconds, and the second records it."""
        blank = np.zeros((512, 512, 3), np.uint8)
        for _ in range(2):
            for restorer in self.restorers.values():
                if restorer:
                    restorer([blank] * (2 * BATCH - 1))  # in batches of every size
            for upscaler in self.upscalers.values():
                upscaler(blank, (1024, 1024))
            if self.parser:
                self.parser(blank)
            if self.detector:
                self.detector(blank)

    def _tidy(self, image: Path) -> None:
        """Remove what calls before this one have left: an output, a piece of a download, the folders Cog made."""
        left = [path for path in Path(self.folder.name).rglob("*") if path.is_file() and path != image]
        for path in left:
            path.unlink()
        if any(path.parent == self.uploads for path in left):
            gc.collect()  # until then, the error that ended the download keeps its file open, and on the disk
        for folder in COG_FOLDERS.glob("*"):
            with suppress(OSError):  # other servers use the same folders, and remove them too
                if folder.stat().st_mtime < time.time() - COG_FOLDER_AGE:
                    for empty in (folder / "inputs", folder / "outputs", folder):
                        empty.rmdir()

    def _uploaded(self, image: Path | str) -> Path:
        """The input. Cog lets through any path of this machine too: none but that of an upload is read."""
        path = Path(image)
        if path not in self.uploads.iterdir():
            raise InputError("image is no file that came with this call: give an http(s) or data URL")
        return path

    def _pipeline(self, model: str, upscaler: str) -> Pipeline:
        """The loaded stages that were asked for; nothing is loaded here."""
        if model == "auto":
            best = (lookup(name).called for name in PREFERRED["restorer"])
            model = next((name for name in best if name in self.restorers), model)
        if model not in (NO_MODEL, *self.restorers):
            raise OptionError("model", model, f"one this server holds: {', '.join(self.restorers) or 'it holds none'}")
        if upscaler not in self.upscalers:
            raise OptionError("upscaler", upscaler, f"one this server holds: {', '.join(self.upscalers)}")
        return Pipeline(
            detector=self.detector,
            restorer=self.restorers.get(model),
            upscaler=self.upscalers[upscaler],
            parser=self.parser,
        )


def _held() -> set[str]:
    """Names of the models to keep loaded; every one of them is installed.

    Raises:
        OptionError: FACEMEND_MODELS makes no sense.
        WeightsError: files are missing; names each, where it is published and where to put it.
    """
    known = {task: names(task) for task in PREFERRED}
    best = {PREFERRED["detector"][0], PREFERRED["parser"][0]}
    listed = {name.strip() for name in os.environ.get("FACEMEND_MODELS", "").split(",")} - {""}
    held = listed or {*known["restorer"], *known["upscaler"], *best}
    if unknown := held.difference({LANCZOS}, *known.values()):
        choices = sorted({LANCZOS}.union(*known.values()))
        raise OptionError("FACEMEND_MODELS", ",".join(sorted(unknown)), f"names out of {', '.join(choices)}")
    if held.intersection(known["restorer"]) and held.isdisjoint(known["detector"]):
        needed = f"with a detector too, such as {PREFERRED['detector'][0]}"
        raise OptionError("FACEMEND_MODELS", ",".join(sorted(held)), needed)
    models = [named(task, name) for task in PREFERRED for name in known[task] if name in held]
    parts = {part.name: part for model in models for part in model.parts()}
    if missing := [part for part in parts.values() if find(part.name) is None]:
        lines = (f"{part.file} (from {next(iter(part.urls), 'this project')})" for part in missing)
        advice = "run script/weights, or set FACEMEND_MODELS (lite needs no download)"
        raise WeightsError(f"weights are missing, {advice}, or put them into {download_folder()}: {', '.join(lines)}")
    return held | {LANCZOS}


def _explained(error: FacemendError, image: Path) -> str:
    """What happened, on one line, in the words of this way in: no file names of the server, no command-line options."""
    if isinstance(error, TooLargeError):
        seen, limit = error.pixels / 1e6, error.limit / 1e6
        return f"{seen:.1f} megapixels are over the limit of {limit:g}: give a smaller picture or a smaller upscale"
    return " ".join(str(error).replace(str(image), "the image").replace("--aligned", "aligned").split())


def _print_progress(stage: str, done: int, total: int) -> None:
    """A line as tqdm writes it, from which Replicate's clients read the progress."""
    bar = "█" * (10 * done // total)
    sys.stdout.write(f"{100 * done // total:3d}%|{bar:10}| {done}/{total} {stage}\n")
