"""Start the server of the page."""

import errno
import math
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence

import uvicorn

from facemend.errors import OptionError
from facemend.machine import process
from facemend.records import DEFAULT_SETTINGS
from facemend.web.desk import Desk
from facemend.web.guard import Guard

PATIENCE = 30  # seconds for one tile of a large picture, when the server is stopped
MB = 10**6
LAST_PORT = 65535


def serve(host: str, port: int, *, browser: bool, max_upload: float, say: Callable[[str], None]) -> None:
    """Serve the page until the process is interrupted.

    Args:
        host: the address to listen on. Other machines need the token in the address where they can reach it.
        port: to listen on; 0 for any that is free.
        browser: whether to open the page.
        max_upload: the most MB of a photo's file.
        say: called with the address of the page.

    Raises:
        OptionError: the address cannot be used, or the limit is not above 0.
        WeightsError: a network cannot be loaded.
    """
    if not 0 < max_upload < math.inf:
        raise OptionError("max_upload", max_upload, "a number above 0")
    listening = _listen(host, port)
    with listening:
        with process.startup():
            from facemend.web import app  # imports torch
            from facemend.web.networks import Networks

            networks = Networks()
            networks.pipeline(scale=DEFAULT_SETTINGS.scale)  # what most photos need
        desks = Desk(), Desk()
        guard = Guard(app.make(networks, *desks, int(max_upload * MB)), host)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        if guard.token:
            address += f"?token={guard.token}"
        say(address)
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        Server(guard, desks).run(sockets=[listening])


class Server(uvicorn.Server):
    """The HTTP server; it logs warnings and errors only, and no addresses of pictures.

    Args:
        guard: the application.
        desks: whose jobs end when the server is stopped.
    """

    def __init__(self, guard: Guard, desks: Sequence[Desk]) -> None:
        super().__init__(
            uvicorn.Config(
                guard,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=PATIENCE,
            )
        )
        self._desks = desks

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End all jobs, then the connections."""
        for desk in self._desks:
            desk.stop()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= LAST_PORT:
        raise OptionError("port", port, f"a number from 0 to {LAST_PORT}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (socket.gaierror, UnicodeError) as error:
        raise OptionError("host", host, "a name or an address of this machine") from error
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise OptionError("host", host, "a name or an address of this machine") from error
        reason = str(error.strerror).partition(" (while ")[0].lower()  # without what `create_server` adds
        expected = f"one that this program may listen on, at an address of this machine ({host}: {reason})"
        raise OptionError("port", port, expected, "leave it out for any") from error


def _has_screen() -> bool:
    """Whether a browser has somewhere to appear: not so in a terminal on another machine."""
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
