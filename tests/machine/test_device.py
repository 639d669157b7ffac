from dataclasses import replace

import numpy as np
import pytest
import torch

from facemend.errors import OptionError
from facemend.machine import device
from facemend.machine.device import choose
from facemend.nets.codeformer import CodeFormer


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


def test_float32_parts_stay_in_float32():
    net = CodeFormer()
    choose("cpu", "bf16", "bf16").put(net)
    dtypes = {name: parameter.dtype for name, parameter in net.named_parameters()}
    assert {dtypes[name] for name in dtypes if name.split(".")[0] in net.float32_parts} == {torch.float32}
    assert {dtypes[name] for name in dtypes if name.split(".")[0] not in net.float32_parts} == {torch.bfloat16}
    assert dtypes["position_emb"] == torch.float32


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "auto", "the .*device|device is 'gpu'.*auto, cpu"),
        ("cuda:99", "auto", "cuda:99"),
        ("cpu", "fp64", "one of auto, fp32, bf16, fp16"),
        ("cpu", "fp16", "fp32 or bf16 on a CPU"),
    ],
)
def test_unavailable_devices_and_precisions_are_refused(device, precision, message):
    with pytest.raises(OptionError, match=message):
        choose(device, precision, "fp16")


def test_networks_are_stored_channels_last():
    chosen = choose("cpu", "bf16", "bf16")
    net = chosen.put(torch.nn.Conv2d(3, 8, 3))
    assert net.weight.dtype == torch.bfloat16
    assert net.weight.is_contiguous(memory_format=torch.channels_last)


def test_requested_float32_disables_tf32_during_the_computation_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []

    class Looking(torch.nn.Module):
        def forward(self, x):
            seen.append(torch.backends.cudnn.allow_tf32)
            return x

    for precision in ("fp32", "auto"):
        chosen = replace(choose("cuda", precision, "fp32"), place=torch.device("cpu"))
        chosen.compute("net", Looking(), torch.zeros(1))
        assert torch.backends.cudnn.allow_tf32, "the setting of the process is restored"
    assert seen == [False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_and_cpu_agree():
    from facemend.nets.realesrgan import SRVGGNetCompact

    net = SRVGGNetCompact(num_conv=2).eval()
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    outs = []
    for name in ("cpu", "cuda"):
        chosen = choose(name, "fp32", "fp32")
        out = chosen.compute("net", chosen.put(net), chosen.tensor(picture) / 255)
        outs.append(chosen.pixels(out, np.uint8).astype(int))
    assert np.abs(outs[0] - outs[1]).max() <= 1
