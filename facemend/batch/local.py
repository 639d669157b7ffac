"""Processes of this machine. One that is killed costs only the picture that it was doing."""

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from multiprocessing import resource_tracker
from typing import Self

from pebble import ProcessExpired, ProcessPool

from facemend.batch.plan import TRIES, Loaded, Outcome, Plan, Task
from facemend.errors import FacemendError
from facemend.machine import cgroup

LONGEST = 24 * 3600  # s for one picture, so that one that never ends does not block a worker for good
LISTENING = 1  # s after which a wait begins again, as Windows notices Ctrl-C only between two waits
BREAKS = 3  # times that the pool may break without an outcome in between


class Local:
    """The engine `local`.

    Args:
        plan: what to do with every picture.
        workers: number of processes; None for one for each processor, or a single one where networks run on a GPU.
    """

    def __init__(self, plan: Plan, workers: int | None = None) -> None:
        self._plan = plan
        self._workers = workers
        self._count = 1  # until the networks are loaded: those of a GPU may have no room for more

    def __enter__(self) -> Self:
        if sys.platform != "win32":  # has none
            resource_tracker.ensure_running()  # otherwise the forkserver starts it, which ends the delay of Ctrl-C
        with ExitStack() as stack:  # stops the workers where Ctrl-C was pressed during the start
            with _without_interrupts():
                self._start()
                stack.callback(self._stop)
            stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def load(self) -> Loaded:  # noqa: D102
        try:
            loading: Future[Loaded] = self._pool.schedule(_load)
            while not wait([loading], LISTENING).done:
                pass
            loaded = loading.result()
        except (ProcessExpired, BrokenProcessPool) as error:
            raise FacemendError(f"a worker died while it loaded the networks ({error})") from error
        self._count = self._workers or (1 if loaded.gpu else processors())
        if self._count > 1:
            self._stop()
            self._start()
        return loaded

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[Outcome]:  # noqa: D102
        coming: Iterator[tuple[Task, int]] = ((task, 1) for task in tasks)  # with the number of the try
        running: dict[Future[Outcome], tuple[Task, int]] = {}
        breaks = 0
        while True:
            if not self._pool.active:  # a worker died between two pictures
                breaks += 1
                if breaks > BREAKS:
                    raise FacemendError("the workers end before they begin a picture")
                coming = chain(running.values(), coming)
                running = {}
                self._stop()
                self._start()
            # No more than one for each worker: none begins another before the outcome of the last one is recorded.
            for task, number in islice(coming, self._count - len(running)):
                running[self._pool.schedule(_run, (task,), timeout=LONGEST)] = task, number
            if not running:
                return
            for future in wait(running, LISTENING, FIRST_COMPLETED).done:
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    break  # the pool is not active any more
                except (ProcessExpired, TimeoutError) as error:
                    task, number = running.pop(future)
                    if number < TRIES:
                        coming = chain([(task, number + 1)], coming)
                        continue
                    code = f"exit code {error.exitcode}" if isinstance(error, ProcessExpired) else "it took too long"
                    outcome = Outcome(task.key, error=killed(code))
                else:
                    del running[future]
                breaks = 0
                yield outcome

    def _start(self) -> None:
        # Windows has no forkserver, and GPUs of Apple do not work in processes that are forked.
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload(["facemend.batch.worker"])  # workers share its memory
        with _one_thread(), _without_interrupts():
            self._pool = ProcessPool(self._count, initializer=_start_worker, initargs=(self._plan,), context=context)
            try:
                self._pool.active  # noqa: B018 - starts it
            except BrokenProcessPool as error:  # whose message is empty
                problem = f"the workers cannot be started ({error.__cause__})"
                raise FacemendError(problem, "use fewer workers", "allow more processes and open files") from error

    def _stop(self) -> None:
        with _without_interrupts():
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()


def killed(how: str) -> FacemendError:
    """The error of a picture whose worker died at every try."""
    problem = f"its worker died {TRIES} times ({how}): it may need more memory than there is"
    return FacemendError(problem, "use fewer workers", "leave it out")


def processors() -> int:
    """The number of processors that this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(there, cgroup.processors())))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the end of the block.

    Processes that are started in it, and their children, never see Ctrl-C. They do see SIGTERM, which ends workers.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    delayed: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: delayed.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if delayed:
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let libraries that the processes import in the block start no threads of their own."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _start_worker(plan: Plan) -> None:
    from facemend.batch import worker  # imports torch, which the driver does not need

    worker.start(plan)


def _load() -> Loaded:
    from facemend.batch import worker

    return worker.the_worker().loaded()


def _run(task: Task) -> Outcome:
    from facemend.batch import worker

    return worker.the_worker().run(task)
