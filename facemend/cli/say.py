"""What the command line writes: notes and errors to stderr, results to stdout, progress bars to a terminal."""

import argparse
import json
import logging
import sys
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from facemend.errors import FacemendError, InputError, escaped, one_line, unexpected
from facemend.records import Progress
from facemend.weights.models import LITE

if TYPE_CHECKING:
    from facemend.job import Done

DONE, FAILED, MISTAKE = 0, 1, 2  # exit codes
LARGER_MODELS = "'facemend download gfpgan-v1.4 realesrgan-x4plus retinaface-r50'"
SPELLED = {"restorer": "--model", "extra": "extra"}  # names unlike Python's; `extra` lets remedies with pip through
# Parts of messages that name the picture already
NAMING = ("cannot read {}", "cannot open {}", "not enough memory to read {}", "result of {}", "{} holds no pictures")


class Reporter:
    """Writes, in the words of the command line, and remembers the exit code.

    Args:
        options: of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._json: bool = getattr(options, "json", False)
        self._codes = {DONE}

    @property
    def code(self) -> int:
        """The exit code; a failure that is not the caller's outweighs the caller's mistakes."""
        return FAILED if FAILED in self._codes else max(self._codes)

    def spelled(self, option: str) -> str | None:
        """How the command line spells an option; None if this command does not have it."""
        if option in SPELLED:
            return SPELLED[option]
        return f"--{option.replace('_', '-')}" if hasattr(self._options, option) else None

    def failed(self, problem: object, source: Path | str | None = None) -> None:
        """Write an error, and the picture it is about, on one line."""
        line = self._error_line(problem, source)
        tqdm.write(f"facemend: {line}", file=sys.stderr)
        if self._json and source:
            tqdm.write(json.dumps({"input": str(source), "error": line}))
        self._codes.add(MISTAKE if isinstance(problem, InputError) else FAILED)

    def done(self, source: Path, done: "Done", looked_for_faces: bool) -> None:
        """Write what became of a picture, and what of it could not be kept."""
        if done.lost:
            note(f"{source}: not kept: {', '.join(done.lost)}")
        record = {"input": str(source), "output": str(done.outputs.target), **done.report()}
        tqdm.write(json.dumps(record) if self._json else _line(done, looked_for_faces))

    def skipped(self, source: Path, target: Path) -> None:
        """Write that a picture's result exists."""
        record = {"input": str(source), "output": str(target), "skipped": True}
        tqdm.write(json.dumps(record) if self._json else f"{escaped(target)}  exists already")

    def _error_line(self, problem: object, source: Path | str | None) -> str:
        if isinstance(problem, Exception) and not isinstance(problem, (FacemendError, OSError)):
            problem = unexpected(problem)
        message = problem.message(self.spelled) if isinstance(problem, FacemendError) else one_line(str(problem))
        if source and not any(one_line(naming.format(source)) in message for naming in NAMING):
            message = f"{escaped(source)}: {message}"
        return message


class Notes(logging.Handler):
    """Shows the log messages of the package on stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        note(record.getMessage())


def note(text: str) -> None:
    """Write a line that is not about an error."""
    tqdm.write(f"facemend: {one_line(text)}", file=sys.stderr)


def describe(names: Mapping[str, str]) -> str:
    """The models that are used, on one line: what each does, and its name."""
    return ", ".join(f"{part}: {name}" for part, name in names.items())


def note_lite(names: Mapping[str, str], chosen: Container[str]) -> None:
    """Write that there are better models, where lite ones are used that the caller has not chosen."""
    used = (*names["restorer"].split(" or "), names["upscaler"])  # `auto` may have two restorers
    if LITE in used and LITE not in chosen:
        note(f"lite models are part of the program; {LARGER_MODELS} installs larger, better ones")


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress | None]:
    """Show a bar for the stages that take long, on a terminal only."""
    if not shown:
        yield None
        return
    with tqdm(disable=None, leave=False) as bar:

        def move(stage: str, done: int, total: int) -> None:
            bar.set_description(stage, refresh=False)
            bar.total = total
            bar.n = done
            bar.refresh()

        yield move


def _line(done: "Done", looked_for_faces: bool) -> str:
    result = done.result
    height, width = result.pixels.shape[:2]
    restored = sum(face.restored for face in result.faces)
    faces = f"{restored} of {len(result.faces)} faces restored" if result.faces else "no faces found"
    nets = dict.fromkeys(face.net for face in result.faces if face.restored)
    if nets and [*nets] != [result.restorer]:  # `auto` had a choice
        faces += f" by {', '.join(nets)}"
    if reasons := dict.fromkeys(face.reason for face in result.faces if face.reason):
        faces += f" ({', '.join(reasons)})"
    repaired = [] if result.repaired is None else [_share_repaired(result.repaired)]
    found = [faces] if looked_for_faces else []
    parts = [escaped(done.outputs.target), f"{width} x {height}", *repaired, *found]
    return "  ".join([*parts, f"{result.seconds['total']:.1f} s"])


def _share_repaired(share: float) -> str:
    if not share:
        return "no damage found"
    return f"{share:.1%} repaired" if share >= 0.001 else "less than 0.1% repaired"
