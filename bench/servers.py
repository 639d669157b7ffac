"""Pictures a minute of one server with every processor, and of several with one each: `python -m bench.servers`.

As many clients as there are servers send the same picture again and again. There is no queue: each client has a server
of its own, so this is what the servers can compute. It needs the bundled weights only.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.cog.serving import ROOT, Server, data_url, serving


def measure(servers: int, threads: int, image: str, seconds: float) -> tuple[float, float, float]:
    """Return pictures a minute, the median seconds of a call, and the GiB of memory of all processes together."""
    with ExitStack() as stack:
        running = []
        for _ in range(servers):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            options = {"FACEMEND_MODELS": "lite", "OMP_NUM_THREADS": str(threads)}
            running.append(stack.enter_context(serving(folder, **options)))
        for server in running:
            server.predict(image=image)
        end = time.monotonic() + seconds

        def calls(server: Server) -> list[float]:
            taken = []
            while time.monotonic() < end:
                start = time.monotonic()
                assert server.predict(image=image)["status"] == "succeeded"
                taken.append(time.monotonic() - start)
            return taken

        start = time.monotonic()
        with ThreadPoolExecutor(servers) as pool:
            taken = [each for found in pool.map(calls, running) for each in found]
        elapsed = time.monotonic() - start
        tops = [psutil.Process(server.process.pid) for server in running]
        processes = [process for top in tops for process in (top, *top.children())]
        memory = sum(process.memory_full_info().pss for process in processes)
        return 60 * len(taken) / elapsed, statistics.median(taken), memory / 2**30


def main() -> None:
    """Print a row for each arrangement, twice in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "old.jpg")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    image = data_url(arguments.image.read_bytes(), "image/jpeg")
    processors = os.cpu_count() or 1
    print(f"load {os.getloadavg()[0]:.2f}, {processors} processors, {arguments.image.name}")
    print("servers  threads of each  pictures/minute  seconds/call  GiB")
    for servers, threads in ((1, processors), (1, 1), (processors, 1)) * 2:
        rate, median, memory = measure(servers, threads, image, arguments.seconds)
        print(f"{servers:7}  {threads:15}  {rate:15.1f}  {median:12.2f}  {memory:3.1f}")


if __name__ == "__main__":
    main()
