"""A whole batch: which pictures are to be done, and what became of them."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from facemend import __version__
from facemend.batch.engines import Engine, make_engine
from facemend.batch.manifest import Manifest, State, claim
from facemend.batch.names import tasks
from facemend.batch.places import open_place
from facemend.batch.plan import Loaded, Outcome, Plan, Task
from facemend.creative import DEFAULT_CREATIVE
from facemend.errors import InputError, OpenError, OutputPathError, Remedy, TooLargeError

NAMED = 3  # pictures whose keys are kept as examples
LIMITS = ("max_input_mp", "max_output_mp")  # settings that change no result

Keys = Callable[[], Iterable[str]]


@contextmanager
def open_batch(
    plan: Plan, keys: Keys, *, engine: str = "local", workers: int | None = None, retry_failed: bool = False
) -> "Iterator[Batch]":
    """Load the networks and the manifest.

    Args:
        plan: what to do with every picture.
        keys: returns the keys of all files of the source that have the suffix of a picture; those of each folder in
            order, and folders one after the other or within each other.
        engine: "local" or "ray".
        workers: number of processes; None for all processors or GPUs.
        retry_failed: whether pictures that failed in an earlier run are tried again.

    Raises:
        InputError: the destination is in use, holds results of another batch, or an extra is missing.
        FacemendError: the networks cannot be loaded, or a place cannot be read or written.
    """
    with ExitStack() as stack:
        destination = open_place(plan.destination)
        stack.enter_context(destination.lock())
        scratch = destination.scratch or stack.enter_context(tempfile.TemporaryDirectory())
        plan = replace(plan, scratch=scratch)
        running = stack.enter_context(make_engine(engine, plan, workers))
        loaded = running.load()
        manifest = Manifest(destination, recipe(plan, loaded))
        if manifest.others and not (plan.force or plan.resume):
            problem = (
                f"{manifest.others} results in {destination.name} are of another source, settings, models or version"
            )
            remedies = Remedy("replace them with {}", "force"), Remedy("keep them with {}", "skip_existing")
            raise InputError(problem, "choose another folder", *remedies)
        for key in manifest.deleted:
            destination.mark(claim(key))
        yield Batch(plan, running, manifest, keys, loaded.names, retry_failed)


class Batch:
    """A batch that is ready to start.

    Attributes:
        names: of the networks, by what they do.
        earlier: number of pictures that earlier runs have ended, by state; known when all pictures have been listed.
        examples: the keys of the first `NAMED` of these pictures that failed.
    """

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        manifest: Manifest,
        keys: Keys,
        names: Mapping[str, str],
        retry_failed: bool,
    ) -> None:
        self.names = names
        self.earlier: Counter[State] = Counter()
        self.examples: list[str] = []
        self._plan = plan
        self._engine = engine
        self._manifest = manifest
        self._keys = keys
        self._retry_failed = retry_failed

    def pending(self) -> Iterator[Task]:
        """List the pictures that are to be done."""
        self.earlier, self.examples = Counter(), []
        for task in tasks(self._keys(), self._plan.endings()):
            state = self._manifest.state(task.key)
            if state is None or (self._retry_failed and state is not State.DONE):
                files = self._plan.files(task.target)
                yield replace(task, taken=tuple(file for file in files if self._manifest.is_of_another(file, task.key)))
            else:
                self.earlier[state] += 1
                if state is not State.DONE and len(self.examples) < NAMED:
                    self.examples.append(task.key)

    def outcomes(self) -> Iterator[Outcome]:
        """Do the pictures, and yield each outcome when it is in the manifest, in any order."""
        try:
            for outcome in self._engine.outcomes(self.pending()):
                if not _may_succeed_later(outcome):
                    self._manifest.add(outcome)
                yield outcome
        finally:
            self._manifest.write()


def _may_succeed_later(outcome: Outcome) -> bool:
    """Whether something else than the picture kept it from being done: other files, the file system, or a limit."""
    error = outcome.error
    return outcome.skipped or isinstance(error, (OutputPathError, OpenError, TooLargeError))


def recipe(plan: Plan, loaded: Loaded) -> str:
    """The hash of everything that the results depend on, but the hardware."""
    parts = {
        "version": __version__,
        "settings": {name: value for name, value in asdict(plan.settings).items() if name not in LIMITS},
        "source": plan.source,
        "writing": plan.writing,
        "precision": plan.models["precision"],
        "models": loaded.names,
        "redrawing": repr(_redrawing(plan.models)),
        "files": loaded.files,
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _redrawing(models: Mapping[str, Any]) -> dict[str, Any]:
    """What the results depend on where the upscaler redraws."""
    creative = models.get("creative")
    if creative:
        creative = replace(creative, max_cpu_mp=DEFAULT_CREATIVE.max_cpu_mp)  # a limit changes no result
    return {"creative": creative, **{name: models.get(name) for name in ("first", "base", "control")}}
