import os
import subprocess
import sys

import pytest

from facemend.machine import process

# Counts the page faults of a repeated allocation of a block that is larger than glibc's default limit for the heap
COUNT = """
import resource, sys, threading
import numpy as np
from facemend.machine import process
if sys.argv[1] == "keep":
    assert process.keep_freed_memory()
def fill(): np.ones(36 * 2**20, np.uint8)
def count():
    for _ in range(10):  # the first allocations also extend the heap
        fill()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fill()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
if sys.argv[2] == "thread":
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
else:
    count()
"""


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is Linux's")


@on_linux
@pytest.mark.parametrize("where", ["main", "thread"])
def test_keep_freed_memory_reuses_large_blocks(where):
    def faults(way):
        command = [sys.executable, "-c", COUNT, way, where]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < faults("leave") / 10


@on_linux
def test_give_back_memory_returns_free_blocks_inside_the_heap():
    """A free block that is not at the end of the heap, as a block in use follows it."""
    code = """
import numpy as np, psutil
from facemend.machine import process
process.keep_freed_memory()
large, small = np.ones(2**28, np.uint8), np.ones(2**18, np.uint8)
del large
held = psutil.Process().memory_info().rss
process.give_back_memory()
print(held - psutil.Process().memory_info().rss)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) > 2**27


@on_linux
@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, process.SPINS), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000")],
)
def test_waiting_threads_do_not_spin_for_long_unless_the_environment_says_so(monkeypatch, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    code = "from facemend.machine import process\nwith process.startup(): import torch"
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE", **given}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    if "GOMP_SPINCOUNT" not in ran.stderr:
        pytest.skip("this PyTorch has another OpenMP than GNU's")
    assert f"GOMP_SPINCOUNT = '{expected}'" in ran.stderr


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_keep_freed_memory_does_nothing_on_other_systems(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert process.keep_freed_memory() is False


def test_keep_freed_memory_does_nothing_with_other_c_libraries(monkeypatch):
    monkeypatch.setattr(process.ctypes, "CDLL", lambda name: object())
    assert process.keep_freed_memory() is False
