"""The pictures that arguments name, and where their results go."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from facemend.batch.places import OWN
from facemend.cli.names import ENDING, RESULTS, Names
from facemend.errors import NO_FILE, DecodeError, OpenError, OptionError
from facemend.extras import install_command
from facemend.files import choice, formats

HIDDEN = "hidden files and folders"  # what is left out, as a message names it


class Source(NamedTuple):
    """One picture and where its result goes."""

    path: Path
    target: Path
    has_suffix: bool  # whether the target is the caller's own file name; otherwise its suffix is still to be added


def collect(
    inputs: Sequence[Path],
    output: str | None,
    failed: Callable[[Exception, Path | str], None],
    note: Callable[[str], None],
) -> list[Source]:
    """List the pictures of all arguments.

    Args:
        inputs: files, and folders that are searched with the folders in them.
        output: a file or folder, or None for names beside the inputs.
        failed: told of each argument or folder that cannot be read, and why; the others are listed all the same.
        note: told in one line what is left out of a folder.

    Raises:
        OptionError: the output is one file for several pictures, or of a format that is not written.
    """

    def unreadable(error: OSError) -> None:
        problem = OpenError.of(error.filename, error)
        failed(problem, problem.path)

    if target := output_file(output):
        if len(inputs) > 1 or os.path.isdir(inputs[0]):
            raise OptionError("output", output, "a folder where there are several pictures; end it with /")
        return [Source(path, target, has_suffix=True) for path in inputs if _exists(path, unreadable)]
    sources: list[Source] = []
    names = Names()
    for argument in inputs:
        if not _exists(argument, unreadable):
            if len(inputs) > 1 and argument == inputs[-1] and output is None:
                note(f"if {argument} is to be the result, write -o {argument}")
            continue
        is_folder = os.path.isdir(argument)
        results = Path(output) if output is not None else argument if is_folder else argument.parent
        pictures = [argument]
        if is_folder:
            left_out: Counter[str] = Counter()
            files = walk(argument, results, unreadable, left_out)
            pictures = sorted(path for path in files if _is_wanted(path, output is None, left_out))
            if left_out:
                note(f"{argument}: {counted(left_out)}")
            if not pictures:
                failed(no_pictures(argument), argument)
        for path in pictures:
            folder = results / path.parent.relative_to(argument) if is_folder else results
            target = names.target(path, folder, ENDING if output is None else "")
            if target is None:
                note(f"{path} is given twice; it is restored once")
            else:
                sources.append(Source(path, target, has_suffix=False))
    return sources


def output_file(output: str | None) -> Path | None:
    """The file that an output names; None for a folder, which ends with / or has no suffix or exists.

    Raises:
        OptionError: it is no path, or its suffix is not that of a format we write.
    """
    if output is not None and NO_FILE.match(output):
        raise OptionError("output", output, "a file or a folder; nothing is written to stdout")
    if output is None or not Path(output).suffix or output.endswith(("/", os.sep)) or os.path.isdir(output):
        return None
    choice.by_suffix(Path(output), "end it with / for a folder")
    return Path(output)


def no_pictures(folder: object) -> DecodeError:
    """The error for a folder in which there is nothing to restore."""
    return DecodeError(f"{folder} holds no pictures to restore ({formats.READABLE})")


def real_path(path: Path) -> Path:
    """The path without links and `..`, also where a folder in it does not exist yet."""
    return Path(os.path.realpath(path))  # before Python 3.13, Path.resolve raises where links form a ring


def identity(path: Path) -> object:
    """What two names of one file have in common; where it would be if there is no file yet."""
    path = real_path(path)
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _exists(path: Path, unreadable: Callable[[OSError], None]) -> bool:
    try:
        path.stat()
    except OSError as error:
        unreadable(error)
        return False
    return True


def _is_wanted(path: Path, beside: bool, left_out: Counter[str]) -> bool:
    """Whether a file of a folder is to be restored; `beside` says whether each result goes beside its picture."""
    reason = why_not(path.name)
    if not reason and beside and path.stem.endswith(RESULTS):
        reason = f"files named like results, such as NAME{ENDING}"
    if reason:
        left_out[reason] += 1
    return not reason


def walk(folder: Path, results: Path, unreadable: Callable[[OSError], None], left_out: Counter[str]) -> Iterator[Path]:
    """Yield the files of a folder and the folders in it, those of each folder in order.

    Each folder is searched once, however many links lead to it. Left out are hidden folders, the folder of the results,
    and folders that a batch has written into.

    Args:
        folder: the folder.
        results: where the results go.
        unreadable: told of each folder that cannot be read.
        left_out: counts what is left out, by what it is.
    """
    target, seen = real_path(results), {identity(folder)}
    inside = target != real_path(folder) and target.is_relative_to(real_path(folder))
    for parent, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        kept = []
        for name in sorted(folders):
            path = Path(parent, name)
            if name.startswith("."):
                left_out[HIDDEN] += 1
            elif (inside and real_path(path).is_relative_to(target)) or os.path.isdir(path / OWN):  # which never raises
                left_out["folders of results"] += 1
            elif identity(path) in seen:
                left_out["links to folders that are searched anyway"] += 1
            else:
                seen.add(identity(path))
                kept.append(name)
        folders[:] = kept
        yield from (Path(parent, name) for name in sorted(files))


def why_not(name: str) -> str:
    """Why a file of a folder is left out, as the name of its kind; "" for a picture."""
    suffix = PurePath(name).suffix.lower()
    if name.startswith("."):  # such as ._NAME.jpg of a Mac
        return HIDDEN
    if suffix not in formats.BY_SUFFIX:
        return "files of other kinds"
    row = formats.BY_SUFFIX[suffix]
    return "" if row.installed else f"files that can be read after {install_command(row.extra)}"


def counted(left_out: Counter[str]) -> str:
    """What was left out, as a list for a message."""
    return f"left out {', '.join(f'{what} ({count})' for what, count in left_out.items())}"
