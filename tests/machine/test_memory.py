import cv2
import numpy as np
import psutil
import pytest
import torch

from facemend.machine import memory


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (2**40, memory.WORKING),
        (2000, 896),
        (2046, 896),
        (2048, 1024),
        (2500, 1024),
        (2560, 1280),
        (10, 5),
        (2, 1),
        (0, 1),
    ],
)
def test_working_memory_is_half_of_the_free_memory_within_bounds(monkeypatch, available, expected):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": available}))
    assert memory.working(torch.device("cpu")) == expected


@pytest.fixture
def gpu(monkeypatch):
    """A GPU with 1000 free bytes, and the cache of PyTorch: 800 of it; of another GPU and of a CUDA graph the rest."""
    segments = [
        {"device": device, "segment_pool_id": pool, "total_size": total, "allocated_size": allocated}
        for device, pool, total, allocated in ((1, (0, 0), 1500, 700), (0, (0, 0), 9000, 0), (1, (0, 3), 9000, 0))
    ]
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (1000, 9999))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: segments)


def test_working_memory_of_a_gpu_is_most_of_the_free_memory_with_the_general_cache_of_pytorch(gpu):
    assert memory.working(torch.device("cuda:1")) == 1280  # below 3/4 of 1800


def test_working_memory_of_a_gpu_with_the_allocator_of_cuda(gpu, monkeypatch):
    """That allocator has no snapshot."""
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "cudaMallocAsync")
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: pytest.fail("raises with this allocator"))
    monkeypatch.setattr(torch.cuda, "memory_reserved", {torch.device("cuda:1"): 2500}.get)
    monkeypatch.setattr(torch.cuda, "memory_allocated", {torch.device("cuda:1"): 1400}.get)
    assert memory.working(torch.device("cuda:1")) == 1536  # below 3/4 of 2100


def error_of_opencv(size):
    with pytest.raises(cv2.error) as caught:
        cv2.resize(np.zeros((2, 2), np.uint8), size)
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("Invalid buffer size: 20.00 GiB"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("allocate memory"), False),
        (error_of_opencv((2**24, 2**24)), True),
        (error_of_opencv((0, 0)), False),
    ],
)
def test_out_of_memory_errors_are_distinguished_from_others(error, expected):
    assert memory.exhausted(error) is expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_cached_by_pytorch_on_a_gpu_counts_as_free():
    place = torch.device("cuda", torch.cuda.current_device())
    before = memory.working(place)
    torch.empty(2**28, dtype=torch.uint8, device=place)
    assert memory.working(place) == before
