"""`facemend restore --upscaler creative`."""

from pathlib import Path

import pytest

from facemend.creative import DEFAULT_CREATIVE, PRESETS
from facemend.errors import ChecksumError, DownloadError
from facemend.pipeline import Pipeline
from facemend.weights import hub


@pytest.fixture
def loaded(monkeypatch, drawn):
    """The arguments of `Pipeline.load` in the last run."""
    arguments = {}
    load = Pipeline.load

    def remember(cls, **options):
        arguments.update(options)
        return load(**options)

    monkeypatch.setattr(Pipeline, "load", classmethod(remember))
    return arguments


def test_options_are_the_settings(run, photo, loaded):
    assert run("restore", photo, "--upscaler", "creative")[0] == 0
    assert loaded["creative"] == DEFAULT_CREATIVE
    words = "--creative ultimate --creativity 0.4 --prompt stone --no-keep-faces --tile 256 --first lite --base own"
    code, _, err = run("restore", photo, "--force", "--upscaler", "creative", *words.split())
    assert code == 0, err
    creative = loaded["creative"]
    assert (creative.creativity, creative.prompt, creative.keep_faces, creative.tile) == (0.4, "stone", False, 256)
    assert (creative.steps, creative.sampler) == (PRESETS["ultimate"].steps, "euler")
    assert (loaded["upscaler"], loaded["first"], loaded["base"]) == ("creative", "lite", "own")
    assert "control" not in loaded


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--creativity 0.4", "--upscaler is 'auto', but must be creative where --creativity is given"),
        ("--upscaler lite --base x", "--upscaler is 'lite', but must be creative where --base is given"),
        ("--creative ultimate", "--upscaler is 'auto', but must be creative where --creative is given"),
        ("--upscaler creative --creativity 2", "--creativity is 2.0, but must be a number from 0 to 1"),
        ("--upscaler creative --tile 100", "--tile is 100, but must be a multiple of 64 from 128 to 2048"),
        ("--upscaler creative --first creative", "'creative' is not an existing file and none of auto"),
    ],
)
def test_mistakes_exit_with_2(run, photo, words, message):
    code, _, err = run("restore", photo, *words.split())
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_without_networks_the_command_to_download_them_is_named(run, photo):
    pytest.importorskip("diffusers", reason="the extra creative is not installed")
    code, _, err = run("restore", photo, "--upscaler", "creative")
    assert code == 1
    assert "run 'facemend download realistic-vision-v5.1 sd15-tile'" in err


def test_models_lists_the_networks_and_their_terms(run):
    code, out, _ = run("models")
    assert code == 0
    for row in hub.REPOSITORIES.values():
        line = next(line for line in out.splitlines() if line.startswith(f"{row.name} "))
        assert row.licence in line
        assert " no " in line
    assert hub.OPENRAIL in out


def test_the_terms_are_shown_before_a_download(run, monkeypatch, capsys, tmp_path):
    def fetch(row, folder):
        assert hub.OPENRAIL in capsys.readouterr().out
        return folder / row.name

    monkeypatch.setattr(hub, "fetch", fetch)
    code, out, _ = run("download", "sd15-tile")
    assert code == 0
    assert str(tmp_path / "weights" / "sd15-tile") in out


@pytest.mark.parametrize(
    "error", [DownloadError("https://host", "HTTP 404", Path("x")), ChecksumError(Path("x"), "a", "b")]
)
def test_networks_that_cannot_be_downloaded_do_not_keep_the_others_from_it(run, monkeypatch, error):
    def fetch(row, folder):
        if row.name == "sd15-tile":
            raise error
        return folder / row.name

    monkeypatch.setattr(hub, "fetch", fetch)
    code, out, err = run("download", "sd15-tile", "realistic-vision-v5.1")
    assert code == 1
    assert out.splitlines()[-1].startswith("realistic-vision-v5.1  ")
    assert str(error) in err


def test_verify_checks_the_networks_too(run, tmp_path):
    path = tmp_path / "weights" / "sd15-tile" / hub.REPOSITORIES["sd15-tile"].files[0].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"wrong")
    code, _, err = run("verify")
    assert code == 1
    assert hub.REPOSITORIES["sd15-tile"].files[0].sha256 in err
