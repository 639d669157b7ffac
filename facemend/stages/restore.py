"""Restore aligned faces: with a network, or with a function of the caller's."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from facemend.errors import FacemendError, MemoryLimitError
from facemend.machine import memory
from facemend.machine.device import Device
from facemend.records import Pixels, Progress, converted, peak, to_dtype

BATCH = 8  # faces at once on a GPU, at most; fewer go in batches of 4, 2 and 1: see `Captured`
BATCHES = {"cpu": 1}  # elsewhere: one by one is as fast there, and a face comes out the same alone and among others
SAMPLE = 1_000_000  # px looked at, evenly spread, to tell whether a picture is grey
GREY_VARIANCE = 10.0  # of the difference between two channels, 8-bit levels squared: at most, in a grey picture

RestorerFunction = Callable[..., list[Pixels]]  # (crops, fidelity=...) -> as many, (512, 512, 3) uint8 RGB


class FunctionRestorer:
    """Restores with a function of the caller's.

    Args:
        function: called with a list of (512, 512, 3) uint8 RGB crops and `fidelity=`; returns a list of the same.
    """

    face_size = 512  # px

    def __init__(self, function: RestorerFunction) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def __call__(
        self,
        crops: Sequence[Pixels],
        *,
        fidelity: float = 0.5,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> list[Pixels]:
        """Restore faces.

        Raises:
            FacemendError: the function returned something else than as many faces of the same size.
        """
        restored = self._function([converted(crop, np.uint8) for crop in crops], fidelity=fidelity)
        count = len(restored) if isinstance(restored, (Sequence, np.ndarray)) else type(restored).__name__
        if count != len(crops):
            raise FacemendError(f"the restorer {self.name} returned {count} faces for {len(crops)}")
        for face, crop in zip(restored, crops, strict=True):
            if not isinstance(face, np.ndarray) or face.shape != crop.shape or face.dtype != np.uint8:
                got = f"{face.shape} {face.dtype}" if isinstance(face, np.ndarray) else type(face).__name__
                raise FacemendError(f"the restorer {self.name} returned {got}: return {crop.shape} uint8 RGB")
        if progress:
            progress(len(crops), len(crops))
        return [converted(face, crop.dtype) for face, crop in zip(restored, crops, strict=True)]


class NetRestorer:
    """Restores with a network.

    Args:
        name: the model's name.
        net: (N, 3, 512, 512) RGB in [-1, 1] -> the same. If its forward takes `w`, it gets the fidelity; if it takes
            `noise`, it gets what its method `draw_noise(generator)` draws, where a seed is given.
        device: where it runs.
        face_size: side of the crops it takes, in px.
    """

    def __init__(self, name: str, net: nn.Module, device: Device, face_size: int = 512) -> None:
        self.name = name
        self.face_size = face_size
        self._net = device.put(net, fixed_size=True)
        self._options = inspect.signature(net.forward).parameters
        self._draw_noise: Any = getattr(net, "draw_noise", None)
        self._device = device

    def __call__(
        self,
        crops: Sequence[Pixels],
        *,
        fidelity: float = 0.5,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> list[Pixels]:
        """Restore faces.

        Args:
            crops: (512, 512, 3) RGB each, uint8 or uint16.
            fidelity: CodeFormer's w: 0 looks best, 1 is most like the input. Other nets have no such choice.
            seed: draws GFPGAN's noise anew; None uses the noise stored with the weights. Others add no noise.
            progress: told the faces done and their total.

        Returns:
            As many faces, of the same size and dtype.

        Raises:
            NonFiniteError: the network's answer is not a picture.
            MemoryLimitError: one face does not fit into the device's memory.
        """
        restored: list[Pixels] = []
        batch = BATCHES.get(self._device.place.type, BATCH)
        while len(restored) < len(crops):
            batch = memory.power_of_two(min(batch, len(crops) - len(restored)))
            part = crops[len(restored) : len(restored) + batch]
            try:
                restored += self._batch(part, fidelity, seed)
            except Exception as error:
                if not memory.exhausted(error):
                    raise
                if batch == 1:
                    raise MemoryLimitError(
                        f"{self.name} does not fit into the memory of {self._device.place}: "
                        "close other programs, or use --device cpu"
                    ) from error
                batch //= 2
                continue
            if progress:
                progress(len(restored), len(crops))
        return restored

    def _batch(self, crops: Sequence[Pixels], fidelity: float, seed: int | None) -> list[Pixels]:
        x = self._device.faces(crops)
        arguments: dict[str, Any] = {}
        if "w" in self._options:
            arguments["w"] = fidelity
        if "noise" in self._options and seed is not None:
            # One set of maps for all faces: a face comes out the same alone and among others.
            arguments["noise"] = self._draw_noise(torch.Generator().manual_seed(seed))
        out = self._device.compute(self.name, self._net, x, **arguments)
        return list(self._device.pixels((out + 1) / 2, crops[0].dtype))


def colourless(pixels: Pixels) -> bool:
    """Whether (H, W, 3) is a grey picture, up to JPEG's noise and an even tint."""
    step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLE))
    sample = pixels[::step, ::step].astype(np.float32) * (255 / peak(pixels))
    return float((sample - np.roll(sample, 1, axis=2)).var(axis=(0, 1)).mean()) <= GREY_VARIANCE


def in_grey(face: Pixels, crop: Pixels) -> Pixels:
    """A restored face without colour of its own, with the mean and spread of each channel of the crop it came from.

    So the face of a grey picture comes back grey and that of a sepia picture in sepia, as bright as it was.
    """
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    mean, spread = crop.mean(axis=(0, 1)), crop.std(axis=(0, 1))
    spread_now = max(float(grey.std()), 1e-3)
    return to_dtype((grey - grey.mean()) * (spread / spread_now) + mean, face.dtype)
