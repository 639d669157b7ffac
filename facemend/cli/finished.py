"""Which pictures an earlier run has finished, without decoding them."""

from pathlib import Path
from typing import TYPE_CHECKING

from facemend.errors import DecodeError, OpenError, OutputPathError, Remedy
from facemend.files import choice, formats
from facemend.records import Settings

if TYPE_CHECKING:
    from facemend.job import Job


def finished(job: "Job") -> Path | None:
    """The file of a job's result, if it exists with all files beside it.

    A result whose format depends on the pixels is not found: the picture has to be decoded first.
    """
    target = _target(job)
    return target if target and (outputs := job.outputs(target)).existing() == outputs.paths() else None


def check_result(target: Path, source: Path, settings: Settings) -> None:
    """Raise OptionError if a file cannot be the result of a picture: damaged, of another size or another time."""
    from facemend.files import headers  # imports OpenCV, which --help need not wait for

    remedies = "choose another folder", Remedy("overwrite it with {}", "force")
    try:
        there = headers.read(target)
    except (DecodeError, OSError) as error:  # this program writes whole files, so it is not one of its results
        raise OutputPathError(target, "a result that can be read", *remedies) from error
    try:
        picture = headers.read(source)
    except DecodeError:  # it has nothing to compare
        return
    except OSError as error:
        raise OpenError.of(source, error) from error
    (height, width), (high, wide) = there.size, settings.output_size(*picture.size)
    if (height, width) != (high, wide):
        found, expected = f"of {width} x {height} px", f"of {wide} x {high} px"
    elif there.taken and picture.taken and there.taken != picture.taken:
        found, expected = f"of a photo taken at {there.taken}", f"of one taken at {picture.taken}"
    else:
        return
    raise OutputPathError(target, f"{expected}, as the result of {source}, and not {found}", *remedies)


def _target(job: "Job") -> Path | None:
    """The file of the result, as far as the head of the source tells."""
    if job.format is None:
        return job.target
    try:
        row = choice.likely(Path(str(job.source))) if job.format == "auto" else formats.BY_SUFFIX[f".{job.format}"]
    except OSError:
        return None
    return job.file(row) if row else None
