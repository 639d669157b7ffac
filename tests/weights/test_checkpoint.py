import dataclasses
import hashlib
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from facemend.errors import ChecksumError, MismatchError, NotInstalledError, WeightsError
from facemend.weights import blend, load
from facemend.weights.models import MODELS, lookup


class Tiny(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


@pytest.fixture
def tiny() -> dict[str, torch.Tensor]:
    """Random weights of a small network."""
    torch.manual_seed(0)
    return {
        key: torch.rand_like(value) if value.is_floating_point() else value
        for key, value in Tiny(4).state_dict().items()
    }


@pytest.fixture
def row(monkeypatch, tmp_path):
    """A registered model `tiny`, whose file would be in tmp_path."""
    row = dataclasses.replace(
        lookup("parsenet"), name="tiny", file="tiny.pth", architecture=f"{__name__}:Tiny", arguments={"width": 4}
    )
    monkeypatch.setitem(MODELS, "tiny", row)
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(tmp_path))
    return row


def same(network: nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    state = network.state_dict()
    return state.keys() == tensors.keys() and all(torch.equal(state[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"params": tensors},
        lambda tensors: {"params": {}, "params_ema": tensors},
        lambda tensors: {f"module.{key}": value for key, value in tensors.items()},
        lambda tensors: {"params_ema": {f"module.{key}": value for key, value in tensors.items()}, "step": 7},
    ],
    ids=["bare", "params", "params_ema first", "module.", "both"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_wrapper_keys_and_prefixes_are_removed(row, tiny, tmp_path, wrap, zipped):
    torch.save(wrap(tiny), tmp_path / "own.pth", _use_new_zipfile_serialization=zipped)
    assert same(load("tiny", tmp_path / "own.pth"), tiny)


def test_a_loaded_network_is_ready_to_run(row, tiny, tmp_path):
    torch.save(tiny, tmp_path / "own.pth")
    network = load("tiny", tmp_path / "own.pth")
    assert not network.training
    assert not any(tensor.requires_grad or tensor.is_meta for tensor in network.state_dict().values())
    reference = Tiny(4).eval()
    reference.load_state_dict(tiny)
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(picture), reference(picture))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_loaded_network_does_not_change_with_its_file(row, tiny, tmp_path, suffix):
    path = tmp_path / f"own{suffix}"
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(tiny, path)
    network = load("tiny", path)
    with path.open("r+b") as stream:  # as `cp` writes
        stream.write(bytes(path.stat().st_size))
    assert same(network, tiny)


@pytest.mark.parametrize("suffix", [".safetensors", ".SAFETENSORS"])
def test_safetensors_files_are_read(row, tiny, tmp_path, suffix):
    safetensors.torch.save_file(tiny, tmp_path / f"own{suffix}")
    assert same(load("tiny", tmp_path / f"own{suffix}"), tiny)


def test_float16_files_become_float32(row, tiny, tmp_path):
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in tiny.items()}, tmp_path / "own.pth"
    )
    network = load("tiny", tmp_path / "own.pth")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert torch.equal(network.conv.weight, tiny["conv.weight"].half().float())


def test_mismatch_error_lists_missing_and_unexpected_parameters(row, tiny, tmp_path):
    tiny["conv.weight"] = torch.zeros(5, 3, 3, 3)
    tiny["extra"] = tiny.pop("norm.bias")
    torch.save(tiny, tmp_path / "own.pth")
    with pytest.raises(MismatchError) as caught:
        load("tiny", tmp_path / "own.pth")
    assert caught.value.missing == ("conv.weight", "norm.bias")
    assert caught.value.unexpected == ("extra",)


def test_integer_parameters_are_refused(row, tiny, tmp_path):
    torch.save(tiny | {"conv.weight": tiny["conv.weight"].int()}, tmp_path / "own.pth")
    with pytest.raises(MismatchError, match="conv"):
        load("tiny", tmp_path / "own.pth")


class Code:
    def __reduce__(self):
        return os.mkdir, ("code-was-run",)


