import subprocess
import sys

import pytest

from facemend import heap

# Page faults while a block beyond glibc's limit for the heap is taken, written and given back, again
COUNT = """
import resource, sys, torch
from facemend import heap
if sys.argv[1] == "keep":
    assert heap.keep()
def fill(): torch.ones(16 * 2**20)
for _ in range(30):  # at first, what else is allocated meanwhile gets in the way
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is Linux's")
def test_a_large_block_is_used_again():
    def faults(way):
        out = subprocess.run([sys.executable, "-c", COUNT, way], capture_output=True, text=True, check=True)
        return int(out.stdout)

    assert faults("keep") < faults("leave") / 10


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert heap.keep.__wrapped__() is False


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    assert heap.keep.__wrapped__() is False
