"""How long threads should spin while they wait for work: `python -m bench.threads`, from the repository.

PyTorch's threads wait for each other many times in a network. A thread that spins starts at once when it gets work,
but on a busy machine it takes the processor from the thread that it waits for. Each setting restores the same pictures,
on a quiet machine and beside as many busy processes as there are processors. The settings take turns.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "old.jpg"
PICTURES = 6
RUNS = 5
SPINS = ("300000", "100000", "10000", "1000", "0")  # GOMP_SPINCOUNT; the first is the default of GNU's OpenMP
BUSY = [sys.executable, "-c", "while True: pass"]


def restore(folder: Path, spins: str) -> tuple[float, float]:
    """Restore the pictures; return the wall-clock seconds and those of processor time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "facemend", "restore", str(folder / "in"), "-o", str(folder / "out"), "--force"]
    command += ["--model", "lite", "--upscaler", "lite"]
    environment = {**os.environ, "GOMP_SPINCOUNT": spins}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| GOMP_SPINCOUNT | quiet: seconds, processor seconds | busy: seconds, processor seconds |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number in range(PICTURES):
            shutil.copy(EXAMPLE, folder / "in" / f"{number}.jpg")
        times: dict[tuple[str, bool], list[tuple[float, float]]] = {}
        for busy in (False, True):
            beside = [subprocess.Popen(BUSY) for _ in range(busy * (os.cpu_count() or 1))]
            for _ in range(RUNS):
                for spins in SPINS:
                    times.setdefault((spins, busy), []).append(restore(folder, spins))
            for process in beside:
                process.kill()
                process.wait()
    for spins in SPINS:
        cells = []
        for busy in (False, True):
            wall, used = (statistics.median(column) for column in zip(*times[spins, busy], strict=True))
            cells.append(f"{wall:.2f}, {used:.2f}")
        print(f"| {spins} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