def damaged(kind: str, path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a file that is not a complete checkpoint."""
    if kind.startswith("half"):
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "half a zip")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "code":
        path.write_bytes(pickle.dumps(Code(), protocol=2))
    elif kind == "code in a zip":
        torch.save(tensors | {"code": Code()}, path)
    elif kind == "few bytes":  # 3 kB that would become 400 MB
        torch.save({"conv.weight": torch.zeros(1).expand(10**4, 10**4)}, path)
    elif kind == "shared bytes":
        both = torch.zeros(10**4)
        torch.save({"conv.weight": both, "conv.bias": both}, path)
    elif kind == "meta":
        torch.save({"conv.weight": torch.empty(4, 3, 3, 3, device="meta")}, path)
    elif kind == "no elements":
        torch.save({"conv.weight": torch.empty(4, 0)}, path)
    elif kind == "complex":
        torch.save({"conv.weight": torch.zeros(4, 3, 3, 3, dtype=torch.complex64)}, path)
    elif kind == "compressed":
        torch.save(tensors, path)
        with zipfile.ZipFile(path) as stored:
            content = {name: stored.read(name) for name in stored.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    elif kind == "script":
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 4, 4)), path)
    elif kind == "sparse":
        torch.save({"conv.weight": torch.eye(3).to_sparse()}, path)
    else:
        path.write_bytes({"text": b"<html>Not found</html>\n" * 99, "empty": b"", "noise": bytes(range(256)) * 9}[kind])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "kind",
    [
        "half a zip",
        "half a legacy file",
        "code",
        "code in a zip",
        "few bytes",
        "shared bytes",
        "meta",
        "no elements",
        "complex",
        "compressed",
        "script",
        "sparse",
        "text",
        "empty",
        "noise",
    ],
)
def test_other_and_damaged_files_are_an_error_of_one_line(row, tiny, tmp_path, monkeypatch, kind, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"own{suffix}"
    damaged(kind, path, tiny)
    with pytest.raises(WeightsError) as caught:
        load("tiny", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("code-was-run").exists()


@pytest.mark.parametrize("content", [[1, 2], {"conv.weight": 3}, {"params": {1: torch.zeros(1)}}, None])
def test_a_file_without_named_tensors_is_refused(row, tmp_path, content):
    torch.save(content, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match="named tensors"):
        load("tiny", tmp_path / "own.pth")


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_a_missing_file_is_an_error_with_its_name(row, tmp_path, name):
    with pytest.raises(WeightsError, match=name):
        load("tiny", tmp_path / name)


def test_an_installed_file_must_be_the_official_one(row, tiny, tmp_path, monkeypatch):
    with pytest.raises(NotInstalledError, match="facemend download tiny"):
        load("tiny")
    torch.save(tiny, tmp_path / "tiny.pth")
    with pytest.raises(ChecksumError):
        load("tiny")
    official = hashlib.sha256((tmp_path / "tiny.pth").read_bytes()).hexdigest()
    monkeypatch.setitem(MODELS, "tiny", dataclasses.replace(row, sha256=official))
    assert same(load("tiny"), tiny)


def test_blend_interpolates_between_two_networks():
    first, second = Tiny(4).eval(), Tiny(4).eval()
    before = {key: value.clone() for key, value in first.state_dict().items()}
    assert same(blend(first, second, 1.0), first.state_dict())
    assert same(blend(first, second, 0.0), second.state_dict())
    quarter = blend(first, second, 0.25)
    torch.testing.assert_close(quarter.conv.weight, 0.25 * first.conv.weight + 0.75 * second.conv.weight)
    assert same(first, before)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["retinaface-mobile0.25", "realesr-animevideov3"])
def test_official_files_load(shared, monkeypatch, name):
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(shared / "weights"))
    network = load(name)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


@pytest.mark.weights
@pytest.mark.parametrize("name", ["realesr-general-x4v3", "realesr-general-wdn-x4v3"])
def test_a_rounded_file_is_not_official_but_loads_as_a_file_of_your_own(shared, tmp_path, monkeypatch, name):
    rounded = shared / "weights" / f"{name}.fp16-rounded.pth"
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(tmp_path))
    (tmp_path / lookup(name).file).symlink_to(rounded)
    with pytest.raises(ChecksumError) as caught:
        load(name)
    assert lookup(name).sha256 in str(caught.value)
    assert hashlib.sha256(rounded.read_bytes()).hexdigest() in str(caught.value)
    assert load(name, rounded)(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)
