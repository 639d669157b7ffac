"""The container's interface: turns the inputs of a call into `Settings` and a `Job`.

Cog reads the inputs from the text of this file without running it, and silently ignores values that are not plain
literals. Therefore every keyword of Input() is a plain literal, and each description is a single string.
`make generated` writes the literals that come from tables.
"""
# ruff: noqa: B008, E501

import gc
import inspect
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import torch
from cog import BaseRunner, Input, Path

from facemend.collection import Collection
from facemend.container import upload
from facemend.container.names import with_old_names
from facemend.errors import FacemendError
from facemend.job import Job, run
from facemend.loader import NONE
from facemend.machine import process
from facemend.pipeline import Pipeline
from facemend.records import Settings
from healthy import PULSE

ROOM = 2**30  # bytes that are free in the temporary folder of a healthy server
ROOM_SHARE = 1 / 4  # the same as a share of the folder, for a small one
UPLOAD_AGE = 60  # seconds without another byte, after which a download counts as broken off
COG_FOLDERS = Path("/tmp/coglet/predictions")  # Cog creates empty folders here for each call and never removes them
COG_FOLDER_AGE = 60  # seconds after which no call needs its folders any more
RENAMED = {  # options of the package whose inputs have other names here
    "restorer": "model",
    "scale": "upscale",
    "format": "output_format",
    "quality": "output_quality",
    "models": "FACEMEND_MODELS",
}
# The percentages at which each stage starts and ends. They are fixed, as nobody knows the times beforehand.
SHARES = {"repair": (0, 15), "restore": (15, 40), "upscale": (40, 95), "paste": (95, 99), "encode": (99, 100)}
Spelling = Callable[[str], str | None]


def _spelled(option: str) -> str | None:
    """Return the name of the input for an option of the package; None, if there is none."""
    inputs = inspect.signature(Predictor.run).parameters
    return RENAMED.get(option, option if option in inputs else None)


@contextmanager
def one_line_errors(spelled: Spelling = _spelled) -> Iterator[None]:
    """Turn every error into a FacemendError of one line, in which options have the names of the inputs."""
    try:
        yield
    except FacemendError as error:
        raise FacemendError(error.message(spelled)) from error
    except Exception as error:
        raise FacemendError(f"{type(error).__name__}: {error}") from error


