"""Where networks run and in which precision; chosen when a network is loaded."""

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facemend.errors import NonFiniteError, OptionError
from facemend.machine.captured import Captured
from facemend.records import Floats, Pixels, peak

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A torch device and the precision networks run in on it.

    Attributes:
        place: the torch device.
        dtype: of the networks' parameters.
        tf32: whether a GPU may round float32 convolutions to TensorFloat-32, which has the 10 bits of float16.
    """

    place: torch.device
    dtype: torch.dtype
    tf32: bool = False

    def put(self, net: nn.Module, *, fixed_size: bool = False) -> nn.Module:
        """Move a network here, in the memory format in which convolutions are fast.

        The children that the network names in `float32_parts` stay in float32.

        Args:
            net: the network.
            fixed_size: whether its inputs always have one height and width; a GPU then replays a recording.
        """
        self._move(net)
        return Captured(net) if fixed_size and self.place.type == "cuda" else net

    def _move(self, net: nn.Module) -> None:
        memory: Any = {"memory_format": torch.channels_last}  # missing from the type stubs
        float32_parts: Sequence[str] = getattr(net, "float32_parts", ())
        if not float32_parts:
            net.to(self.place, self.dtype, **memory)
            return
        for name, part in net.named_children():
            part.to(self.place, None if name in float32_parts else self.dtype, **memory)
        net.to(self.place)

    def tensor(self, images: Pixels | Floats) -> Tensor:
        """(N, H, W, 3) -> (N, 3, H, W) on this device, float32 of the same values, channels last in memory."""
        host = torch.from_numpy(images if images.dtype == np.uint8 else images.astype(np.float32, copy=False))
        if self.place.type == "cuda":
            host = host.pin_memory()  # pinned memory allows an asynchronous copy
        return host.to(self.place, non_blocking=host.is_pinned()).permute(0, 3, 1, 2).float()

    def faces(self, crops: Sequence[Pixels]) -> Tensor:
        """N crops (S, S, 3) uint8 or uint16 -> (N, 3, S, S) float32 in [-1, 1], the range of every face network."""
        return self.tensor(np.stack(crops)) * (2 / peak(crops[0])) - 1

    def pixels(self, images: Tensor, dtype: npt.DTypeLike) -> Pixels:
        """(N, 3, H, W), black 0 and white 1 -> (N, H, W, 3) of `dtype` in host memory, clamped and rounded."""
        white = np.iinfo(np.dtype(dtype)).max
        rounded = images.mul(white).round_().clamp_(0, white).permute(0, 2, 3, 1)
        if white == 255:
            rounded = rounded.to(torch.uint8)  # a quarter of the bytes to copy
        rounded = rounded.contiguous()
        if self.place.type == "cuda":  # a copy to pinned memory is faster
            rounded = torch.empty_like(rounded, device="cpu", pin_memory=True).copy_(rounded)
        pixels: Pixels = rounded.cpu().numpy().astype(dtype, copy=False)
        return pixels

    def compute(self, name: str, net: nn.Module, x: Tensor, **arguments: Any) -> Tensor:
        """Run a network on (N, 3, H, W) float32; once more in float32 if half precision overflowed.

        Returns:
            float32, on this device.

        Raises:
            NonFiniteError: the result has NaN or infinity, in float32 too.
            RuntimeError: PyTorch's own; `memory.exhausted` tells whether the device had too little memory.
        """
        dtype = next((parameter.dtype for parameter in net.parameters()), self.dtype)  # of the first layer
        with torch.inference_mode(), allow_tf32(self.tf32):
            out: Tensor = net(x.to(dtype), **arguments).float()
            if _finite(out):
                return out
            if self.dtype != torch.float32:
                plain = net.net if isinstance(net, Captured) else net
                out = copy.deepcopy(plain).float()(x, **arguments)
                if _finite(out):
                    return out
            raise NonFiniteError(name)


@contextmanager
def allow_tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TensorFloat-32 in the convolutions inside. PyTorch has one flag for the process."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _finite(x: Tensor) -> bool:
    """Whether all values are finite; one that is not makes the sum not finite."""
    return bool(x.sum().isfinite())


def choose(device: str, precision: str, safe_precision: str) -> Device:
    """The device and precision for one network.

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto" (half precision where the hardware computes in it, else float32), "fp32", "bf16" or "fp16".
            With "auto", convolutions that stay in float32 may use TensorFloat-32 on a GPU.
        safe_precision: the lowest precision the network is safe in.

    Raises:
        OptionError: there is no such device, or it cannot compute in that precision.
    """
    place = _torch_device(device)
    if precision not in ("auto", *PRECISIONS):
        raise OptionError("precision", precision, ("auto", *PRECISIONS))
    requested = _lowest(place, safe_precision) if precision == "auto" else precision
    if precision == "fp16" and place.type == "cpu":
        raise OptionError("precision", precision, "fp32 or bf16 on a CPU")
    return Device(place, PRECISIONS[requested], tf32=precision == "auto")


def _lowest(place: torch.device, safe_precision: str) -> str:
    """The lowest precision that the network is safe in and the hardware is fast in."""
    if place.type == "cuda" and (safe_precision != "bf16" or _gpu_has_bf16(place)):
        return safe_precision
    if place.type == "cpu" and safe_precision != "fp32" and bf16_in_hardware():
        return "bf16"
    return "fp32"


def _gpu_has_bf16(place: torch.device) -> bool:
    """Whether this GPU has instructions for bfloat16; PyTorch says yes of older ones too, where it emulates them."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(place) >= (8, 0)


@functools.cache
def bf16_in_hardware() -> bool:
    """Whether this processor has instructions for bfloat16; without them it is slower than float32."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older versions of PyTorch
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def _torch_device(name: str) -> torch.device:
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        name = next((gpu for gpu in ("cuda", "mps") if gpu in available), "cpu")
    if name not in available:
        raise OptionError("device", name, ("auto", *available))
    return torch.device(name)
