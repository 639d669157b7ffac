"""The container's adapter: declared inputs to `Settings` and a `Job`.

Cog reads the inputs from the text of this file, without running it, and silently drops what is not a plain literal. So
every keyword of Input() is one, and each description is a single string. `make generated` fills in the literals that
come from tables.
"""
# ruff: noqa: B008, E501

import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from cog import BaseRunner, Input, Path

from facemend.collection import Collection
from facemend.errors import FacemendError, InputError
from facemend.job import Job, run
from facemend.loader import NONE
from facemend.machine import process
from facemend.pipeline import Pipeline
from facemend.records import Settings

ROOM = 2**30  # bytes of the temp folder that must be free for the server to count as healthy
COG_FOLDERS = Path("/tmp/coglet/predictions")  # two empty ones for each call, which Cog never removes
COG_FOLDER_AGE = 60  # seconds after which no call needs them any more
# How this way in spells options of the package; remedies by others are left out of messages.
SPELLING = {
    "restorer": "model",
    "scale": "upscale",
    "format": "output_format",
    "quality": "output_quality",
    "models": "FACEMEND_MODELS",
    **{name: name for name in ("upscaler", "fidelity", "strength", "aligned", "sensitivity", "seed", "denoise")},
}


class Predictor(BaseRunner):
    """Keeps the models that FACEMEND_MODELS names loaded (by default all) and restores one picture at a time."""

    def setup(self) -> None:
        """Load every model once."""
        self.folder = tempfile.TemporaryDirectory(prefix="facemend-")  # holds the last output until the next call
        self.uploads = Path(tempfile.mkdtemp(dir=self.folder.name))  # Cog saves the files of a call here, and only them
        with process.startup(temp_folder=self.uploads), _own_words():
            names = {name.strip() for name in os.environ.get("FACEMEND_MODELS", "").split(",")} - {""}
            self.models = Collection(names)
        self.suspect: Pipeline | None = None  # the pipeline of the last call, if it failed unexpectedly
        if torch.cuda.is_available():
            self.models.warm_up()

    def run(
        self,
        image: Path = Input(
            description="The photo: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC, up to 100 megapixels.",
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
        inputs = locals()
        self._tidy(image)
        with _own_words():
            pipeline = self.models.pipeline(model if face_enhance else NONE, upscaler)
            given = {name: inputs[name] for name in Settings.__dataclass_fields__ if name in inputs}
            given |= {"scale": upscale, "aligned": aligned and face_enhance}
            given |= {"faces": "none" if not face_enhance else "center" if only_center_face else "all"}
            job = Job(
                source=self._uploaded(image),
                target=Path(self.folder.name) / "output",
                name="the image",
                format=output_format,
                quality=output_quality,
                force=True,
            )
            try:
                done = run(job, pipeline, Settings(**given), _print_progress)
            except FacemendError:
                raise
            except Exception:
                self.suspect = pipeline
                raise
        assert done is not None  # for the type checker: no check was given that could refuse
        result = done.result
        self.record_metric("faces_detected", len(result.faces))
        self.record_metric("faces_restored", sum(face.restored for face in result.faces))
        self.record_metric("restorer", result.restorer)
        self.record_metric("upscaler", result.upscaler)
        self.record_metric("seconds", dict(result.seconds))
        return Path(done.outputs.target)

    def healthcheck(self) -> bool:
        """Whether a result can be written and, after an unexpected failure, the networks of that call compute."""
        if self.suspect:  # half the strength, so that the picture is enlarged too and not only the face in it
            self.suspect.run(np.zeros((8, 8, 3), np.uint8), Settings(aligned=True, strength=0.5))
            self.suspect = None
        return shutil.disk_usage(self.uploads).free >= ROOM

    def _tidy(self, image: Path) -> None:
        """Remove what earlier calls have left: an output, a part of a download, the folders Cog made."""
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
        """The input. Cog accepts any path of this machine; only that of an uploaded file is read."""
        path = Path(image)
        if path not in self.uploads.iterdir():
            raise InputError("image is not a file that came with this call; give an http(s) or data URL")
        return path


@contextmanager
def _own_words() -> Iterator[None]:
    """Turn every error into one line in the words of this way in."""
    try:
        yield
    except FacemendError as error:
        raise FacemendError(error.message(SPELLING.get)) from error
    except Exception as error:
        raise FacemendError(f"{type(error).__name__}: {error}") from error


def _print_progress(stage: str, done: int, total: int) -> None:
    """Write a line as tqdm does, from which Replicate's clients read the progress."""
    bar = "█" * (10 * done // total)
    sys.stdout.write(f"{100 * done // total:3d}%|{bar:10}| {done}/{total} {stage}\n")