class Predictor(BaseRunner):
    """Restores one picture at a time, with the models and files that FACEMEND_MODELS names (by default all models)."""

    def setup(self) -> None:
        """Load every model once."""
        self.folder = tempfile.TemporaryDirectory(prefix="facemend-")  # holds the last output until the next call
        self.uploads = Path(tempfile.mkdtemp(dir=self.folder.name))  # only for files that Cog saves for a call
        with process.startup(temp_folder=self.uploads), one_line_errors():
            PULSE.touch()  # a file that cannot be written is an error now, not in every call
            names = {name.strip() for name in os.environ.get("FACEMEND_MODELS", "").split(",")} - {""}
            self.models = Collection(names)
        self.suspect: Pipeline | None = None  # the pipeline of the last call, if it failed unexpectedly
        if torch.cuda.is_available():
            self.models.warm_up()

    @one_line_errors()
    @with_old_names
    def run(
        self,
        image: Path = Input(
            description="The photo: camera raw, JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC, JPEG XL, PSD, OpenEXR, Radiance HDR or TGA, up to 100 megapixels.",
        ),
        model: str = Input(
            default="auto",
            choices=["auto", "gfpgan-v1.4", "gfpgan-v1.3", "gfpgan-v1.2", "restoreformer", "codeformer", "lite"],
            description="The network that restores the faces. GFPGAN preserves the likeness best. CodeFormer repairs worse damage but may change a face, and its licence forbids commercial use. lite is small and fast. auto chooses for each face: the file that this server was set up with, else its best model; and CodeFormer only for faces with too little detail for a likeness, if the server was set up to use it.",
        ),
        fidelity: float = Input(
            default=0.5,
            ge=0,
            le=1,
            description="Only for model codeformer: 0 gives the best-looking face, 1 the face most like the photo.",
        ),
        upscale: float = Input(
            default=2,
            ge=1,
            le=8,
            description="How many times wider and higher the result is. 1 keeps the size.",
        ),
        face_enhance: bool = Input(
            default=True,
            description="Whether to restore faces. If false, the whole picture is only enlarged, including the faces.",
        ),
        only_center_face: bool = Input(
            default=False,
            description="Whether to restore only the face nearest to the centre of the picture. Other faces are only enlarged.",
        ),
        strength: float = Input(
            default=1,
            ge=0,
            le=1,
            description="How strongly faces are restored: 0 keeps the enlarged original, 1 uses the restored face, and values between mix both.",
        ),
        adaptive: bool = Input(
            default=True,
            description="Mix in less of a restored face where the face in the photo is large and sharp already, so that such a face stays sharp.",
        ),
        repair: bool = Input(
            default=False,
            description="Whether to repair scratches, dust, creases and cracks first. Fine lines of the photo itself, such as wires, may be taken for scratches.",
        ),
        strip_metadata: bool = Input(
            default=False,
            description="Whether to leave out what the file says about the photo, such as its date, camera, place and caption (EXIF, XMP, IPTC, comments). If false, the result keeps it.",
        ),
        upscaler: str = Input(
            default="auto",
            choices=[
                "auto",
                "realesrgan-x4plus",
                "realesrgan-x2plus",
                "realesrnet-x4plus",
                "realesrgan-x4plus-anime-6b",
                "swinir-l-x4",
                "swinir-m-x4",
                "swinir-m-x2",
                "realesr-animevideov3",
                "realesr-general-x4v3",
                "lite",
                "lanczos",
            ],
            description="The model that enlarges the rest of the picture. For photos: realesrgan-x4plus is the sharpest, realesrnet-x4plus is softer, realesr-general-x4v3 and lite are fast. The two anime models are for drawings. The SwinIR models are slow. lanczos is a filter that adds no detail. auto uses the file that this server was set up with, else the best loaded model for the scale.",
        ),
        denoise: float = Input(
            default=0.5,
            ge=0,
            le=1,
            description="Only for upscaler realesr-general-x4v3: 0 keeps the grain of the photo, 1 removes it.",
        ),
        aligned: bool = Input(
            default=False,
            description="Whether the picture is a single face, already upright and cropped to a square. It is then restored as a whole, without looking for faces.",
        ),
        sensitivity: float = Input(
            default=0.5,
            ge=0,
            le=1,
            description="How easily faces are found. Raise it if faces are missed; lower it if other things are taken for faces.",
        ),
        seed: int | None = Input(
            default=None,
            ge=0,
            le=9007199254740991,
            description="Only for GFPGAN models: a whole number that changes fine detail such as skin and hair. The same number always gives the same picture. Without a number, the noise stored in the model is used.",
        ),
        output_format: str = Input(
            default="auto",
            choices=["auto", "png", "jpg", "webp"],
            description="File format of the result. auto keeps JPEG, PNG, WebP and TIFF where they can hold the result. HEIC and AVIF become JPEG, everything else PNG. A format that cannot hold the result is an error: jpg holds no transparency and no 16 bits per channel, webp no 16 bits and no side over 16383 pixels.",
        ),
        output_quality: int = Input(
            default=95,
            ge=1,
            le=100,
            description="Quality of a JPEG or WebP result. A higher quality looks better and makes a larger file. PNG is always lossless.",
        ),
        scale: float | None = Input(
            default=None,
            ge=1,
            le=8,
            deprecated=True,
            description="What upscale is called by tencentarc/gfpgan and nightmareai/real-esrgan.",
        ),
        upscaling: float | None = Input(
            default=None,
            ge=1,
            le=8,
            deprecated=True,
            description="What upscale is called by fal-ai/codeformer.",
        ),
        version: str | None = Input(
            default=None,
            choices=["v1.2", "v1.3", "v1.4", "RestoreFormer"],
            deprecated=True,
            description="What tencentarc/gfpgan has instead of model: v1.4 is gfpgan-v1.4.",
        ),
        codeformer_fidelity: float | None = Input(
            default=None,
            ge=0,
            le=1,
            deprecated=True,
            description="What sczhou/codeformer has instead of fidelity. It selects the model codeformer too.",
        ),
        background_enhance: bool | None = Input(
            default=None,
            deprecated=True,
            description="What sczhou/codeformer has instead of upscaler: true is auto, false is lanczos.",
        ),
    ) -> Path:
        """Restore the faces of one picture and enlarge it."""
        inputs = locals()
        PULSE.touch()
        self._tidy(image)
        pipeline = self.models.pipeline(model if face_enhance else NONE, upscaler, upscale)
        given = {name: inputs[name] for name in Settings.__dataclass_fields__ if name in inputs}
        given |= {"scale": upscale, "aligned": aligned and face_enhance, "seed": None if seed is None else int(seed)}
        given |= {"faces": "none" if not face_enhance else "center" if only_center_face else "all"}
        source = upload.source(image, self.uploads)
        return self.done(source, pipeline, Settings(**given), output_format, output_quality, strip_metadata)

    def done(
        self,
        source: Path | bytes,
        pipeline: Pipeline,
        settings: Settings,
        output_format: str,
        quality: int,
        strip: bool,
    ) -> Path:
        """Do the work of a call, record its metrics, and return the result."""
        job = Job(
            source=source,
            target=Path(self.folder.name) / uuid4().hex,  # with --upload-url the name is part of the public address
            name="the image",
            format=output_format,
            quality=int(quality),  # JSON's 95.0 is a whole number for the server's check, but a float here
            strip_metadata=strip,
            force=True,
        )
        try:
            done = run(job, pipeline, settings, _print_progress)
        except FacemendError:
            raise
        except Exception:
            self.suspect = pipeline
            raise
        _print_progress("encode", 1, 1)
        assert done is not None  # for the type checker: `run` returns None only with a check
        if done.lost:
            sys.stdout.write(f"not kept: {', '.join(done.lost)}\n")
        result = done.result
        self.record_metric("faces_detected", len(result.faces))
        self.record_metric("faces_restored", sum(face.restored for face in result.faces))
        self.record_metric("faces", [face.report() for face in result.faces])
        if result.repaired is not None:
            self.record_metric("repaired", result.repaired)
        self.record_metric("width", result.picture.pixels.shape[1])
        self.record_metric("height", result.picture.pixels.shape[0])
        if settings.seed is not None:
            self.record_metric("seed", settings.seed)
        self.record_metric("restorer", result.restorer)
        self.record_metric("upscaler", result.upscaler)
        self.record_metric("seconds", dict(result.seconds))
        return Path(done.outputs.target)

    def healthcheck(self) -> bool:
        """Return whether the disk has room. After an unexpected failure, first run the networks of that call again."""
        if self.suspect:
            self.suspect.probe()
            self.suspect = None
        if not self._has_room():  # without room Cog cannot start a call, whose `_tidy` would make some
            self._remove(self.uploads.iterdir(), before=time.time() - UPLOAD_AGE)
        return self._has_room()

    def _has_room(self) -> bool:
        disk = shutil.disk_usage(self.uploads)
        return disk.free >= min(ROOM, ROOM_SHARE * disk.total)

    def _tidy(self, image: Path) -> None:
        """Remove what earlier calls have left: an output, an incomplete download, and the folders that Cog made."""
        self._remove(path for path in Path(self.folder.name).rglob("*") if path != image)
        for folder in COG_FOLDERS.glob("*"):
            with suppress(OSError):  # other servers use the same folders and remove them too
                if folder.stat().st_mtime < time.time() - COG_FOLDER_AGE:
                    for empty in (folder / "inputs", folder / "outputs", folder):
                        empty.rmdir()

    def _remove(self, paths: Iterable[Path], before: float = math.inf) -> None:
        """Remove the files among paths that were last written before a time, in seconds since 1970."""
        removed = []
        for path in paths:
            with suppress(FileNotFoundError):  # Cog removes what it saved, too
                if path.is_file() and path.stat().st_mtime < before:
                    path.unlink()
                    removed.append(path)
        if any(path.parent == self.uploads for path in removed):
            gc.collect()  # the error that ended a download keeps its file open, and on the disk, until collected


def _print_progress(stage: str, done: int, total: int) -> None:
    """Write a line in the format of tqdm, from which Replicate's clients read the progress, and note it in `PULSE`."""
    PULSE.touch()
    start, end = SHARES[stage]
    percent = start + (end - start) * done // total
    sys.stdout.write(f"{percent:3d}%|{'█' * (percent // 10):10}| {percent}/100 {stage}\n")
