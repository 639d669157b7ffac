"""The values that the driver and the workers exchange. Importing them does not import torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from facemend.errors import FacemendError, InputError
from facemend.files import formats
from facemend.files.output import BESIDE
from facemend.records import Settings

TRIES = 2  # how often a picture is tried; only once if the error is the user's mistake


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do with every picture.

    Attributes:
        source: folder or URL of the pictures.
        destination: folder or URL of the results.
        models: arguments of `Pipeline.load`.
        settings: for every picture.
        writing: arguments of `job.Job` about the files of a result.
        force: whether to replace files that exist.
        resume: whether to keep results that exist, and only to write the files beside them that are missing.
        report: whether each outcome has a report on its picture.
        debug: whether workers write the tracebacks of errors to stderr.
        scratch: folder for unfinished results. For results in a folder it is on the same file system.
    """

    source: str
    destination: str
    models: Mapping[str, Any]
    settings: Settings
    writing: Mapping[str, Any]
    force: bool = False
    resume: bool = False
    report: bool = False
    debug: bool = False
    scratch: str = ""

    def endings(self) -> tuple[str, ...]:
        """What the names of the files beside a result end in, before the suffix."""
        return tuple(f"_{name}" for name in BESIDE if self.writing.get(name))

    def files(self, target: str) -> Iterator[str]:
        """The paths that the files of a result may have, whose format may not be known yet."""
        for ending in ("", *self.endings()):
            yield from (target + ending + row.suffix for row in formats.FORMATS.values() if row.writer)


@dataclass(frozen=True)
class Task:
    """One picture.

    Attributes:
        key: path of the picture below the source, with / between its parts.
        target: path of the result below the destination, without suffix.
        error: why the picture cannot be done, where that is known without reading it.
        taken: paths below the destination that are results of other pictures.
    """

    key: str
    target: str
    error: InputError | None = None
    taken: tuple[str, ...] = ()


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
