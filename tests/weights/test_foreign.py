"""Upscalers of architectures that only spandrel knows. spandrel needs torchvision, so most tests have a stand-in."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from facemend.errors import WeightsError
from facemend.loader import Loader
from tests.pictures import smooth

PICTURE = smooth(30, 40)


class Enlarged(nn.Module):
    """Repeats each px twice and subtracts from white, in evaluation mode; it has one channel less in training mode."""

    def __init__(self):
        super().__init__()
        self.white = nn.Parameter(torch.ones(()))

    def forward(self, x):
        assert not self.training
        return self.white - x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Descriptor(SimpleNamespace):
    """What spandrel returns: a network, and what it needs."""

    def __call__(self, x):
        assert x.shape[:2] == (1, self.input_channels)
        return self.model(x)


def described(**changed):
    values = {
        "model": Enlarged(),
        "purpose": "SR",
        "scale": 2,
        "input_channels": 3,
        "output_channels": 3,
        "tiling": "supported",
        "supports_half": True,
        "supports_bfloat16": True,
    }
    return Descriptor(**{**values, **changed})


@pytest.fixture
def path(tmp_path):
    torch.save({"state_dict": {"strange.weight": torch.zeros(3)}}, tmp_path / "strange.pth")
    return tmp_path / "strange.pth"


@pytest.fixture
def stand_in(monkeypatch):
    """Installs a stand-in for spandrel that finds what the function is given, or raises it."""

    def install(found):
        module = ModuleType("spandrel")

        class ModelLoader:
            def __init__(self, device):
                assert device == "cpu"

            def load_from_state_dict(self, state):
                assert list(state) == ["strange.weight"]
                if isinstance(found, Exception):
                    raise found
                return found

        module.ModelLoader = ModelLoader
        module.canonicalize_state_dict = lambda state: state
        module.ModelTiling = SimpleNamespace(SUPPORTED="supported")
        monkeypatch.setitem(sys.modules, "spandrel", module)

    return install


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_spandrel_builds_enlarges(stand_in, path, channels, caplog):
    stand_in(described(input_channels=channels, output_channels=channels))
    upscaler = Loader("cpu", "fp32").upscaler(path)
    assert (upscaler.name, upscaler._tiling.scale) == ("strange", 2)
    expected = 255 - PICTURE.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(upscaler(PICTURE, (60, 80)), expected)
    assert not caplog.records


@pytest.mark.parametrize(
    ("half", "bfloat16", "dtype"),
    [(True, True, torch.bfloat16), (False, True, torch.bfloat16), (True, False, torch.float32)],
)
def test_the_precision_is_one_that_the_network_supports(stand_in, path, half, bfloat16, dtype):
    stand_in(described(supports_half=half, supports_bfloat16=bfloat16))
    assert Loader("cpu", "bf16").upscaler(path)._device.dtype == dtype


def test_a_network_that_is_not_made_for_tiles_is_said(stand_in, path, caplog):
    stand_in(described(tiling="discouraged"))
    Loader("cpu", "fp32").upscaler(path)
    assert "strange is not made for tiles" in caplog.text


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (ValueError("no such\nthing"), r"strange.pth does not hold .* that spandrel knows \(no such thing\)"),
        (described(purpose="FaceSR"), "does not enlarge pictures .*FaceSR"),
        (described(input_channels=4, output_channels=4), "4 to 4 channels"),
        (described(purpose="Inpainting"), "Inpainting"),
    ],
    ids=["unknown", "face", "alpha", "inpainting"],
)
def test_other_networks_are_refused_in_one_line(stand_in, path, found, message):
    stand_in(found)
    with pytest.raises(WeightsError, match=message) as caught:
        Loader("cpu", "fp32").upscaler(path)
    assert "\n" not in str(caught.value)


def test_without_spandrel_the_error_names_it(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(WeightsError, match=r"strange.pth.*without spandrel.*install .*\[spandrel\]"):
        Loader("cpu", "fp32").upscaler(path)


def test_a_spandrel_that_cannot_be_imported_is_one_line(monkeypatch, path, tmp_path):
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms\\ndoes not exist')")
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"cannot be imported \(RuntimeError: operator torchvision::nms does not"):
        Loader("cpu", "fp32").upscaler(path)


def test_the_real_spandrel_builds_and_enlarges(tmp_path):
    try:
        from spandrel.architectures.SPAN.__arch.span import SPAN
    except Exception as error:
        pytest.skip(f"spandrel cannot be imported: {error}")
    torch.save(SPAN(num_in_ch=3, num_out_ch=3, feature_channels=24, upscale=4).state_dict(), tmp_path / "span.pth")
    assert Loader("cpu", "fp32").upscaler(tmp_path / "span.pth")(PICTURE, (60, 80)).shape == (60, 80, 3)
