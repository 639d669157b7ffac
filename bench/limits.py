"""How many operations the networks need, and how many per second this machine can do."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from facemend.weights.models import MODELS

INPUTS = {  # work of `bench.compare` -> its network, px of the square input
    "gfpgan": ("gfpgan-v1.4", 512),
    "codeformer": ("codeformer", 512),
    "restoreformer": ("restoreformer", 512),
    "x4plus": ("realesrgan-x4plus", 256),
    "x2plus": ("realesrgan-x2plus", 256),
    "general": ("realesr-general-x4v3", 256),
    "swinir": ("swinir-m-x4", 128),
}
CHANNELS, SIDE = 256, 128  # of the convolution that is timed
ROWS = 4096  # of the square matrices that are timed


def achieved(seconds: Mapping[str, float]) -> list[str]:
    """Return a table of the operations of each network, as implemented here, and the operations per second.

    Args:
        seconds: the time of each work of `bench.compare`.
    """
    lines = ["| network | input | TFLOP | TFLOP/s |", "| --- | --- | --- | --- |"]
    for work, (name, side) in INPUTS.items():
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            MODELS[name].net().requires_grad_(False)(torch.empty(1, 3, side, side))
        count = counter.get_total_flops() / 1e12
        lines.append(f"| {name} | {side}x{side} | {count:.3f} | {count / seconds[work]:.2f} |")
    return lines


def rates() -> list[str]:
    """Return a table of the operations per second of a large convolution and a large matrix product."""
    lines = [f"| precision | 3x3 convolution, {CHANNELS} channels, {SIDE}x{SIDE} | matrices {ROWS}x{ROWS} |"]
    lines += ["| --- | --- | --- |"]
    for dtype in (torch.bfloat16, torch.float32):
        x = torch.randn(1, CHANNELS, SIDE, SIDE, dtype=dtype).to(memory_format=torch.channels_last)
        conv = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, dtype=dtype).to(memory_format=torch.channels_last)
        matrix = torch.randn(ROWS, ROWS, dtype=dtype)
        of_conv = 2 * 9 * CHANNELS**2 * SIDE**2 / median(lambda x=x, conv=conv: conv(x))
        of_matrix = 2 * ROWS**3 / median(lambda matrix=matrix: matrix @ matrix)
        name = str(dtype).removeprefix("torch.")
        lines.append(f"| {name} | {of_conv / 1e12:.2f} TFLOP/s | {of_matrix / 1e12:.2f} TFLOP/s |")
    return lines


def median(call: Callable[[], object], runs: int = 10) -> float:
    """Return the median seconds of several calls, after one to warm up."""
    times = []
    with torch.inference_mode():
        for _ in range(runs + 1):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
