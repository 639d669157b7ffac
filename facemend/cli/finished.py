"""Which pictures an earlier run has finished, without decoding them."""

from pathlib import Path
from typing import TYPE_CHECKING

from facemend.errors import DecodeError, OptionError, Remedy
from facemend.files import formats
from facemend.records import Settings

if TYPE_CHECKING:
    from facemend.job import Job


def finished(job: "Job") -> Path | None:
    """The file of a job's result, if it exists with all files beside it."""
    there = (target for target in _targets(job) if (outputs := job.outputs(target)).existing() == outputs.paths())
    return next(there, None)


def check_result(target: Path, source: Path, settings: Settings) -> None:
    """Raise OptionError if a file cannot be the result of a picture, because it has another size."""
    from facemend.files.headers import read_size  # imports OpenCV, which --help need not wait for

    try:
        size, expected = read_size(target), settings.output_size(*read_size(source))
    except (DecodeError, OSError):  # a damaged file has no size to compare
        return
    if size != expected:
        raise OptionError(
            "the output",
            f"{target} of {size[1]} x {size[0]} px",
            f"a result of {source}, which would have {expected[1]} x {expected[0]} px",
            "choose another folder",
            Remedy("overwrite it with {}", "force"),
        )


def _targets(job: "Job") -> list[Path]:
    """The names that the result may have."""
    if job.format is None:
        return [job.target]
    try:
        rows = formats.likely(Path(str(job.source))) if job.format == "auto" else [formats.BY_SUFFIX[f".{job.format}"]]
    except OSError:
        return []
    return [job.target.with_name(job.target.name + row.suffix) for row in rows]
