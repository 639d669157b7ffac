"""How much memory a network may use for one call, and whether an error says that memory ran out."""

import psutil
import torch

from facemend.machine import cgroup

WORKING = 2 * 2**30  # bytes at most for one call on a CPU; more is not faster
# Parts of the messages of RuntimeErrors: of PyTorch on a CPU, of CUDA, of cuDNN and cuBLAS, and of PyTorch if the
# memory is too small for every algorithm of cuDNN.
OUT_OF_MEMORY_TEXTS = ("allocate memory", "out of memory", "ALLOC_FAILED", "unable to find an engine")


def working(place: torch.device) -> int:
    """Return the bytes that one call may use at its peak: half of the free memory, on a CPU at most `WORKING`.

    The number is a power of two, so small changes of the free memory do not change how a picture is divided into tiles.
    """
    if place.type == "cuda":
        return power_of_two((torch.cuda.mem_get_info(place)[0] + _reserved_unused(place)) // 2)
    return min(WORKING, power_of_two(min(psutil.virtual_memory().available, cgroup.free_memory()) // 2))


def _reserved_unused(place: torch.device) -> int:
    """Return the bytes of a GPU that PyTorch has reserved and does not use. CUDA graphs' private pools do not count."""
    index = torch.cuda.current_device() if place.index is None else place.index
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        if segment["device"] == index and segment["segment_pool_id"] == (0, 0)
    )


def power_of_two(count: int) -> int:
    """Return the largest power of two that is not above `count`, at least 1."""
    return 1 << max(count.bit_length() - 1, 0)


def exhausted(error: BaseException) -> bool:
    """Return whether an exception says that the device has too little memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)
    )
