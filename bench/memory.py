"""Peak memory of an upscaler by the shape of the picture: `python -m bench.memory`, from the repository.

Each shape is enlarged twice in a process of its own, by a network that needs almost no memory. So what is counted are
the picture, the result and what the tiles need between them.
"""

import argparse
import resource
import subprocess
import sys

import numpy as np
import torch
from torch import Tensor, nn

from facemend.machine.device import choose
from facemend.records import Tiling
from facemend.stages.upscale import NetUpscaler

SHAPES = ((4000, 4000), (1000, 16000), (250, 64000), (1000, 100000), (100000, 1000))  # height, width in px
SCALE = 2


class Repeat(nn.Module):
    """Repeats every px."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H * SCALE, W * SCALE)."""
        return x.repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3)


def peak(height: int, width: int) -> int:
    """Return the MB that enlarging one picture adds to the memory of this process at its peak."""
    torch.set_num_threads(1)
    upscaler = NetUpscaler("repeat", Repeat(), choose("cpu", "fp32", "fp32"), Tiling(SCALE, 4, bytes_per_pixel=1_000))
    upscaler(np.zeros((64, 64, 3), np.uint8), (128, 128))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    upscaler(np.zeros((height, width, 3), np.uint8), (height * SCALE, width * SCALE))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000


def main() -> None:
    """Print a table, or the peak of the one shape that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="print the peak for a picture of this size only"
    )
    options = parser.parse_args()
    if options.shape:
        print(peak(*options.shape))
        return
    print(f"| picture | MB at the peak | of which the result | MB for each input MP |\n{'| --- ' * 4}|")
    for height, width in SHAPES:
        child = [sys.executable, "-m", "bench.memory", "--shape", str(height), str(width)]
        used = int(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
        result = 3 * height * width * SCALE**2 // 10**6
        row = (f"{width} x {height} px", f"{used}", f"{result}", f"{used * 1e6 / height / width:.0f}")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
