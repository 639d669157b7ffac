"""The networks of the upscaler creative: where they are looked for, how they are checked and downloaded."""

import hashlib
import re
import sys
from types import SimpleNamespace

import pytest

from facemend.errors import ChecksumError, DownloadError, NotInstalledError, OptionError, WeightsError
from facemend.extras import install_command
from facemend.weights import hub
from facemend.weights.hub import File, Repository


def row(name, part, *files):
    return Repository(
        name=name, part=part, repository=f"someone/{name}", revision="0" * 40, files=files, size=5,
        licence="OpenRAIL-M", source="https://huggingface.co/someone",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """Two bases and a ControlNet of a few bytes."""
    rows = (
        row("first", "base", File("unet/config.json"), File("unet/net.safetensors", 4)),
        row("second", "base", File("unet/config.json")),
        row("tile", "control", File("net.safetensors", 3, hashlib.sha256(b"net").hexdigest())),
    )
    monkeypatch.setattr(hub, "REPOSITORIES", {one.name: one for one in rows})


@pytest.fixture
def weights(tmp_path):
    """The folder of installed weights."""
    return tmp_path / "weights"


def put(path, data=b"data"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def install(weights, *names):
    for name in names:
        for file in hub.REPOSITORIES[name].files:
            put(weights / name / file.path, b"net" if name == "tile" else b"data")


def test_the_preferred_base_that_is_there_is_taken(weights):
    install(weights, "second", "tile")
    expected = weights / "second", weights / "tile" / "net.safetensors", weights / "second"
    assert hub.locate() == expected
    install(weights, "first")
    assert hub.locate()[0] == weights / "first"
    assert hub.locate("second", "tile") == expected


def test_all_that_is_missing_is_named_at_once(weights):
    put(weights / "first" / "unet" / "config.json")  # one of its two files
    with pytest.raises(NotInstalledError, match="run 'facemend download first tile'"):
        hub.locate()


def test_own_files_and_folders(weights, tmp_path):
    own, control = put(tmp_path / "own.safetensors"), tmp_path / "control"
    control.mkdir()
    with pytest.raises(NotInstalledError, match="weights of first are"):  # for the tokenizer
        hub.locate(own, control)
    install(weights, "second")
    assert hub.locate(str(own), str(control)) == (own, control, weights / "second")
    assert hub.locate(control, control) == (control, control, control)
    for wrong in ("third", tmp_path / "none", tmp_path / "none.safetensors", put(tmp_path / "own.ckpt"), 3, []):
        with pytest.raises(OptionError, match=r"base is .*first, second, the path of"):
            hub.locate(wrong, control)


@pytest.mark.parametrize(("name", "file"), [("first", "unet/net.safetensors"), ("tile", "net.safetensors")])
def test_a_wrong_file_is_refused(weights, name, file):
    install(weights, "first", "tile")
    put(weights / name / file, b"wrong")
    with pytest.raises(ChecksumError, match=f"facemend download {name}"):
        hub.locate()


@pytest.fixture
def server(monkeypatch):
    """A double of huggingface_hub, which writes the files it is asked for; `fails` is what it raises instead."""
    double = SimpleNamespace(asked=[], fails=None, data=b"data")

    def hf_hub_download(repository, path, revision, local_dir):
        double.asked.append((repository, path, revision))
        if double.fails:
            raise double.fails
        put(local_dir / path, double.data)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hf_hub_download))
    return double


def test_a_download_is_of_the_pinned_revision_and_checked(weights, server):
    target = hub.fetch(hub.REPOSITORIES["first"], weights)
    assert target == weights / "first" == hub.find("first")
    assert server.asked == [("someone/first", file.path, "0" * 40) for file in hub.REPOSITORIES["first"].files]
    server.data = b"wrong"
    with pytest.raises(ChecksumError):
        hub.fetch(hub.REPOSITORIES["tile"], weights)


def test_a_failed_download_is_one_line_with_the_address(weights, server):
    server.fails = RuntimeError("401 Client Error.\n\nRepository not found")
    with pytest.raises(DownloadError, match=r"huggingface.co/someone/first/tree/0{40}: 401 Client Error\. Repository"):
        hub.fetch(hub.REPOSITORIES["first"], weights)


def test_a_failed_download_of_the_rest_names_the_reason(weights, server):
    row = hub.REPOSITORIES["first"]
    put(weights / "first" / row.files[0].path, b"data")
    server.fails = RuntimeError("no connection")
    with pytest.raises(DownloadError, match="no connection"):
        hub.fetch(row, weights)


def test_a_folder_that_cannot_be_searched_is_one_line(weights, monkeypatch):
    monkeypatch.setenv("FACEMEND_WEIGHTS", "x" * 300)
    with pytest.raises(WeightsError, match="cannot look for first/.*; check its permissions or check FACEMEND_WEIGHTS"):
        hub.find("first")


def test_without_the_extra_the_message_says_what_to_install(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=re.escape(install_command("creative"))):
        hub.fetch(hub.REPOSITORIES["first"], weights)


def test_a_row_tells_what_is_compared():
    said = {name: row.checked for name, row in hub.REPOSITORIES.items()}
    assert said == {"first": "sizes", "second": "nothing", "tile": "SHA-256"}


def test_revisions_are_commits(monkeypatch):
    monkeypatch.undo()
    for one in hub.REPOSITORIES.values():
        assert re.fullmatch("[0-9a-f]{40}", one.revision)
        known = sum(file.size for file in one.files)
        assert known <= one.size
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in one.files if file.sha256)
        assert "OpenRAIL" in one.licence
