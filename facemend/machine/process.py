"""Settings of the whole process, made by one call of the program that runs networks.

A library call changes none of them. The command line and the container call `startup`; so may any program of yours.
"""

import ctypes
import gc
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facemend.machine import cgroup

# Of mallopt(3), from glibc's malloc.h. By default glibc takes each block of more than 32 MiB from the system and gives
# it back when it is freed. The system clears every page of it at the first touch, which takes a third of the time of a
# convolution at 512 px. With these values freed blocks stay in the heap and the next layer uses them again.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
MALLOC_OPTIONS = {
    MMAP_MAX: 0,  # blocks of every size come from the heap
    TRIM_THRESHOLD: 512 * 2**20,  # free bytes kept at its end; with half as many, CodeFormer is slower
    ARENA_MAX: 1,  # no heap of its own for each new thread: those hold no large blocks, and keep what they free
}


SPINS = "1000"  # rounds of a waiting thread before it sleeps; GNU's OpenMP has 300000. Measured by bench/threads.py


@contextmanager
def startup(temp_folder: Path | None = None) -> Iterator[None]:
    """Set this process up for networks; import `facemend.pipeline` and load them inside the `with` block.

    - glibc's allocator keeps up to 512 MiB of freed memory. Threads that ran before have heaps of their own; a server
      with many threads sets the environment variable MALLOC_ARENA_MAX=1 too.
    - PyTorch uses no more threads than the container's CPU quota. Its threads do not spin for long while they wait,
      unless PyTorch was imported before or the environment variable GOMP_SPINCOUNT or OMP_WAIT_POLICY says otherwise.
    - The garbage collector does not scan what the block imports and loads, neither now nor later: PyTorch starts and
      ends in half the time.
    - Temporary files go to `temp_folder`, if given.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        if temp_folder:
            tempfile.tempdir = str(temp_folder)
        keep_freed_memory()
        limit_spinning()
        limit_threads()
        yield
    finally:
        if enabled:
            gc.enable()
        gc.freeze()


def keep_freed_memory() -> bool:
    """Let glibc's allocator keep freed memory; return False, and change nothing, with another C library."""
    mallopt = _of_libc("mallopt")
    return mallopt is not None and all(mallopt(option, value) for option, value in MALLOC_OPTIONS.items())


def give_back_memory() -> None:
    """Return freed memory to the system, wherever in the heap it lies; only glibc can."""
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def limit_spinning() -> None:
    """Let threads of GNU's OpenMP sleep soon when they wait, if PyTorch is not imported yet.

    By default they spin for milliseconds. On a busy machine they then take the processor from those they wait for.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def limit_threads() -> None:
    """Let PyTorch use no more threads than this process may use processors."""
    import torch  # takes most of a second, which programs that only change the allocator need not wait for

    processors = cgroup.processors()
    if torch.get_num_threads() > processors:
        torch.set_num_threads(math.ceil(processors))
