"""What a container leaves this process of memory and processors: Linux control groups, versions 1 and 2.

Neither the system's count of free memory nor PyTorch's count of processors knows of these limits: a process that takes
more memory is killed, one with more threads than processor time stands still for most of each tenth of a second.
Files: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")  # which groups this process is in


def free_memory() -> int:
    """Bytes until the narrowest limit, counting cached files as free; `sys.maxsize` without a limit."""
    free = [sys.maxsize]
    for folder in _groups("memory"):
        for limit, usage, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            words = _words(folder / limit)
            if words and words != ["max"]:
                counts = _words(folder / "memory.stat")
                kept = dict(zip(counts[::2], counts[1::2], strict=True)).get(cached, "0")
                free.append(int(words[0]) - int(_words(folder / usage)[0]) + int(kept))
    return max(min(free), 0)


def processors() -> float:
    """How many processors' time this process may use, 0.5 being half of one; infinite without a limit."""
    shares = [math.inf]
    for folder in _groups("cpu"):
        words = _words(folder / "cpu.max") or [
            word for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for word in _words(folder / name)
        ]
        if words and words[0] not in ("max", "-1"):
            shares.append(int(words[0]) / int(words[1]))
    return min(shares)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the groups this process is in, innermost first; inside a container some may not be there."""
    for line in OWN.read_text().splitlines() if OWN.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = ROOT / controller  # version 1
        elif not controllers:
            root = ROOT  # version 2
        else:
            continue
        names = Path(path.lstrip("/"))
        yield from (root / folder for folder in (names, *names.parents) if ".." not in folder.parts)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # not there, or not ours to read: then no limit is known
        return []
