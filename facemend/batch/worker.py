"""One process that has loaded the networks and does one picture after the other."""

import os
import tempfile
import traceback
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

import cv2
import torch

from facemend import job
from facemend.batch import manifest, names
from facemend.batch.places import open_place
from facemend.batch.plan import TRIES, Loaded, Outcome, Plan, Task
from facemend.errors import FacemendError, InputError, MemoryLimitError, OptionError, OutputPathError, unexpected
from facemend.job import Outputs
from facemend.loader import is_path
from facemend.machine import process
from facemend.machine.device import choose
from facemend.pipeline import Pipeline
from facemend.records import Picture
from facemend.weights.installed import digest


class Worker:
    """Does pictures, with one thread.

    Args:
        plan: what to do with them.

    Raises:
        FacemendError: the networks cannot be loaded, or a place cannot be used.
    """

    def __init__(self, plan: Plan) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        with process.startup():
            try:
                self._pipeline = Pipeline.load(**plan.models)
            except MemoryLimitError as error:
                raise MemoryLimitError(*error.args, "use fewer workers") from error
        self._plan = plan
        self._source = open_place(plan.source)
        self._destination = open_place(plan.destination)
        self._settings = plan.settings
        if self._pipeline.restorer is None and not (plan.writing.get("boxes") or plan.report):
            self._settings = replace(plan.settings, faces="none")  # as the output would not show them

    def loaded(self) -> Loaded:
        """What this worker has loaded."""
        models = self._plan.models
        files = dict(models["weights"])
        chosen = (
            models.get(task) for task in ("restorer", "upscaler", "detector", "parser", "first", "base", "control")
        )
        own = (name for name in chosen if isinstance(name, str | Path) and is_path(name) and Path(name).is_file())
        files.update({str(name): name for name in own})
        hashes = {name: digest(Path(path))[0] for name, path in files.items()}
        gpu = choose(models["device"], "auto", "fp32").place.type != "cpu"
        return Loaded(self._pipeline.names, hashes, gpu)

    def run(self, task: Task) -> Outcome:
        """Do one picture; after an error that is not the user's, try it again."""
        if task.error:
            return Outcome(task.key, error=task.error)
        for _ in range(TRIES):
            is_unexpected = False
            try:
                return self._try(task)
            except InputError as problem:
                return Outcome(task.key, error=problem)
            except FacemendError as problem:
                error = problem
                error.__traceback__ = error.__cause__ = error.__context__ = None  # they keep the tensors of this try
            except Exception as problem:
                if self._plan.debug:
                    traceback.print_exc()
                error, is_unexpected = unexpected(problem), True
            # Here the exception is gone, and with it the tensors of this try.
            if is_unexpected and not self._works():
                os._exit(1)  # as after some errors of a GPU; another process takes over
        return Outcome(task.key, error=error)

    def _works(self) -> bool:
        """Whether the networks still run, after an unexpected error."""
        try:
            self._pipeline.probe()
        except FacemendError:
            return True
        except Exception:
            return False
        return True

    def _try(self, task: Task) -> Outcome:
        plan, destination = self._plan, self._destination
        target = PurePosixPath(task.target)
        claim = manifest.claim(task.key)
        kept: list[str] = []  # files that are there and stay

        def key(path: Path) -> str:
            return str(target.with_name(path.name))

        def check(picture: Picture, outputs: Outputs) -> bool:
            keys = [key(path) for path in outputs.paths()]
            if others := [one for one in keys if one in task.taken]:
                remedy = "rename this picture, or delete the result, which an earlier run made of another one"
                raise names.taken_already(f"{destination.name}/{others[0]}", remedy)
            for one in keys:
                if destination.is_file(one, source):
                    raise OutputPathError(f"{destination.name}/{one}", "another file than the input")
            existing = [one for one in keys if destination.exists(one)]
            if existing and not plan.force and not destination.exists(claim):
                if not plan.resume:
                    raise OutputPathError.existing(f"{destination.name}/{existing[0]}")
                kept.extend(existing if keys[0] in existing else [])
            return kept != keys

        if plan.scratch:
            Path(plan.scratch).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=plan.scratch or None) as scratch:
            folder = Path(scratch)
            source = self._source.fetch(task.key, folder)
            name = f"{self._source.name}/{task.key}"
            work = job.Job(source=source, target=folder / "results" / target.name, name=name, **plan.writing)
            done = job.run(work, self._pipeline, self._settings, check=check)
            if done is None:
                return Outcome(task.key, tuple(kept), skipped=True)
            paths = [path for path in done.outputs.paths() if path.exists()]
            is_claimed = not destination.mark(claim)
            published = [claim]
            try:
                for path in reversed(paths):  # the result is last: where it is, the other files are too
                    if key(path) not in kept:
                        destination.publish(path, key(path), replace=is_claimed or plan.force or plan.resume)
                        published.append(key(path))
            except OptionError:  # someone else's file, which has come since `check`
                destination.delete(published)
                raise
        report = done.report() if plan.report else None
        return Outcome(task.key, tuple(map(key, paths)), lost=done.lost, report=report)


_plan: Plan  # of this process


def start(plan: Plan) -> None:
    """Say what this process is to do; the networks are loaded when they are first needed."""
    global _plan
    _plan = plan


@cache
def the_worker() -> Worker:
    """The worker of this process."""
    return Worker(_plan)
