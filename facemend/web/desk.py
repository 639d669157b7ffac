"""One computation at a time, with a short queue; its progress goes to the browser."""

import json
import logging
import math
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from anyio import CancelScope, CapacityLimiter, create_memory_object_stream, create_task_group, from_thread, to_thread
from anyio.streams.memory import MemoryObjectSendStream
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from facemend.errors import Cancelled, FacemendError, unexpected
from facemend.machine import process
from facemend.records import Progress

PLACES = 4  # jobs at a time: one is computed, the others wait
RETRY_AFTER = 5  # seconds after which a client that found no place may try again
OPTIONS = {"restorer": "model"}  # names of options on the page, where they differ from Python
SETTINGS = {"scale", "strength", "fidelity", "repair"}  # that the page offers
OFFERED = {"restorer", "upscaler", "format", *SETTINGS}

Work = Callable[[Progress], dict[str, Any]]
Outbox = MemoryObjectSendStream[bytes]

log = logging.getLogger(__name__)


def spelled(option: str) -> str | None:
    """How the page calls an option of the package; None if it does not offer it."""
    return OPTIONS.get(option, option) if option in OFFERED else None


class Desk:
    """Where work waits for its turn.

    Args:
        places: number of jobs that may be there at a time.
    """

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._taken = 0
        self._workers = CapacityLimiter(1)
        self._stops: set[Callable[[], object]] = set()  # each ends one of the jobs that are there

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place; raises HTTPException (503) if there is none. Only the server's own thread may call it."""
        if self._taken >= self._places:
            problem = "too many pictures are being worked on; try again in a moment"
            raise HTTPException(503, problem, {"Retry-After": str(RETRY_AFTER)})
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def stop(self) -> None:
        """End what is received, and all jobs at their next call of their progress.

        Only the server's own thread may call it.
        """
        for stop in self._stops:
            stop()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """A block that `stop` ends; it then raises HTTPException (503)."""
        with CancelScope() as scope:
            self._stops.add(scope.cancel)
            try:
                yield
            finally:
                self._stops.remove(scope.cancel)
        if scope.cancelled_caught:
            raise HTTPException(503, "the server is stopped")

    async def answer(self, work: Work, receive: Receive, send: Send) -> None:
        """Do work in a thread and answer with server-sent events: `progress`, then `done` or `failed`.

        If the client closes the connection, work that waits is dropped, and work that runs ends at its next call of
        its progress.

        Args:
            work: called with a progress; returns what `done` tells, as values that JSON holds.
            receive: of the request, whose body has been read.
            send: of the request.
        """
        gone = threading.Event()
        self._stops.add(gone.set)
        outbox, inbox = create_memory_object_stream[bytes](math.inf)

        def tell(stage: str, done: int, total: int) -> None:
            if gone.is_set():
                raise Cancelled
            message = _event("progress", {"stage": stage, "done": done, "total": total})
            from_thread.run_sync(outbox.send_nowait, message)

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            group.cancel_scope.cancel()

        async with inbox, create_task_group() as group:
            group.start_soon(watch)
            group.start_soon(self._compute, partial(work, tell), outbox)
            try:
                headers = [(b"content-type", b"text/event-stream")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                # The browser learns at once that the request was accepted
                await send({"type": "http.response.body", "body": b": waiting\n\n", "more_body": True})
                async for message in inbox:
                    await send({"type": "http.response.body", "body": message, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                self._stops.remove(gone.set)
                gone.set()
                group.cancel_scope.cancel()

    async def _compute(self, work: Callable[[], dict[str, Any]], outbox: Outbox) -> None:
        async with outbox:
            try:
                outcome = _event("done", await to_thread.run_sync(work, limiter=self._workers))
            except Cancelled:
                return
            except FacemendError as error:
                outcome = _event("failed", {"error": error.message(spelled)})
            except Exception as error:
                log.error("a job failed\n%s", traceback.format_exc())
                problem = unexpected(error, "the server's terminal says more")
                outcome = _event("failed", {"error": problem.message(spelled)})
            finally:  # while an error is handled, it keeps the tensors of the job alive; here they are free
                with CancelScope(shield=True):
                    await to_thread.run_sync(process.give_back_memory)
            outbox.send_nowait(outcome)


class Endpoint:
    """An ASGI application whose requests are jobs at a desk; 503 where all places are taken.

    A place is taken before the body is read, so no more bodies than places are in memory.

    Args:
        desk: where the work is done.
        prepare: reads a request and returns its work. It may raise HTTPException.
    """

    def __init__(self, desk: Desk, prepare: Callable[[Request], Awaitable[Work]]) -> None:
        self._desk = desk
        self._prepare = prepare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            with self._desk.place():
                with self._desk.receiving():
                    work = await self._prepare(Request(scope, receive))
                await self._desk.answer(work, receive, send)
        except ClientDisconnect:  # while it sent the body
            return


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
