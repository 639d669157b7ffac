import importlib.metadata
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from facemend import compiled as module
from facemend import device, models
from facemend.compiled import Compiled, compiled, kept_path
from facemend.device import Device
from facemend.models import MODELS
from facemend.nets.realesrgan import RRDBNet
from facemend.pipeline import Loader
from tests.pictures import smooth

CPU = Device(torch.device("cpu"), torch.bfloat16)


def network(seed=0):
    torch.manual_seed(seed)
    return RRDBNet(num_block=1, scale=2).eval().requires_grad_(False)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_computes_what_the_network_computes_in_any_size(tmp_path):
    net = network()
    fast = compiled(net, tmp_path / "net-0123456789abcdef")
    for height, width in ((32, 48), (40, 40), (32, 48), (64, 24)):
        x = torch.rand(1, 3, height, width)
        assert relative(fast(x), net(x)) < 0.03


def test_a_picture_comes_out_the_same_alone_and_in_a_batch(tmp_path):
    fast = compiled(network(), tmp_path / "net-0123456789abcdef")
    batch = torch.rand(3, 3, 32, 32).to(memory_format=torch.channels_last)
    together = fast(batch)
    for index, x in enumerate(batch):
        assert torch.equal(fast(x[None])[0], together[index])


def test_a_result_is_not_written_over_by_the_next_call(tmp_path):
    fast = compiled(network(), tmp_path / "net-0123456789abcdef")
    first = fast(torch.rand(1, 3, 32, 32))
    before = first.clone()
    fast(torch.rand(1, 3, 32, 32))
    assert torch.equal(first, before)


def test_files_are_made_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="facemend")
    compiled(network(), tmp_path / "net-0123456789abcdef")
    assert "preparing net" in caplog.text
    assert "prepared net in" in caplog.text
    caplog.clear()
    compiled(network(), tmp_path / "net-0123456789abcdef")
    assert not caplog.text


def test_files_of_other_weights_give_way(tmp_path):
    for key in ("0" * 16, "1" * 16):
        compiled(network(), tmp_path / f"net-{key}")
    compiled(network(), tmp_path / f"net-other-{'2' * 16}")
    there = {path.stem for path in tmp_path.iterdir()}
    assert there == {f"net-{'1' * 16}", f"net-other-{'2' * 16}"}


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_damaged_files_are_made_again(tmp_path, caplog, suffix):
    net, kept = network(), tmp_path / "net-0123456789abcdef"
    compiled(net, kept)
    file = tmp_path / f"{kept.name}{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    x = torch.rand(1, 3, 32, 32)
    assert relative(compiled(net, kept)(x), net(x)) < 0.03
    assert "damaged" in caplog.text


def test_where_nothing_can_be_kept_pytorch_runs_the_network(locked, caplog):
    net = network()
    assert compiled(net, locked / "cache" / "net-0123456789abcdef") is net
    assert "cannot be written" in caplog.text


def test_what_openvino_gets_wrong_pytorch_runs(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "DEVIATION", 1e-9)
    net = network()
    assert compiled(net, tmp_path / "net-0123456789abcdef") is net
    assert "% off" in caplog.text
    assert not list(tmp_path.glob("*.xml"))


@pytest.mark.parametrize("step", ["_converted", "_deviation", "Compiled"])
def test_what_openvino_cannot_take_pytorch_runs(tmp_path, monkeypatch, caplog, step):
    def fail(*given):
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(module, step, fail)
    net = network()
    assert compiled(net, tmp_path / "net-0123456789abcdef") is net
    assert "OpenVINO cannot take it (RuntimeError: no such operation)" in caplog.text
    assert not list(tmp_path.glob("*.xml"))


def test_a_broken_openvino_is_done_without(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    net = network()
    assert compiled(net, tmp_path / "net-0123456789abcdef") is net
    assert "OpenVINO does not load (ModuleNotFoundError" in caplog.text


def test_only_a_few_sizes_stay_compiled(tmp_path):
    fast = compiled(network(), tmp_path / "net-0123456789abcdef")
    for side in (16, 24, 32, 40):
        fast(torch.rand(1, 3, side, side))
    assert len(fast._requests) == module.KEPT_SIZES


def test_another_version_or_other_weights_have_other_files(monkeypatch):
    before = kept_path("net", "a")
    assert before != kept_path("net", "b")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0")
    assert before != kept_path("net", "a")


def test_a_device_takes_it_as_it_is_and_turns_to_the_network_where_it_overflows(tmp_path, monkeypatch):
    net = network()
    fast = CPU.put(compiled(net, tmp_path / "net-0123456789abcdef"))
    assert isinstance(fast, Compiled)
    x = torch.rand(1, 3, 32, 32)
    assert relative(CPU.compute("net", fast, x), net(x)) < 0.03
    monkeypatch.setattr(fast, "_one", lambda *_: torch.full((1, 3, 64, 64), torch.inf))
    assert torch.equal(CPU.compute("net", fast, x), net(x))


def test_the_loader_compiles_what_the_table_says(tmp_path, monkeypatch):
    net = network()
    file = tmp_path / "own.pth"
    torch.save(net.state_dict(), file)
    row = replace(MODELS["realesrgan-x2plus"], arguments={"num_block": 1, "scale": 2})
    monkeypatch.setattr(models, "MODELS", {**MODELS, row.name: row})
    monkeypatch.setattr(device, "bf16_in_hardware", lambda: True)
    pixels = smooth(60, 50)
    fast = Loader(weights={row.name: file}).upscaler(row.name)
    exact = Loader(weights={row.name: file}, precision="fp32").upscaler(row.name)
    assert isinstance(fast._net, Compiled)
    assert not isinstance(exact._net, Compiled)
    difference = fast(pixels, (120, 100)).astype(float) - exact(pixels, (120, 100))
    assert np.abs(difference).max() <= 3  # levels
