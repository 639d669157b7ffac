"""One side of a comparison in a process of its own: `python -m bench.worker MODULE WORK FOLDER`.

It prepares the entry WORK of `bench.MODULE.WORKS` and reports on stdout when it is ready. For every line on stdin it
then does the work once and answers with the seconds and the peak memory of the process. It imports only the standard
library, because it runs in two environments.
"""

import importlib
import json
import sys
import time
from pathlib import Path

SIGN = "@"  # starts every answer, because the measured packages print to stdout too


def answer(seconds: float) -> None:
    """Write one answer."""
    # VmHWM of Linux is the peak of this process. The peak in getrusage starts with the memory of the parent process.
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    print(SIGN, json.dumps({"seconds": seconds, "peak": peak}), flush=True)


def main() -> None:
    """Read the command line, then do the work until stdin ends."""
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
