"""Where networks run and in which precision; chosen when a network is loaded."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facemend.errors import OptionError, listed
from facemend.records import Floats, Pixels, peak

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}  # the highest first
GPU = re.compile(r"cuda(:\d+)?|mps")  # names of devices that this machine may not have
PINNED = 16 * 2**20  # bytes at most of one copy from a GPU through pinned memory, which the system cannot swap out


@dataclass(frozen=True)
class Device:
    """A torch device and the precision networks run in on it.

    Attributes:
        place: the torch device; a GPU with its index, as the current GPU differs between threads.
        dtype: of the networks' parameters.
        tf32: whether a GPU may round float32 convolutions to TensorFloat-32, which has the 10 bits of float16.
    """

    place: torch.device
    dtype: torch.dtype
    tf32: bool = False

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
        # uint8 is a quarter of the bytes to copy. PyTorch does not have uint16 on every device.
        rounded = rounded.to(torch.uint8 if white == 255 else torch.int32).contiguous()
        if self.place.type == "cuda":
            rounded = _through_pinned_memory(rounded)
        pixels: Pixels = rounded.cpu().numpy().astype(dtype, copy=False)
        return pixels


def _through_pinned_memory(x: Tensor) -> Tensor:
    """Copy a tensor from a GPU to the host, in parts. PyTorch keeps the pinned block and uses it for the next part."""
    host = torch.empty(x.shape, dtype=x.dtype, device="cpu")
    parts = (torch.split(tensor.view(-1), PINNED // x.itemsize) for tensor in (x, host))
    for source, target in zip(*parts, strict=True):
        target.copy_(torch.empty_like(target, pin_memory=True).copy_(source))
    return host


def choose(device: str, precision: str, safe_precision: str) -> Device:
    """The device and precision for one network.

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto" (half precision where the hardware computes in it, else float32), "fp32", "bf16" or "fp16".
            With "auto", convolutions that stay in float32 may use TensorFloat-32 on a GPU.
        safe_precision: the lowest precision that the network is safe in. It is used if a lower one is asked for.

    Raises:
        OptionError: there is no such device, or it cannot compute in that precision.
    """
    place = _torch_device(device)
    if precision not in ("auto", *PRECISIONS):
        raise OptionError("precision", precision, ("auto", *PRECISIONS))
    if precision == "fp16" and place.type == "cpu":
        raise OptionError("precision", precision, "fp32 or bf16 on a CPU")
    wanted = _fastest(place) if precision == "auto" else precision
    chosen = min(wanted, safe_precision, key=tuple(PRECISIONS).index)
    emulated = chosen == "bf16" and not _has_bf16(place)
    if emulated and precision != "bf16":  # slower than float32, so only where it is asked for
        chosen = "fp32"
    return Device(place, PRECISIONS[chosen], tf32=precision == "auto")


def _fastest(place: torch.device) -> str:
    """The precision in which the hardware is fastest."""
    if place.type == "cuda":
        return "fp16"
    return "bf16" if _has_bf16(place) else "fp32"


def _has_bf16(place: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16; PyTorch emulates it elsewhere, more slowly than float32."""
    if place.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(place) >= (8, 0)
    return place.type == "cpu" and bf16_in_hardware()


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
        if isinstance(name, str) and GPU.fullmatch(name):
            remedy = f"use {listed(('auto', *available))}"
            raise OptionError.but("device", name, "PyTorch finds no such device here", remedy)
        raise OptionError("device", name, ("auto", *available))
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)
