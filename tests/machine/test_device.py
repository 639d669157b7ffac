import numpy as np
import pytest
import torch

from facemend.errors import OptionError
from facemend.machine import device
from facemend.machine.device import choose
from facemend.machine.network import Network


@pytest.mark.parametrize(
    ("in_hardware", "half", "dtype"),
    [
        (True, "fp16", torch.bfloat16),
        (True, "bf16", torch.bfloat16),
        (True, "fp32", torch.float32),
        (False, "fp16", torch.float32),
    ],
)
def test_auto_on_a_cpu_is_bfloat16_where_the_hardware_and_network_allow_it(monkeypatch, in_hardware, half, dtype):
    monkeypatch.setattr(device, "bf16_in_hardware", lambda: in_hardware)
    chosen = choose("cpu", "auto", half)
    assert chosen.place.type == "cpu"
    assert chosen.dtype == dtype


@pytest.mark.parametrize(("generation", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_auto_is_float32_on_gpus_that_only_emulate_bfloat16(monkeypatch, generation, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", {torch.device("cuda:1"): generation}.get)
    assert choose("cuda:1", "auto", "bf16").dtype == dtype
    assert choose("cuda:1", "auto", "fp16").dtype == torch.float16


def test_bfloat16_support_is_read_from_the_cpu_capabilities(monkeypatch):
    for capabilities, expected in (({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert device.bf16_in_hardware.__wrapped__() is expected


@pytest.mark.parametrize(
    ("asked", "safe", "generation", "expected"),
    [
        ("fp16", "fp16", (7, 5), torch.float16),
        ("fp16", "bf16", (7, 5), torch.float32),
        ("fp16", "bf16", (8, 0), torch.bfloat16),
        ("fp16", "fp32", (8, 0), torch.float32),
        ("bf16", "fp16", (7, 5), torch.bfloat16),
        ("bf16", "fp32", (8, 0), torch.float32),
        ("fp32", "fp16", (8, 0), torch.float32),
    ],
)
def test_a_precision_that_a_network_is_not_safe_in_is_raised(monkeypatch, asked, safe, generation, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: generation)
    chosen = choose("cuda:0", asked, safe)
    assert (chosen.dtype, chosen.tf32) == (expected, False)
    assert choose("cuda:0", "auto", safe).tf32


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_gpu_without_an_index_is_the_current_one_of_the_thread_that_loads(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose(name, "fp32", "fp32").place == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "auto", "the .*device|device is 'gpu'.*auto, cpu"),
        ("cuda:99", "auto", "device is 'cuda:99', but PyTorch finds no such device here; use auto"),
        (0, "auto", "device is 0, but must be one of auto, cpu"),
        ("cpu", "fp64", "one of auto, fp32, bf16, fp16"),
        ("cpu", "fp16", "fp32 or bf16 on a CPU"),
    ],
)
def test_unavailable_devices_and_precisions_are_refused(device, precision, message):
    with pytest.raises(OptionError, match=message):
        choose(device, precision, "fp16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_agree():
    from facemend.nets.realesrgan import SRVGGNetCompact

    net = SRVGGNetCompact(num_conv=2).eval()
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    outs = []
    for name in ("cpu", "cuda"):
        chosen = choose(name, "fp32", "fp32")
        out = Network("net", net, chosen)(chosen.tensor(picture) / 255)
        outs.append(chosen.pixels(out, np.uint8).astype(int))
    assert np.abs(outs[0] - outs[1]).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_of_a_gpu_are_copied_in_parts(monkeypatch, dtype):
    monkeypatch.setattr(device, "PINNED", 1000)  # no whole number of rows
    images = torch.rand((2, 3, 37, 41), generator=torch.Generator().manual_seed(0))
    expected, out = (choose(name, "fp32", "fp32").pixels(images.to(name), dtype) for name in ("cpu", "cuda"))
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, expected)


def test_pixels_are_rounded_and_clamped():
    values = torch.tensor((-0.1, 0.4999, 0.501, 1.2)).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    pixels = choose("cpu", "fp32", "fp32").pixels(values, np.uint8)
    assert pixels[0, ..., 0].tolist() == [[0, 127], [128, 255]]
