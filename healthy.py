"""A health check of the server on this machine: `python healthy.py READY BUSY` (see docs/supervision.md).

The exit code is 0 if the server's status is one of those given. Otherwise it is 1, with one line on stderr. The HTTP
status is no health check: if its worker is dead, Cog's server still answers 200 but refuses every call. Its BUSY
alone is none either: it can stay BUSY for ever with nothing to do. `PULSE` shows whether there is progress.
"""

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def number(name: str, default: int) -> int:
    """Return a whole number from an environment variable; end with one line where it has none."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        sys.exit(f"{name} is {text!r}, but must be a whole number")
    return int(text)


PORT = number("PORT", 5000)
TIMEOUT = 15  # seconds; the server itself waits up to 10 for its worker
BUSY_LIMIT = number("FACEMEND_BUSY_LIMIT", 900)  # seconds that the server may be BUSY without progress
# A file that this check touches when the server is idle, and predict.py whenever a call makes progress
PULSE = Path(os.environ.get("FACEMEND_PULSE") or Path(tempfile.gettempdir(), f"facemend-{PORT}.pulse"))


def problem(allowed: Sequence[str]) -> str:
    """Check once, and return what is wrong with the server in one line; "" if nothing.

    Args:
        allowed: the statuses that are right.
    """
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT)
    try:
        connection.request("GET", "/health-check")
        status = json.load(connection.getresponse())["status"]
    except (OSError, http.client.HTTPException) as error:
        return f"the server does not answer: {error}"
    except (ValueError, LookupError, TypeError):
        return f"what answers on port {PORT} is not Cog's server"
    finally:
        connection.close()
    if status not in allowed:
        return f"the server is {status}, not {' or '.join(allowed)}"
    try:
        if status != "BUSY" or not PULSE.exists():
            PULSE.touch()
        elif (seconds := time.time() - PULSE.stat().st_mtime) > BUSY_LIMIT:
            return f"the server is BUSY without progress for {seconds:.0f} seconds, over the limit of {BUSY_LIMIT}"
    except OSError as error:
        return f"cannot write {PULSE}: {error.strerror}; set FACEMEND_PULSE to another file"
    return ""


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("name the allowed statuses: python healthy.py READY BUSY")
    sys.exit(problem(sys.argv[1:]) or None)
