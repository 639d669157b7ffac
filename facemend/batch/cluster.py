"""A Ray cluster. Only keys travel to the workers, which read and write the pictures themselves.

Needs the extra `ray`. The cluster is the one that the environment variable RAY_ADDRESS names; without it, Ray runs on
this machine and listens on 127.0.0.1 only.

The workers are actors, and not a dataset of Ray Data: that holds the keys of all pictures in memory, in a block of its
own for each picture, as otherwise a worker that dies takes the pictures before it along.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Self

from facemend.batch import local
from facemend.batch.plan import TRIES, Loaded, Outcome, Plan, Task
from facemend.errors import FacemendError

# Ray reads these when it is imported. By default it listens on all addresses of this machine, even where it is told to
# use 127.0.0.1. With the second variable off, it uses 127.0.0.1 only, on Linux too.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1" if "RAY_ADDRESS" in os.environ else "0")
import ray
from ray.exceptions import RayActorError, RayTaskError


class Cluster:
    """The engine `ray`.

    Args:
        plan: what to do with every picture.
        workers: number of actors; None for one for each GPU of the cluster, or each processor if it has none.
    """

    def __init__(self, plan: Plan, workers: int | None = None) -> None:
        self._plan = plan
        self._workers = workers

    def __enter__(self) -> Self:
        options: dict[str, Any] = {"log_to_driver": self._plan.debug, "logging_level": "error"}
        if "RAY_ADDRESS" not in os.environ:
            here = self._workers or local.processors()
            options |= {"include_dashboard": False, "num_cpus": here}
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise FacemendError(f"cannot reach the Ray cluster at {os.environ.get('RAY_ADDRESS')}: {error}") from error
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = 0 if self._plan.models["device"] == "cpu" else int(resources.get("GPU", 0))
        # A worker that dies is started again, here or on another machine, and tries its picture again.
        actor = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=-1, max_task_retries=TRIES - 1)(_Actor)
        count = self._workers or gpus or int(resources.get("CPU", 0))
        if not count:
            ray.shutdown()
            raise FacemendError("the Ray cluster has no processors yet", "start its workers, or name their number")
        self._actors: list[Any] = [actor.remote(self._plan) for _ in range(count)]
        return self

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()

    def load(self) -> Loaded:  # noqa: D102
        try:
            loaded: Loaded = ray.get(self._actors[0].load.remote())
        except RayTaskError as error:
            raise error.cause from error
        except RayActorError as error:
            raise FacemendError(f"a worker died while it loaded the networks ({error})") from error
        return loaded

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[Outcome]:  # noqa: D102
        coming = iter(tasks)
        task = next(coming, None)
        starting = {actor.ready.remote(): actor for actor in self._actors}  # some may wait for a machine, or for ever
        free: list[Any] = []
        running: dict[Any, tuple[Task, Any]] = {}  # one picture each: a queue would die with the actor
        while task or running:
            while task and free:
                actor = free.pop()
                running[actor.run.remote(task)] = task, actor
                task = next(coming, None)
            done = ray.wait([*starting, *running])[0][0]
            if done in starting:
                actor = starting.pop(done)
                try:
                    ray.get(done)
                except RayActorError as error:
                    raise FacemendError(f"a worker of the Ray cluster cannot start ({_reason(error)})") from error
                free.append(actor)
                continue
            tried, actor = running.pop(done)
            free.append(actor)
            try:
                outcome: Outcome = ray.get(done)
            except RayTaskError as error:  # the networks cannot be loaded on that machine
                raise error.cause from error
            except RayActorError as error:
                outcome = Outcome(tried.key, error=local.killed(_reason(error)))
            yield outcome


def _reason(error: Exception) -> str:
    """The first line of an error of Ray, without the codes of its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error).partition("\n")[0])


class _Actor:
    """A worker in a process of Ray; it loads the networks when they are first needed."""

    def __init__(self, plan: Plan) -> None:
        from facemend.batch import worker  # imports torch, which the driver does not need

        worker.start(plan)
        self._worker = worker.the_worker

    def ready(self) -> None:
        """Return, which tells that the actor has started."""

    def load(self) -> Loaded:
        return self._worker().loaded()

    def run(self, task: Task) -> Outcome:
        return self._worker().run(task)
