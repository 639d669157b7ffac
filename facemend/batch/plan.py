"""The values that the driver and the workers exchange. Importing them does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemend.errors import FacemendError, InputError
from facemend.files.formats import Quality
from facemend.records import Settings

if TYPE_CHECKING:
    from facemend.job import Job

TRIES = 2  # of a picture, unless it is the user's mistake


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do with every picture.

    Attributes:
        source: folder or URL of the pictures.
        destination: folder or URL of the results.
        models: arguments of `Pipeline.load`.
        settings: for every picture.
        format: as for `job.Job`, and so are the fields that follow.
        report: whether each outcome has a report on its picture.
        debug: whether workers write the tracebacks of errors to stderr.
        scratch: folder for unfinished results. For results in a folder it is on the same file system.
    """

    source: str
    destination: str
    models: Mapping[str, Any]
    settings: Settings
    format: str = "auto"
    quality: Quality = 95
    strip_metadata: bool = False
    compare: bool = False
    boxes: bool = False
    mask: bool = False
    force: bool = False
    resume: bool = False
    keep_dates: bool = False
    report: bool = False
    debug: bool = False
    scratch: str = ""

    def endings(self) -> tuple[str, ...]:
        """What the names of the files beside a result end in, before the suffix."""
        return tuple(f"_{name}" for name in ("compare", "boxes", "mask") if getattr(self, name))

    def job(self, source: Path, target: Path, name: str) -> "Job":
        """The job of one picture, with its results in an empty folder."""
        from facemend.job import Job  # imports torch

        return Job(
            source=source,
            target=target,
            name=name,
            format=self.format,
            quality=self.quality,
            strip_metadata=self.strip_metadata,
            compare=self.compare,
            boxes=self.boxes,
            mask=self.mask,
            keep_dates=self.keep_dates,
        )


@dataclass(frozen=True)
class Task:
    """One picture.

    Attributes:
        key: path of the picture below the source, with / between its parts.
        target: path of the result below the destination, without suffix.
        error: why the picture cannot be done, where that is known without reading it.
    """

    key: str
    target: str
    error: InputError | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        key: as in its task.
        outputs: paths of all files of its result below the destination; none if it failed.
        error: why it failed.
        skipped: whether the results existed.
        lost: what of the picture could not be kept, in words.
        report: what `--json` says of it, without the names of the files; None unless the plan asks for it.
    """

    key: str
    outputs: tuple[str, ...] = ()
    error: FacemendError | None = None
    skipped: bool = False
    lost: tuple[str, ...] = ()
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Loaded:
    """What a worker has loaded.

    Attributes:
        names: of the networks, by what they do.
        files: SHA-256 of the weights files of the user's own, by name or path.
        gpu: whether the networks run on a GPU.
    """

    names: Mapping[str, str]
    files: Mapping[str, str]
    gpu: bool
