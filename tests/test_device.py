import psutil
import pytest
import torch

from facemend.device import WORKING_MEMORY, choose, out_of_memory
from facemend.errors import OptionError


def test_auto_on_a_cpu_is_float32():
    device = choose("cpu", "auto", "fp16")
    assert device.place.type == "cpu"
    assert device.dtype == torch.float32


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "auto", "the .*device|device is 'gpu'.*auto, cpu"),
        ("cuda:99", "auto", "cuda:99"),
        ("cpu", "fp64", "one of auto, fp32, bf16, fp16"),
        ("cpu", "fp16", "fp32 or bf16 on a CPU"),
    ],
)
def test_what_is_not_there_is_a_clear_error(device, precision, message):
    with pytest.raises(OptionError, match=message):
        choose(device, precision, "fp16")


def test_networks_and_pictures_lie_channels_last():
    device = choose("cpu", "bf16", "bf16")
    net = device.put(torch.nn.Conv2d(3, 8, 3))
    assert net.weight.dtype == torch.bfloat16
    assert net.weight.is_contiguous(memory_format=torch.channels_last)


def test_memory_is_bounded_even_where_much_is_free(monkeypatch):
    device = choose("cpu", "fp32", "fp32")
    assert not device.fits(WORKING_MEMORY + 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    assert device.fits(500)
    assert not device.fits(501)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("allocate memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error, expected):
    assert out_of_memory(error) is expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_computes_what_the_cpu_computes():
    from facemend.nets.realesrgan import SRVGGNetCompact

    net = SRVGGNetCompact(num_conv=2).eval()
    picture = torch.rand(1, 32, 32, 3).numpy()
    outs = []
    for name in ("cpu", "cuda"):
        device = choose(name, "fp32", "fp32")
        outs.append(device.compute("net", device.put(net), device.tensor(picture)).cpu())
    torch.testing.assert_close(*outs, rtol=1e-3, atol=1e-3)
