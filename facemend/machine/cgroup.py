"""Memory and processor limits of the container this process runs in: Linux control groups, versions 1 and 2.

The system's free memory and PyTorch's number of processors do not include these limits. A process that exceeds the
memory limit is killed. A process with more threads than its processor limit is paused for most of each 0.1 s.
Files: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")  # lists the groups that this process is in


def free_memory() -> int:
    """Return the bytes this process may still use, a huge number without a limit. Cached files count as free."""
    free = [sys.maxsize]
    for folder in _group_folders("memory"):
        for limit_file, usage_file, cache_field in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = _fields(folder / limit_file), _fields(folder / usage_file)
            if limit and usage and limit != ["max"]:
                counts = _fields(folder / "memory.stat")
                cached = dict(zip(counts[::2], counts[1::2], strict=True)).get(cache_field, "0")
                free.append(int(limit[0]) - int(usage[0]) + int(cached))
    return max(min(free), 0)


def processors() -> float:
    """Return how many processors this process may use, or infinity without a limit; 0.5 is half of one's time."""
    limits = [math.inf]
    for folder in _group_folders("cpu"):
        quota_and_period = _fields(folder / "cpu.max") or [
            field for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for field in _fields(folder / name)
        ]
        if quota_and_period and quota_and_period[0] not in ("max", "-1"):
            limits.append(int(quota_and_period[0]) / int(quota_and_period[1]))
    return min(limits)


def _group_folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups, innermost first. Inside a container, some may not exist."""
    for line in MEMBERSHIP.read_text().splitlines() if MEMBERSHIP.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = ROOT / controller  # version 1
        elif not controllers:
            root = ROOT  # version 2
        else:
            continue
        group = Path(path.lstrip("/"))
        yield from (root / folder for folder in (group, *group.parents) if ".." not in folder.parts)


def _fields(file: Path) -> list[str]:
    """Return the fields of a file, which white space separates; none if it does not exist or cannot be read."""
    try:
        return file.read_text().split()
    except OSError:
        return []
