"""One source to one written result: shared by every interface."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facemend.draw import SEAM, before_after, numbered, white_where
from facemend.errors import OptionError, OutputError, OutputPathError
from facemend.files import choice, formats
from facemend.files.decode import Source, decode
from facemend.files.encode import encode
from facemend.files.formats import Format, Quality
from facemend.files.output import BESIDE, exists, write
from facemend.machine import memory
from facemend.pipeline import Pipeline
from facemend.records import Face, Picture, Progress, Settings
from facemend.result import Result


@dataclass(frozen=True, kw_only=True)
class Job:
    """One source, and where its result goes.

    Attributes:
        source: as `Pipeline.run` takes it.
        target: file of the result. Where `format` is None its suffix says the format; otherwise it has no suffix, and
            that of the format is added.
        name: what error messages call the source, instead of its path.
        format: "auto", or the name or suffix of a format.
        quality: as for `encode`.
        strip_metadata: whether to leave out EXIF, XMP, IPTC, comments and texts.
        compare: whether to write NAME_compare.jpg too: before beside after.
        boxes: whether to write NAME_boxes.jpg too: the faces with their numbers.
        mask: whether to write NAME_mask.png too: white where the input was repaired, in its size.
        force: whether to replace files that exist.
        resume: whether to keep a result that exists, and only to write the files beside it that are missing. Where the
            result is missing, all files are written.
        keep_dates: whether the result gets the source's time of modification; only for a source that is a file.
    """

    source: Source
    target: Path
    name: str = ""
    format: str | None = None
    quality: Quality = 95
    strip_metadata: bool = False
    compare: bool = False
    boxes: bool = False
    mask: bool = False
    force: bool = False
    resume: bool = False
    keep_dates: bool = False

    def file(self, row: Format) -> Path:
        """The file of the result where it has this format."""
        return self.target.with_name(self.target.name + row.suffix) if self.format else self.target

    def outputs(self, target: Path) -> "Outputs":
        """The files that belong to a result."""
        beside = {
            name: target.with_name(f"{target.stem}_{name}{suffix}") if getattr(self, name) else None
            for name, suffix in BESIDE.items()
        }
        return Outputs(target, **beside)


@dataclass(frozen=True)
class Outputs:
    """The files a job writes; None for those not asked for."""

    target: Path
    compare: Path | None
    boxes: Path | None
    mask: Path | None

    def paths(self) -> list[Path]:
        """All of them."""
        return [path for path in (self.target, self.compare, self.boxes, self.mask) if path]

    def existing(self) -> list[Path]:
        """Those that exist already; raises OutputPathError where one of them cannot be a file."""
        return [path for path in self.paths() if exists(path)]


@dataclass(frozen=True)
class Done:
    """The outcome of a job.

    Attributes:
        result: with the seconds of decoding and encoding.
        outputs: the files it was written to.
        lost: what of the input could not be kept, in words.
    """

    result: Result
    outputs: Outputs
    lost: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """Return what became of the picture as values that JSON holds; places in px of the input, in hundredths."""
        return {**self.result.report(), "lost": list(self.lost)}


Check = Callable[[Picture, Outputs], bool]


@memory.enough()
def run(
    job: Job,
    pipeline: Pipeline,
    settings: Settings,
    progress: Progress | None = None,
    check: Check = lambda picture, outputs: True,
) -> Done | None:
    """Do a job. Every mistake about the output is found before the work; each file appears whole or not at all.

    Args:
        job: what to do.
        pipeline: the networks.
        settings: what to do with the picture.
        progress: as for `Pipeline.run`.
        check: called after decoding and before any network runs, with the decoded picture and the files that will be
            written. If it returns False, the job ends; it may raise an error.

    Returns:
        None where `check` returned False.

    Raises:
        InputError: the source cannot be read, or an option does not fit it.
        OutputError: a file cannot be written.
        FacemendError: a network failed, or there is not enough memory.
    """
    start = time.perf_counter()
    formats.check_quality(job.quality)
    settings.check_mask(job.mask)
    picture = decode(job.source, settings, job.name)
    modified = _modified(job)
    decoded = time.perf_counter()
    outputs = _outputs(job, picture, settings)
    if not check(picture, outputs):
        return None
    check_writable(outputs, overwrite=job.force or job.resume)
    result = pipeline.run(picture, settings, progress)
    computed = time.perf_counter()
    check_writable(outputs, overwrite=job.force or job.resume)  # again: others may have written files meanwhile
    make_folder(outputs.target)
    kept = outputs.existing() if job.resume else []
    kept = kept if outputs.target in kept else []
    if outputs.compare and outputs.compare not in kept:
        write(outputs.compare, encode(Picture(before_after(result.before, result.picture)), "jpeg"))
    if outputs.boxes and outputs.boxes not in kept:
        write(outputs.boxes, encode(Picture(numbered(result.before, result.faces)), "jpeg"))
    if outputs.mask and outputs.mask not in kept and result.mask is not None:
        write(outputs.mask, encode(Picture(white_where(result.mask), grey=True), "png"))
    # Last: where the result is, the other files are too.
    if outputs.target not in kept:
        result.save(outputs.target, quality=job.quality, strip_metadata=job.strip_metadata, modified=modified)
    result = _with_seconds(result, start, decoded, computed)
    return Done(result, outputs, result.lost(outputs.target, strip_metadata=job.strip_metadata))


@dataclass(frozen=True)
class Encoded:
    """The outcome of `run_in_memory`.

    Attributes:
        result: with the seconds of decoding and encoding.
        data: the bytes of the file that `run` would write.
        format: of the file.
        lost: what of the input could not be kept, in words.
    """

    result: Result
    data: bytes
    format: Format
    lost: tuple[str, ...]


@memory.enough()
def run_in_memory(
    source: Source,
    pipeline: Pipeline,
    settings: Settings,
    *,
    name: str = "",
    format: str = "auto",  # noqa: A002
    progress: Progress | None = None,
    faces: Sequence[Face] | None = None,
) -> Encoded:
    """Do the work of a job without writing a file; the bytes are those of the file that `run` writes.

    Args:
        source: as `Pipeline.run` takes it.
        pipeline: the networks.
        settings: what to do with the picture.
        name: what error messages call the source, instead of its path.
        format: "auto", or the name or suffix of a format.
        progress: as for `Pipeline.run`.
        faces: as for `Pipeline.run`.

    Raises:
        InputError: the source cannot be read, or an option does not fit it.
        Cancelled: `progress` raised it.
        FacemendError: a network failed, or there is not enough memory.
    """
    start = time.perf_counter()
    picture = decode(source, settings, name)
    decoded = time.perf_counter()
    row = choice.choose(picture, format, settings.output_size(*picture.pixels.shape[:2]))
    result = pipeline.run(picture, settings, progress, faces=faces)
    computed = time.perf_counter()
    data = result.encoded(row.name)
    return Encoded(_with_seconds(result, start, decoded, computed), data, row, result.lost(f"result{row.suffix}"))


def _with_seconds(result: Result, start: float, decoded: float, computed: float) -> Result:
    """The result with the seconds of a job that began at `start`, had decoded and computed at these times, and ends."""
    end = time.perf_counter()
    own = {"decode": decoded - start, "encode": end - computed, "total": end - start}
    return replace(result, seconds={**result.seconds, **own})


def _outputs(job: Job, picture: Picture, settings: Settings) -> Outputs:
    """The files of a job; raises OptionError where a format cannot hold the result."""
    height, width = size = settings.output_size(*picture.pixels.shape[:2])
    row = choice.choose(picture, job.format, size) if job.format else choice.of_file(job.target, picture, size)
    limit = formats.FORMATS["jpeg"].longest_side
    if job.compare and max(height, 2 * width + SEAM) > limit:
        raise OptionError("compare", f"{2 * width + SEAM} x {height} px", f"at most {limit} px a side")
    height, width = picture.pixels.shape[:2]
    if job.boxes and max(height, width) > limit:
        raise OptionError("boxes", f"{width} x {height} px", f"at most {limit} px a side")
    return job.outputs(job.file(row))


def check_writable(outputs: Outputs, *, overwrite: bool) -> None:
    """Check the outputs before the work.

    Raises:
        OutputPathError: their folder cannot be made or written to, one of them cannot be a file, or one of them exists
            and `overwrite` is False.
    """
    existing = outputs.existing()
    if existing and not overwrite:
        raise OutputPathError.existing(existing[0])
    folder = next(parent for parent in outputs.target.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise OutputPathError(outputs.target, f"in a folder that can be made; {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise OutputPathError(outputs.target, "in a folder that may be written to")


def _modified(job: Job) -> int | None:
    """Time of modification of the source, in ns since 1970; None where the result gets the current one."""
    keeps = job.keep_dates and isinstance(job.source, (str, Path))
    return Path(str(job.source)).stat().st_mtime_ns if keeps else None


def make_folder(target: Path) -> None:
    """Make the folder of an output, with those above it; raises OutputError where that is not possible."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(target, error.strerror or str(error)) from error
