"""A network on a device: the call that every stage makes."""

import copy
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from facemend.errors import NonFiniteError
from facemend.machine import memory
from facemend.machine.captured import Captured
from facemend.machine.device import Device

log = logging.getLogger(__name__)

SETTINGS = threading.RLock()  # held while the settings of convolutions, which the whole process shares, are changed


class Network:
    """A network on a device, in the device's precision, and in float32 where that is not enough.

    Args:
        name: the model's name.
        net: (N, C, H, W) and keyword arguments -> a tensor, in float32 on the CPU. It may be moved. The children that
            it names in `float32_parts` stay in float32.
        device: where and in which precision it runs.
        fixed_size: whether its inputs always have one height and width. A GPU then measures which algorithms are
            fastest, and replays a recording.
    """

    def __init__(self, name: str, net: nn.Module, device: Device, *, fixed_size: bool = False) -> None:
        self.name = name
        self.device = device
        self._fixed_size = fixed_size
        self._is_half = device.dtype != torch.float32
        self._original = net
        with memory.limited(name, device.place):
            moved = _move(_copy(net) if self._is_half else net, device.place, device.dtype)
        first = next(moved.parameters(), None)
        self._input_dtype = device.dtype if first is None else first.dtype
        self._net = Captured(moved) if fixed_size and device.place.type == "cuda" else moved
        self._exact: nn.Module | None = None  # the network in float32, once it is needed
        self._lock = threading.Lock()
        self._has_warned = False

    def __call__(self, x: Tensor, *, exact: bool = False, **arguments: Any) -> Tensor:
        """Compute in half precision if that is the device's, and once more in float32 if that overflows.

        Args:
            x: (N, C, H, W) float32 on the device.
            exact: whether to compute in float32 at once. Half precision has 8 bits (bfloat16) or 11.
            arguments: of the network's `forward`. Tensors, alone or in a list, are moved to the device.

        Returns:
            float32, on the device.

        Raises:
            NonFiniteError: the result has NaN or infinity, in float32 too.
            RuntimeError: of PyTorch; `memory.exhausted` tells whether the device has too little memory.
        """
        out = self.unchecked(x, exact=exact, **arguments)
        if is_finite(out):
            return out
        if self._is_half and not exact:
            self.warn_of_overflow()
            out = self.unchecked(x, exact=True, **arguments)
            if is_finite(out):
                return out
        raise NonFiniteError(self.name)

    def unchecked(self, x: Tensor, *, exact: bool = False, **arguments: Any) -> Tensor:
        """As a call, but return NaN and infinity too. On a GPU, the call returns before the result is computed."""
        exact = exact and self._is_half
        net, dtype = (self._in_float32(), torch.float32) if exact else (self._net, self._input_dtype)
        arguments = {name: _converted(value, self.device.place, dtype) for name, value in arguments.items()}
        tf32 = self.device.tf32 and not exact
        with torch.inference_mode(), convolutions(self.device.place, tf32=tf32, benchmark=self._fixed_size):
            out: Tensor = net(x.to(dtype), **arguments)
            return out.float()

    def warn_of_overflow(self) -> None:
        """Log once that half precision is not enough for this network."""
        if not self._has_warned:
            self._has_warned = True
            dtype = str(self.device.dtype).removeprefix("torch.")
            log.warning("%s overflows in %s; where it does, it is computed again in float32", self.name, dtype)

    def _in_float32(self) -> nn.Module:
        with self._lock:
            if self._exact is None:
                self._exact = _move(self._original, self.device.place, torch.float32)
            return self._exact


def is_finite(x: Tensor) -> Tensor:
    """Return whether all values are finite, on the device of `x`; one that is not makes the sum not finite."""
    return x.sum().isfinite()


def _copy(net: nn.Module) -> nn.Module:
    """A copy that may be moved. Until then it has the same memory, so nothing of a mapped file is read."""
    parameters = {id(one): nn.Parameter(one.detach(), one.requires_grad) for one in net.parameters()}
    return copy.deepcopy(net, parameters | {id(one): one.detach() for one in net.buffers()})


def _move(net: nn.Module, place: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a network in place, to the memory format in which convolutions are fast."""
    layout: Any = {"memory_format": torch.channels_last}  # missing from the type stubs
    float32_parts: Sequence[str] = getattr(net, "float32_parts", ())
    if not float32_parts:
        return net.to(place, dtype, **layout)
    for name, part in net.named_children():
        part.to(place, None if name in float32_parts else dtype, **layout)
    return net.to(place)


def _converted(value: Any, place: torch.device, dtype: torch.dtype) -> Any:
    """An argument of a network with its tensors in this place and dtype."""
    if isinstance(value, list):
        return [_converted(one, place, dtype) for one in value]
    return value.to(place, dtype) if isinstance(value, Tensor) else value


@contextmanager
def convolutions(place: torch.device, *, tf32: bool, benchmark: bool) -> Iterator[None]:
    """Set how a GPU computes the convolutions inside. PyTorch has these settings once for the process.

    So one thread at a time starts the operations of a network. The GPU computes them one after the other in any case.

    Args:
        place: where they are computed; only for a GPU anything is set.
        tf32: whether float32 may be rounded to TensorFloat-32.
        benchmark: whether the algorithms for an input's shape are timed when the shape is first seen.
    """
    if place.type != "cuda":
        yield
        return
    flags: Any = torch.backends.cudnn
    with SETTINGS:
        # PyTorch's newer name of the setting. Where it was used, reading the older one raises an error.
        owner, name, values = (
            (flags.conv, "fp32_precision", ("ieee", "tf32"))
            if hasattr(flags, "conv")
            else (flags, "allow_tf32", (False, True))
        )
        before = getattr(owner, name), flags.benchmark
        is_other = before[0] != values[tf32]  # once it is set, it does not follow PyTorch's setting for all operations
        if is_other:
            setattr(owner, name, values[tf32])
        flags.benchmark = benchmark
        try:
            yield
        finally:
            if is_other:
                setattr(owner, name, before[0])
            flags.benchmark = before[1]
