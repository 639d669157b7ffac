"""The networks that stay loaded from one execution to the next. A node of ComfyUI holds no state, so they are here."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from comfy import model_management
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP

from facemend.loader import Loader, best, files
from facemend.pipeline import Pipeline
from facemend.weights.models import Task

from . import models

ROOM = 2 * 2**30  # bytes that ComfyUI makes free: networks take up to 0.7 GB, and tiles are cut to fit the rest


class Facemend(torch.nn.Module):
    """Stands for all networks in ComfyUI's list of loaded models; ComfyUI shows the name of the class."""


class Networks:
    """Networks by task and name, each loaded once, on ComfyUI's device.

    ComfyUI has a list of loaded models. It unloads them when the user asks for that or another model needs the memory.
    One entry there stands for all networks: when ComfyUI unloads it, they are dropped.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # ComfyUI may call `_unloaded` while it makes room in `pipeline`
        self._stages: dict[tuple[str, str, tuple[Path | None, ...]], tuple[str, Any]] = {}  # with the file's version
        self._entry: Any = None

    def pipeline(self, restorer: str, upscaler: str) -> Pipeline:
        """Combine networks, and load those that are not loaded.

        Args:
            restorer: a name, the path of a file, or "none".
            upscaler: a name, the path of a file, or "lanczos".

        Raises:
            WeightsError: a file is missing, wrong or unreadable.
        """
        with self._lock:
            self._follow(model_management.get_torch_device())
            model_management.load_models_gpu([self._entry], memory_required=ROOM)
            loader = Loader(_spelled(self._entry.load_device))
            return Pipeline(
                detector=self._stage("detector", best("detector"), loader.detector),
                restorer=self._stage("restorer", restorer, loader.restorer),
                upscaler=self._stage("upscaler", upscaler, loader.upscaler),
                parser=self._stage("parser", best("parser"), loader.parser),
            )

    def _stage(self, task: Task, name: str, load: Callable[[str], Any]) -> Any:
        key, version = (task, name, files(task, name)), models.version(name)
        if key not in self._stages or self._stages[key][0] != version:
            self._stages[key] = version, load(name)
        return self._stages[key][1]

    def _follow(self, device: torch.device) -> None:
        """Start anew where ComfyUI's device is another one than before."""
        if self._entry is None or self._entry.load_device != device:
            self._stages.clear()
            self._entry = ModelPatcher(Facemend(), load_device=device, offload_device=torch.device("cpu"))
            self._entry.add_callback(CallbacksMP.ON_DETACH, self._unloaded)

    def _unloaded(self, entry: object, unpatch_all: bool) -> None:
        if unpatch_all:  # it is False where ComfyUI only moves the entry to the front of its list
            with self._lock:
                self._stages.clear()


def _spelled(device: torch.device) -> str:
    """The name that facemend has for a device of ComfyUI's. Where it has none, networks run on the CPU."""
    return str(device) if device.type in ("cuda", "mps") else "cpu"


NETWORKS = Networks()
