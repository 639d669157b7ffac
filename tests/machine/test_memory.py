import psutil
import pytest
import torch

from facemend.machine import memory


@pytest.mark.parametrize(
    ("available", "expected"), [(2**40, memory.WORKING), (2000, 512), (2048, 1024), (2049, 1024), (2, 1), (0, 1)]
)
def test_working_memory_is_half_of_the_free_memory_within_bounds(monkeypatch, available, expected):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": available}))
    assert memory.working(torch.device("cpu")) == expected


@pytest.mark.parametrize("place", ["cuda", "cuda:1"])
def test_working_memory_of_a_gpu_includes_the_general_cache_of_pytorch(monkeypatch, place):
    """Half of 1000 + (1500 - 700); memory of another GPU or of a CUDA graph does not count."""
    segments = [
        {"device": device, "segment_pool_id": pool, "total_size": total, "allocated_size": allocated}
        for device, pool, total, allocated in ((1, (0, 0), 1500, 700), (0, (0, 0), 9000, 0), (1, (0, 3), 9000, 0))
    ]
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (1000, 9999))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: segments)
    assert memory.working(torch.device(place)) == 512


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("allocate memory"), False),
    ],
)
def test_out_of_memory_errors_are_distinguished_from_others(error, expected):
    assert memory.exhausted(error) is expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_cached_by_pytorch_on_a_gpu_counts_as_free():
    place = torch.device("cuda")
    before = memory.working(place)
    torch.empty(2**28, dtype=torch.uint8, device=place)
    assert memory.working(place) == before
