"""Rates and memory of `facemend batch`, on the CPU with the lite models: `python -m bench.batch [PART...]`.

The parts are "rates", "memory" and "listing"; all of them without arguments. "rates" needs the extra `ray`, "listing"
the extra `stores` and moto.
"""

import argparse
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

EXAMPLE = Path(__file__).parents[1] / "examples" / "old.jpg"
PICTURES = 40
SMALL = 10_000  # pictures of the part "memory"
KEYS = 100_000  # of the part "listing"
MIB = 2**20
LITE = ("--model", "lite", "--upscaler", "lite")
FAST = ("--model", "none", "--upscaler", "lanczos")


class Watched:
    """One run of the command line: its time, and the memory of its processes while it runs."""

    def __init__(self, *arguments: str, results: Path, every: float = 0.5) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-m", "facemend", *arguments]
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.first = 0.0
        self.samples: list[tuple[int, list[float]]] = []  # results, and MiB of each process alone, largest first
        self.cpu: dict[int, float] = {}  # process -> s, when it was last seen
        process = psutil.Process(started.pid)
        while started.poll() is None:
            count = sum(1 for _ in results.glob("*.jpg")) + sum(1 for _ in results.glob("[0-9]/*.jpg"))
            self.first = self.first or (time.perf_counter() - start if count else 0)
            sizes = []
            for one in [process, *process.children(recursive=True)]:
                with suppress(psutil.Error):  # it has just ended
                    sizes.append(one.memory_full_info().uss / MIB)
                    self.cpu[one.pid] = sum(one.cpu_times()[:2])
            self.samples.append((count, sorted(sizes, reverse=True)))
            time.sleep(every)
        self.seconds = time.perf_counter() - start
        self.summary = started.communicate()[1].strip().splitlines()[-1]


@contextmanager
def _folder(fill: Callable[[Path], None]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        fill(folder / "in")
        yield folder


def rates() -> None:
    """Print a table: a plain loop, processes of this machine, and Ray."""

    def fill(folder: Path) -> None:
        for number in range(PICTURES):
            shutil.copy(EXAMPLE, folder / f"{number}.jpg")
        (folder / "broken.jpg").write_bytes(EXAMPLE.read_bytes()[:3000])

    print("| engine | until the first | all | pictures/s after the first | CPU s | processes, own MiB each |")
    print("| --- | --- | --- | --- | --- | --- |")
    reached = {}
    with _folder(fill) as folder:
        for title, command in {
            "plain loop (restore)": ("restore", "-o"),
            "local, 1 worker": ("batch", "--workers=1"),
            "local, 2 workers": ("batch", "--workers=2"),
            "Ray, 2 workers": ("batch", "--engine=ray", "--workers=2"),
        }.items():
            out = folder / "out"
            if command[0] == "restore":
                run = Watched("restore", str(folder / "in"), "-o", str(out), *LITE, results=out)
            else:
                run = Watched("batch", str(folder / "in"), str(out), *LITE, *command[1:], results=out)
            reached[title] = (PICTURES - 1) / (run.seconds - run.first)
            middle = run.samples[len(run.samples) // 2][1]
            sizes = ", ".join(f"{size:.0f}" for size in middle if size > 5)
            cpu = sum(run.cpu.values())
            print(
                f"| {title} | {run.first:.1f} s | {run.seconds:.1f} s | {reached[title]:.2f} | {cpu:.0f} | {sizes} |",
                flush=True,
            )
            shutil.rmtree(out)
    ratio = reached["local, 2 workers"] / reached["local, 1 worker"]
    print(f"\n2 workers reach {ratio:.2f} times the rate of 1; wanted: 1.7")


def memory() -> None:
    """Print the memory of a batch of many small pictures over time."""
    import numpy as np
    from PIL import Image

    def fill(folder: Path) -> None:
        rng = np.random.default_rng(0)
        for number in range(SMALL):
            (folder / str(number // 1000)).mkdir(exist_ok=True)
            pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / str(number // 1000) / f"{number}.jpg")

    with _folder(fill) as folder:
        out = folder / "out"
        run = Watched("batch", str(folder / "in"), str(out), *FAST, "--workers=2", results=out, every=2)
    print("| pictures done | own MiB of each process |")
    print("| --- | --- |")
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        count, sizes = next(sample for sample in run.samples if sample[0] >= share * SMALL)
        print(f"| {count} | {', '.join(f'{size:.0f}' for size in sizes)} |")
    print(f"\n{run.summary}")


def listing() -> None:
    """Print how long it takes to list many keys of a bucket, and how much memory this adds."""
    from multiprocessing.connection import Connection

    here, there = multiprocessing.Pipe()

    def serve(there: Connection) -> None:
        from moto.s3.models import s3_backends
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        store = s3_backends["123456789012"]["aws"]
        store.create_bucket("scans", "us-east-1")
        for number in range(KEYS):
            store.put_object("scans", f"in/{number // 1000:04}/{number:06}.jpg", b"")
        there.send(server.get_host_and_port())
        there.recv()

    server = multiprocessing.get_context("fork").Process(target=serve, args=(there,), daemon=True)
    server.start()
    host, port = here.recv()
    import os

    os.environ.update(AWS_ENDPOINT_URL=f"http://{host}:{port}", AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1")
    os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    from facemend.batch.names import tasks
    from facemend.batch.places import open_place

    process, start = psutil.Process(), time.perf_counter()
    place = open_place("s3://scans/in")
    keys = tasks(place.list(), ("_compare",))
    next(keys)
    before = process.memory_info().rss
    count = 1 + sum(1 for _ in keys)
    grown = (process.memory_info().rss - before) / MIB
    print(f"{count} keys in {time.perf_counter() - start:.0f} s; memory grew by {grown:.1f} MiB")
    here.send(None)


PARTS = {"rates": rates, "memory": memory, "listing": listing}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    for part in options.parts or PARTS:
        print(f"\n{part}\n", flush=True)
        PARTS[part]()
