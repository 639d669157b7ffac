"""Restore aligned faces: with a network, or with a function of the caller's."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from facemend.errors import FacemendError
from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import DEFAULT_SETTINGS, Pixels, Settings, StageProgress, converted
from facemend.stages.batches import in_batches

FIDELITY = "w"  # the argument of a network's forward that gets `Settings.fidelity`

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
        self, crops: Sequence[Pixels], settings: Settings = DEFAULT_SETTINGS, progress: StageProgress | None = None
    ) -> list[Pixels]:
        """As a `Restorer`."""
        copies = [np.array(converted(crop, np.uint8)) for crop in crops]  # which the function may write to
        restored = self._function(copies, fidelity=settings.fidelity)
        if not isinstance(restored, (Sequence, np.ndarray)):
            raise self._returned(type(restored).__name__)
        if len(restored) != len(crops):
            raise self._returned(f"{len(restored)} faces, not {len(crops)}")
        for face, crop in zip(restored, crops, strict=True):
            if not isinstance(face, np.ndarray):
                raise self._returned(f"a list with {type(face).__name__}")
            if face.shape != crop.shape or face.dtype != np.uint8:
                raise self._returned(f"a list with {face.shape} {face.dtype}")
        if progress:
            progress(len(crops), len(crops))
        return [converted(face, crop.dtype) for face, crop in zip(restored, crops, strict=True)]

    def _returned(self, what: str) -> FacemendError:
        side = self.face_size
        remedy = f"return a list with one ({side}, {side}, 3) uint8 array for each crop"
        return FacemendError(f"the restorer {self.name} returned {what}", remedy)


def takes_fidelity(net: nn.Module | type[nn.Module]) -> bool:
    """Whether `Settings.fidelity` changes what a network, or a class of networks, computes."""
    return FIDELITY in inspect.signature(net.forward).parameters


class NetRestorer:
    """Restores with a network.

    Args:
        name: the model's name.
        net: (N, 3, 512, 512) RGB in [-1, 1] -> the same. If its forward takes `w`, it gets `Settings.fidelity`. If it
            has a method `draw_noise(generator)` and there is a `Settings.seed`, it gets what that returns as `noise`.
        device: where it runs.
        face_size: side of the crops it takes, in px.
    """

    def __init__(self, name: str, net: nn.Module, device: Device, face_size: int = 512) -> None:
        self.name = name
        self.face_size = face_size
        self._network = Network(name, net, device, fixed_size=True)
        self._takes_fidelity = takes_fidelity(net)
        self._draw_noise: Any = getattr(net, "draw_noise", None)
        self._device = device

    def __call__(
        self, crops: Sequence[Pixels], settings: Settings = DEFAULT_SETTINGS, progress: StageProgress | None = None
    ) -> list[Pixels]:
        """As a `Restorer`."""
        restored: list[Pixels] = []
        for batch in in_batches(self.name, self._device.place, crops, lambda part: self._batch(part, settings)):
            restored += batch
            if progress:
                progress(len(restored), len(crops))
        return restored

    def _batch(self, crops: Sequence[Pixels], settings: Settings) -> list[Pixels]:
        arguments: dict[str, Any] = {}
        if self._takes_fidelity:
            arguments[FIDELITY] = settings.fidelity
        if self._draw_noise and settings.seed is not None:
            # All faces get the same maps, so a face comes out the same alone and among others.
            arguments["noise"] = self._draw_noise(torch.Generator().manual_seed(settings.seed))
        dtype = crops[0].dtype
        out = self._network(self._device.faces(crops), exact=dtype == np.uint16, **arguments)
        return list(self._device.pixels((out + 1) / 2, dtype))
