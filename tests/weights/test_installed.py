import os
from pathlib import Path

import platformdirs
import pytest

from facemend.errors import ChecksumError, NotInstalledError, OptionError, WeightsError
from facemend.weights import installed, load
from facemend.weights.installed import PROJECT, check, download_folder, find, folders, verify
from facemend.weights.installed import cache as real_cache
from facemend.weights.models import lookup

ANIME = lookup("realesr-animevideov3")


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Two empty folders in FACEMEND_WEIGHTS, which precede the checkout and the cache."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("FACEMEND_WEIGHTS", os.pathsep.join(map(str, folders)))
    return folders


def test_folders_are_in_lookup_order(chosen, monkeypatch):
    monkeypatch.setattr(installed, "PROJECT", PROJECT)
    assert folders() == [*chosen, PROJECT / "weights", installed.cache() / "weights", installed.PACKAGE / "bundled"]
    monkeypatch.delenv("FACEMEND_WEIGHTS")
    assert folders() == [PROJECT / "weights", installed.cache() / "weights", installed.PACKAGE / "bundled"]


def test_the_cache_is_the_users_cache_folder():
    assert real_cache() == platformdirs.user_cache_path("facemend")


def test_the_checkout_folder_is_used_only_in_a_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("FACEMEND_WEIGHTS", raising=False)
    assert folders() == [installed.cache() / "weights", installed.PACKAGE / "bundled"]


def test_downloads_go_to_the_first_chosen_folder_or_the_cache(chosen, monkeypatch):
    assert download_folder() == chosen[0]
    for nothing in ("", os.pathsep):
        monkeypatch.setenv("FACEMEND_WEIGHTS", nothing)
        assert download_folder() == installed.cache() / "weights"


def test_a_home_that_does_not_exist_is_an_error_of_the_variable(monkeypatch):
    monkeypatch.setenv("FACEMEND_WEIGHTS", "~nobody-has-this-name/weights")
    with pytest.raises(WeightsError, match="FACEMEND_WEIGHTS is '~nobody-has-this-name/weights', but there is no such"):
        folders()


def test_a_user_without_a_home_has_the_bundled_models(monkeypatch):
    def homeless(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_cache_path", homeless)
    monkeypatch.setattr(installed, "cache", real_cache)
    monkeypatch.delenv("FACEMEND_WEIGHTS", raising=False)
    assert real_cache() is None
    assert folders() == [installed.PACKAGE / "bundled"]
    assert find("lite-restorer") == installed.PACKAGE / "bundled" / "lite-restorer.safetensors"
    with pytest.raises(WeightsError, match="set FACEMEND_WEIGHTS to a folder"):
        download_folder()


def test_the_first_folder_takes_precedence(chosen):
    (chosen[1] / ANIME.file).write_bytes(b"second")
    assert find(ANIME.name) == chosen[1] / ANIME.file
    (chosen[0] / ANIME.file).write_bytes(b"first")
    assert find(ANIME.name) == chosen[0] / ANIME.file


def test_find_is_none_for_models_that_are_not_installed(chosen):
    assert find("gfpgan-v1.2") is None
    with pytest.raises(OptionError):
        find("no such model")


def test_a_lite_model_that_is_missing_is_not_to_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "PACKAGE", tmp_path)
    with pytest.raises(NotInstalledError, match=r"lite-restorer are not installed .*; install facemend again$"):
        load("lite-restorer")


def test_an_unreadable_folder_is_reported(monkeypatch):
    monkeypatch.setenv("FACEMEND_WEIGHTS", "x" * 300)
    with pytest.raises(WeightsError, match="FACEMEND_WEIGHTS"):
        find(ANIME.name)


def test_checksum_error_names_both_hashes(tmp_path):
    path = tmp_path / ANIME.file
    path.write_bytes(b"")
    with pytest.raises(ChecksumError) as caught:
        check(ANIME, path)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert ANIME.sha256 in str(caught.value)
    assert "delete it and run 'facemend download realesr-animevideov3'" in str(caught.value)
    assert empty in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        lambda data: bytes(len(data)),
    ],
    ids=["a byte short", "half", "a byte long", "one bit", "zeros"],
)
def test_a_file_changed_after_its_installation_is_never_loaded(chosen, damage):
    model = lookup("lite-detector")
    good = (installed.PACKAGE / "bundled" / model.file).read_bytes()
    path = chosen[0] / model.file
    path.write_bytes(good)
    assert load(model.name)
    path.write_bytes(damage(good))
    with pytest.raises(ChecksumError, match="delete it and install facemend again"):  # it cannot be downloaded
        load(model.name)
    assert {(path, type(error)) for _, path, error in verify() if error} == {(path, ChecksumError)}


def test_an_unreadable_file_is_reported(tmp_path):
    with pytest.raises(WeightsError, match="cannot read"):
        check(ANIME, tmp_path)


@pytest.mark.weights
def test_verify_finds_the_official_and_the_wrong_file(chosen, shared: Path):
    (chosen[0] / ANIME.file).symlink_to(shared / "weights" / ANIME.file)
    (chosen[1] / "parsing_parsenet.pth").write_bytes(b"cut off")
    results = {model.name: (path, error) for model, path, error in verify() if path.parent in chosen}
    assert results.keys() == {ANIME.name, "parsenet"}
    assert results[ANIME.name] == (chosen[0] / ANIME.file, None)
    assert isinstance(results["parsenet"][1], ChecksumError)
