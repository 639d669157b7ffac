"""Stops the server on this machine if it is not healthy: `python watch.py` (see docs/supervision.md).

The exit code is 0 if one of three checks finds the server healthy. Otherwise the server is stopped, so that Docker,
Kubernetes or systemd starts it again, and the exit code is 1, with a line on stderr for each check.
"""

import sys
import time
from contextlib import suppress

import psutil

import healthy

ALIVE = ("STARTING", "READY", "BUSY")
CHECKS = 3
PAUSE = 5  # seconds between two checks
PATIENCE = 10  # seconds that a server without a worker gets to end


def main() -> None:
    """Check, and stop the server if every check fails."""
    for number in range(CHECKS):
        if number:
            time.sleep(PAUSE)
        problem = healthy.problem(ALIVE)
        if not problem:
            return
        print(problem, file=sys.stderr)
    stop()
    sys.exit(1)


def stop() -> None:
    """Kill the server's worker, which may hang, and end the server, which would wait for it."""
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr
        if listens and listens.port == healthy.PORT and connection.pid:
            server = psutil.Process(connection.pid)
            for worker in server.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    worker.kill()
            with suppress(psutil.NoSuchProcess):
                server.terminate()
                try:
                    server.wait(PATIENCE)
                except psutil.TimeoutExpired:
                    server.kill()
            return
    print(f"no server of this user listens on port {healthy.PORT}", file=sys.stderr)


if __name__ == "__main__":
    main()
