"""The C library's heap, told to keep what the networks give back for their next layer.

glibc takes a block of more than 32 MiB from the system each time, and returns it when it is freed. The system hands
it out as empty pages, at the first touch of each: of a convolution at 512 px, a third of the time goes into that.

Threads that ran before have heaps of their own already; a server with many sets MALLOC_ARENA_MAX=1 from the start.
"""

import ctypes
import functools
import sys

# Of mallopt(3), from glibc's malloc.h
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
OPTIONS = {
    MMAP_MAX: 0,  # blocks of every size come from the heap
    TRIM_THRESHOLD: 512 * 2**20,  # bytes free at its end that it keeps; with half as many, CodeFormer is slower
    ARENA_MAX: 1,  # no more heaps for more threads: they cannot hold large blocks, and each would keep its own
}


@functools.cache
def keep() -> bool:
    """Set this up for the process, once; not with another C library than glibc, whose ways are its own.

    Returns:
        Whether it was set up.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(option, value) for option, value in OPTIONS.items())


def give_back() -> None:
    """Return what is free to the system, wherever it lies: after something far larger than the networks' layers."""
    if keep():
        ctypes.CDLL(None).malloc_trim(0)
