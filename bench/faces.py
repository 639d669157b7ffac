"""Seconds for one 512 px face: `python -m bench.faces`, from the repository's root.

The weights are drawn from a fixed formula: what a convolution costs does not depend on their values. Each network runs
once to warm up, then five times; the median counts.
"""

import statistics
import time

import numpy as np
import torch

from facemend.device import choose
from facemend.restore import NetRestorer
from tests.nets.reference import load

NETS = ("gfpgan_1.4", "codeformer", "restoreformer")
RUNS = 5


def seconds(restorer: NetRestorer, face: np.ndarray) -> float:
    """Median wall-clock seconds for one face, from uint8 to uint8."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        restorer([face])
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Print the table row by row."""
    face = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {choose('auto', 'fp32', 'fp32').place}\n")
    print("| net | fp32 | bf16 |")
    print("| --- | --- | --- |")
    for name in NETS:
        times = [
            seconds(NetRestorer(name, load(name), choose("auto", kind, "fp32")), face) for kind in ("fp32", "bf16")
        ]
        print(f"| {name} | {times[0]:.2f} s | {times[1]:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
