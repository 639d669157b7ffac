"""What is done: lines of JSON in the destination, of this run and of earlier ones.

A run adds lines to files of its own in `.facemend/manifest/`. Each line is about one picture: its key, the recipe (a
hash of source, settings, models and version), and either the outputs or the error. The last line about a picture
counts. Pictures and outputs are not in memory by name but by a hash of 64 bits, about 155 bytes for both.
"""

import hashlib
import json
import secrets
import time
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

from facemend.batch.places import OWN, Place
from facemend.batch.plan import Outcome
from facemend.errors import FacemendError, InputError, Remedy

FOLDER = f"{OWN}/manifest/"
CLAIMS = f"{OWN}/claims/"
LINES = 1000  # of a file, as files in a bucket are written as a whole


class State(Enum):
    """What the manifest says of a picture."""

    DONE = "done"
    MISTAKE = "mistake"  # the picture is at fault
    FAILED = "failed"  # anything else


class _Line(NamedTuple):
    """What was said of a picture, as `Manifest.add` writes it."""

    input: str
    recipe: str
    outputs: list[str]
    state: State


class Manifest:
    """The lines of all runs; adding some.

    Args:
        place: the destination.
        recipe: hash of everything that the results depend on.

    Attributes:
        others: the number of results that were made with another recipe.
        deleted: the pictures whose result of this recipe is not there any more.

    Raises:
        FacemendError: it cannot be read, or it is damaged.
    """

    def __init__(self, place: Place, recipe: str) -> None:
        self._place = place
        self._recipe = recipe
        self._states: dict[int, State] = {}
        self._owners: dict[int, int] = {}  # output of an earlier run -> the picture that it belongs to
        self._run = f"{FOLDER}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"  # later ones sort after it
        self._lines: list[bytes] = []
        self._ended: list[str] = []  # claims of the pictures of these lines
        self._count = 0
        self._written = 0.0
        others: set[int] = set()
        deleted: dict[int, str] = {}
        if parts := sorted(place.list(FOLDER)):
            exists = place.index()
            for part in parts:
                for line in _complete_lines(part, place.read(part)):
                    picture = hash(line.input)
                    deleted.pop(picture, None)
                    for output in line.outputs:
                        owner = self._owners.get(hash(output), picture)
                        if owner != picture:  # its result was replaced
                            self._states.pop(owner, None)
                            others.discard(owner)
                        self._owners[hash(output)] = picture
                    is_ours = line.recipe == recipe
                    if line.outputs and not all(map(exists, line.outputs)):
                        self._states.pop(picture, None)
                        others.discard(picture)
                        if is_ours and not exists(line.outputs[0]):
                            deleted[picture] = line.input
                    elif is_ours:
                        self._states[picture] = line.state
                        others.discard(picture)
                    elif line.outputs:
                        self._states.pop(picture, None)
                        others.add(picture)
        self.others = len(others)
        self.deleted = tuple(deleted.values())

    def state(self, key: str) -> State | None:
        """What is known of a picture; None if it is still to be done."""
        return self._states.get(hash(key))

    def is_of_another(self, output: str, key: str) -> bool:
        """Whether a file is a result of an earlier run, of another picture than this one."""
        owner = self._owners.get(hash(output))
        return owner not in (None, hash(key)) and self._states.get(owner) is State.DONE

    def add(self, outcome: Outcome) -> None:
        """Add what became of a picture; in a bucket it is written within a second, or by `write`."""
        state = State.DONE
        line: dict[str, object] = {"input": outcome.key, "recipe": self._recipe, "outputs": outcome.outputs}
        if outcome.error:
            state = State.MISTAKE if isinstance(outcome.error, InputError) else State.FAILED
            line["error"] = str(outcome.error)
        self._lines.append(json.dumps({**line, "state": state.value}).encode() + b"\n")
        if outcome.outputs:  # a picture that failed keeps its claim, as some of its files may be there
            self._ended.append(claim(outcome.key))
        if time.monotonic() - self._written >= self._place.pause:
            self.write()

    def write(self) -> None:
        """Write the lines that are not written yet."""
        if not self._lines:
            return
        self._place.append(f"{self._run}-{self._count // LINES:04}.jsonl", b"".join(self._lines))
        self._place.delete(self._ended)
        self._count += len(self._lines)
        self._written = time.monotonic()
        self._lines, self._ended = [], []


def claim(key: str) -> str:
    """The path of a file that marks the results of a picture, if there are any, as those of a batch.

    A worker writes it before the results, and the driver deletes it when the picture is in the manifest. The driver
    also writes it where a result was deleted, as the files beside it are made again too. So files in the place of
    results that have no such mark and are not in the manifest are somebody else's.
    """
    return f"{CLAIMS}{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()}"


def _complete_lines(part: str, data: bytes) -> list[_Line]:
    """The lines of a file, without the last one if a run was stopped while it wrote it."""
    try:
        lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
        return [_Line(line["input"], line["recipe"], line["outputs"], State(line["state"])) for line in lines]
    except (LookupError, TypeError, ValueError) as error:
        remedies = (
            Remedy("delete it and keep its results with {}", "skip_existing"),
            Remedy("delete it and make them again with {}", "force"),
        )
        raise FacemendError(f"{part}, a list of results in the destination, is damaged", *remedies) from error
