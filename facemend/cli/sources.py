"""The pictures that arguments name, and where their results go."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from facemend.errors import DecodeError, OptionError
from facemend.files import formats

RESULTS = ("_restored", "_restored_compare", "_restored_boxes")  # ends of the names this program gives


class Source(NamedTuple):
    """One picture and where its result goes."""

    path: Path
    target: Path
    has_suffix: bool  # whether the target is the caller's own file name; otherwise its suffix is still to be added


def collect(inputs: Sequence[Path], output: str | None, failed: Callable[[Exception, Path], None]) -> list[Source]:
    """List the pictures of all arguments.

    Args:
        inputs: files, and folders that are searched with the folders in them.
        output: a file or folder, or None for names beside the inputs.
        failed: told of each argument or folder that cannot be read, and why; the others are listed all the same.

    Raises:
        OptionError: the output is one file for several pictures.
    """

    def unreadable(error: OSError) -> None:
        path = Path(error.filename)
        failed(DecodeError(f"cannot open {path}: {error.strerror}"), path)

    to_file = _is_file(output, inputs)
    sources: list[Source] = []
    for path in inputs:
        try:
            path.stat()
            if path.is_dir():
                sources += _in_folder(path, output, unreadable)
            else:
                sources.append(_single(path, output, to_file))
        except DecodeError as error:
            failed(error, path)
        except OSError as error:
            unreadable(error)
    return sources


def real_path(path: Path) -> Path:
    """Where a name leads: no/../old.jpg to old.jpg, although there is no folder "no" before the result is written."""
    return Path(os.path.realpath(path))  # before Python 3.13, Path.resolve raises where links form a ring


def identity(path: Path) -> object:
    """What two names of one file have in common; where it would be if there is no file yet."""
    path = real_path(path)
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _is_file(output: str | None, inputs: Sequence[Path]) -> bool:
    """Whether the output is a file: its name has a suffix, and there is one picture to put there."""
    if output is None or output.endswith(os.sep) or Path(output).is_dir() or not Path(output).suffix:
        return False
    if len(inputs) > 1 or inputs[0].is_dir():
        raise OptionError("output", output, "a folder where there are several pictures; end it with /")
    return True


def _single(path: Path, output: str | None, to_file: bool) -> Source:
    if output is None:
        return Source(path, path.with_name(f"{path.stem}_restored"), has_suffix=False)
    target = Path(output) if to_file else Path(output) / path.stem
    return Source(path, target, has_suffix=to_file)


def _in_folder(folder: Path, output: str | None, unreadable: Callable[[OSError], None]) -> list[Source]:
    target = Path(output) if output else folder
    results, whole = real_path(target), real_path(folder)
    inside = results != whole and results.is_relative_to(whole)  # the results go into a folder of the inputs' folder
    found = sorted(
        path
        for parent, _, names in os.walk(folder, onerror=unreadable)
        for path in map(Path(parent).joinpath, names)
        if path.suffix.lower() in formats.BY_SUFFIX
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)  # ._NAME.jpg of a Mac, .trash/
        and not path.stem.endswith(RESULTS)
        and not (inside and real_path(path.parent).is_relative_to(results))
    )
    if not found:
        raise DecodeError(
            f"{folder} holds no pictures to restore ({', '.join(sorted(formats.BY_SUFFIX))}; "
            f"names that end in {', '.join(RESULTS)} are taken for results)"
        )
    ending = "" if output else "_restored"
    return [
        Source(path, (target / path.relative_to(folder)).with_name(f"{path.stem}{ending}"), has_suffix=False)
        for path in found
    ]
