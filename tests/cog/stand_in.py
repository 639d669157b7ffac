"""The predictor with test doubles of the networks, so that tests of the server need no weights."""

import time

import numpy as np
import torch

import predict
from facemend.machine import memory
from facemend.machine.device import choose
from facemend.records import Tiling
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import NetUpscaler
from tests.pictures import TILING, Repeat

COLOURS = {"gfpgan-v1.4": (200, 30, 30), "gfpgan-v1.3": (30, 30, 200)}  # RGB that each model fills faces with
TILE_SECONDS = 0.25  # realesrnet-x4plus sleeps this long for each tile
SMALL_TILES = Tiling(
    scale=4, step=4, bytes_per_pixel=memory.WORKING // 360**2
)  # several tiles for each picture of the tests
BROKEN = "first line\nsecond line"


def painter(name):
    def paint(crops, fidelity):
        return [np.full_like(crop, COLOURS[name]) for crop in crops]

    paint.__name__ = name
    return FunctionRestorer(paint)


def broken(crops, fidelity):
    """Fails on every picture except the black one of the health check."""
    if any(crop.any() for crop in crops):
        raise ZeroDivisionError(BROKEN)
    return crops


class Slow(Repeat):
    def forward(self, x):
        time.sleep(TILE_SECONDS)
        return super().forward(x)


class Predictor(predict.Predictor):
    def setup(self):
        super().setup()
        torch.set_num_threads(1)
        cpu = choose("cpu", "fp32", "fp32")
        self.models.restorers |= {name: painter(name) for name in COLOURS}
        self.models.restorers["restoreformer"] = FunctionRestorer(broken)
        self.models.upscalers["realesrgan-x4plus"] = NetUpscaler("realesrgan-x4plus", Repeat(), cpu, TILING)
        self.models.upscalers["realesrnet-x4plus"] = NetUpscaler("realesrnet-x4plus", Slow(), cpu, SMALL_TILES)
