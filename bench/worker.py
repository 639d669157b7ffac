"""One side of a comparison, in a process of its own: `python -m bench.worker MODULE WORK FOLDER`.

Prepares the work that MODULE names WORK, says so on stdout, then does it once for every line on stdin and answers with
seconds and the most memory it ever held. Needs nothing but the standard library, as two environments share it.
"""

import importlib
import json
import sys
import time
from pathlib import Path

SIGN = "@"  # before every answer: the packages that are measured print too


def answer(seconds: float) -> None:
    """Write one answer."""
    # Linux's own record; that of getrusage begins with what the parent process held.
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    print(SIGN, json.dumps({"seconds": seconds, "peak": peak}), flush=True)


def main() -> None:
    """Read the command line, then work until stdin ends."""
    module, work, folder = sys.argv[1:]
    start = time.perf_counter()
    call = importlib.import_module(f"bench.{module}").WORKS[work](Path(folder))
    answer(time.perf_counter() - start)
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        answer(time.perf_counter() - start)


if __name__ == "__main__":
    main()
