"""How much memory a network may use for one call, whether an error says that it ran out, and what users are told."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import psutil
import torch

from facemend.errors import MemoryLimitError, Remedy
from facemend.machine import cgroup

WORKING = 2 * 2**30  # bytes at most for one call on a CPU; more is not faster
# Parts of the messages of RuntimeErrors: of PyTorch on a CPU, of CUDA, of cuDNN and cuBLAS, of PyTorch if the memory is
# too small for every algorithm of cuDNN, and of Apple's GPUs; and of errors of OpenCV.
OUT_OF_MEMORY_TEXTS = (
    "allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine",
    "Invalid buffer size",
    "Insufficient memory",
)


def working(place: torch.device) -> int:
    """Return the bytes that one call may use at its peak: 3/4 of a GPU's free memory, else 1/2 and at most `WORKING`.

    The number has three significant bits or fewer, so small changes of the free memory do not change how a picture is
    divided into tiles.
    """
    if place.type == "cuda":
        return _rounded_down((torch.cuda.mem_get_info(place)[0] + _reserved_unused(place)) * 3 // 4)
    return min(WORKING, _rounded_down(min(psutil.virtual_memory().available, cgroup.free_memory()) // 2))


def _rounded_down(count: int) -> int:
    """Keep the first three bits of a number."""
    step = power_of_two(count // 4)
    return max(count // step * step, 1)


def _reserved_unused(place: torch.device) -> int:
    """Return the bytes of a GPU that PyTorch has reserved and does not use. CUDA graphs' private pools do not count."""
    if torch.cuda.get_allocator_backend() != "native":  # CUDA's own allocator has no list of blocks
        return torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        if segment["device"] == place.index and segment["segment_pool_id"] == (0, 0)
    )


def power_of_two(count: int) -> int:
    """Return the largest power of two that is not above `count`, at least 1."""
    return 1 << max(count.bit_length() - 1, 0)


def does_not_fit(what: str, place: torch.device, *remedies: Remedy, parts: str = "") -> MemoryLimitError:
    """The error for networks that do not fit into the memory of a device.

    Args:
        what: the networks.
        place: the device.
        remedies: what else may be done.
        parts: in which parts of the work they do not fit, such as "tiles of 64 px".
    """
    problem = f"{what} does not fit into the memory of {place}{f' in {parts}' if parts else ''}"
    elsewhere = [] if place.type == "cpu" else [Remedy("use {} cpu", "device")]
    return MemoryLimitError(problem, "close other programs", *remedies, *elsewhere)


@contextmanager
def limited(what: str, place: torch.device, *remedies: Remedy, parts: str = "") -> Iterator[None]:
    """Raise `does_not_fit` of these arguments where the work in the block runs out of memory."""
    try:
        yield
    except Exception as error:
        if not exhausted(error):
            raise
        raise does_not_fit(what, place, *remedies, parts=parts) from error


@contextmanager
def enough() -> Iterator[None]:
    """Raise MemoryLimitError where the block, or the function, runs out of memory outside of the networks."""
    try:
        yield
    except Exception as error:
        if not exhausted(error):
            raise
        remedies = "close other programs", Remedy("lower {}", "scale"), "use a smaller picture"
        raise MemoryLimitError("there is not enough memory for this picture", *remedies) from error


def exhausted(error: BaseException) -> bool:
    """Return whether an exception says that the device has too little memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, (RuntimeError, cv2.error)) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)
    )
