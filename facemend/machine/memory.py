"""How much memory a network may use for one call, and whether an error says that memory ran out."""

import psutil
import torch

from facemend.machine import cgroup

WORKING = 2 * 2**30  # bytes for one call on a CPU; more is not faster
# Parts of the messages of RuntimeErrors: of PyTorch on a CPU, of CUDA, of cuDNN and cuBLAS, and of PyTorch when no
# algorithm of cuDNN fits into memory.
TOO_LITTLE = ("allocate memory", "out of memory", "ALLOC_FAILED", "unable to find an engine")


def working(place: torch.device) -> int:
    """Bytes one call may need at its peak: half of the free memory, on a CPU at most `WORKING`.

    The number is a power of two, so that small changes of the free memory do not change the tiles of a picture.
    """
    if place.type == "cuda":
        return power_of_two((torch.cuda.mem_get_info(place)[0] + _reserved(place)) // 2)
    return min(WORKING, power_of_two(min(psutil.virtual_memory().available, cgroup.free_memory()) // 2))


def _reserved(place: torch.device) -> int:
    """Bytes that PyTorch has reserved on a GPU and does not use, without the private pools of recordings."""
    index = torch.cuda.current_device() if place.index is None else place.index
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        if segment["device"] == index and segment["segment_pool_id"] == (0, 0)
    )


def power_of_two(count: int) -> int:
    """The largest power of two up to `count`, at least 1."""
    return 1 << max(count.bit_length() - 1, 0)


def exhausted(error: BaseException) -> bool:
    """Whether an exception says that the device's memory was too small."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in TOO_LITTLE)
    )
