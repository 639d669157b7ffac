"""Limits of containers are read from the cgroup files of Linux."""

import math
import sys

import psutil
import pytest
import torch

from facemend.machine import cgroup, memory, process

VERSION_2 = "0::/app/worker\n"
VERSION_1 = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes cgroup files: it takes the content of /proc/self/cgroup and the other files."""

    def build(own, **files):
        monkeypatch.setattr(cgroup, "ROOT", tmp_path / "cgroup")
        monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "own")
        if own is not None:
            cgroup.MEMBERSHIP.write_text(own)
        for name, text in files.items():
            path = cgroup.ROOT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return build


def version_2(folder, limit, usage, cached):
    stat = f"anon 5\nfile 9\ninactive_file {cached}\nactive_file 3\n"
    return {f"{folder}memory.max": limit, f"{folder}memory.current": usage, f"{folder}memory.stat": stat}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (None, {}, sys.maxsize),  # not Linux
        (VERSION_2, {}, sys.maxsize),
        (VERSION_2, version_2("app/worker/", "max\n", "700\n", 0), sys.maxsize),
        (VERSION_2, version_2("app/worker/", "1000\n", "700\n", 200), 500),
        (VERSION_2, version_2("app/worker/", "1000\n", "1001\n", 0), 0),
        (VERSION_2, version_2("app/worker/", "1000", "1", 0) | version_2("app/", "1200", "900", 0), 300),
        ("0::/\n", version_2("", "1000", "400", 0), 600),  # seen from inside a container
        ("0::/../other\n", version_2("", "1000", "400", 0) | version_2("../other/", "10", "1", 0), 600),
        ("0::/a:b\n", version_2("a:b/", "1000", "400", 0), 600),
        ("3:memory2:/a\n", {"a/memory.max": "1000", "a/memory.current": "400"}, sys.maxsize),
        (VERSION_2, {"memory.max": "1000", "memory.current": "400"}, 600),  # without memory.stat
    ],
)
def test_free_memory_is_that_of_the_lowest_limit(machine, own, files, expected):
    machine(own, **files)
    assert cgroup.free_memory() == expected


@pytest.mark.parametrize("folder", ["memory/docker/abc/", "memory/"])
def test_free_memory_with_cgroup_version_1(machine, folder):
    stat = "inactive_file 7\ntotal_inactive_file 300\n"
    files = {"memory.limit_in_bytes": "1000\n", "memory.usage_in_bytes": "900\n", "memory.stat": stat}
    machine(VERSION_1, **{folder + name: text for name, text in files.items()})
    assert cgroup.free_memory() == 400


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (None, {}, math.inf),
        (VERSION_2, {"app/worker/cpu.max": "max 100000\n"}, math.inf),
        (VERSION_2, {"app/worker/cpu.max": "150000 100000\n"}, 1.5),
        (VERSION_2, {"app/worker/cpu.max": "400000 100000\n", "app/cpu.max": "50000 100000\n"}, 0.5),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        (VERSION_1, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    ],
)
def test_processors_is_the_lowest_cpu_quota(machine, own, files, expected):
    machine(own, **files)
    assert cgroup.processors() == expected


def test_an_unreadable_limit_is_ignored(machine):
    machine("0::/\n")
    (cgroup.ROOT / "memory.max").mkdir(parents=True)
    (cgroup.ROOT / "cpu.max").mkdir()
    assert (cgroup.free_memory(), cgroup.processors()) == (sys.maxsize, math.inf)


def test_working_memory_respects_the_limit_of_the_container(machine, monkeypatch):
    machine("0::/\n", **version_2("", str(5 * 2**20), str(2**20), 0))
    assert psutil.virtual_memory().available > 4 * 2**20
    assert memory.working(torch.device("cpu")) == 2 * 2**20


@pytest.mark.parametrize(
    ("quota", "threads"), [("50000 100000", 1), ("120000 100000", 2), ("400000 100000", 3), ("max 100000", 3)]
)
def test_limit_threads_respects_the_cpu_quota(machine, quota, threads):
    machine("0::/\n", **{"cpu.max": quota})
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        process.limit_threads()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
