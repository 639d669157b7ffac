"""`facemend models`, `download` and `verify`."""

from pathlib import Path

import pytest

from facemend.cli import models
from facemend.errors import DownloadError
from facemend.weights.models import MODELS


def test_models_lists_every_model_with_its_licence(run):
    code, out, _ = run("models")
    lines = {tuple(line.split()[:2]): line for line in out.splitlines() if line}
    assert code == 0
    for model in MODELS.values():
        line = lines[model.public_name, model.task]
        assert model.licence in line
        assert f" {model.commercial} " in line
        assert (" bundled " in line) == model.bundled
    assert " no  " in lines["codeformer", "restorer"]


@pytest.mark.parametrize(("missing", "said"), [(0, "yes"), (1, "damaged")])
def test_models_tells_by_the_size_whether_a_file_is_complete(run, tmp_path, missing, said):
    (tmp_path / "weights").mkdir()
    with (tmp_path / "weights" / MODELS["codeformer"].file).open("wb") as file:
        file.truncate(MODELS["codeformer"].size - missing)
    out = run("models")[1]
    line = next(line for line in out.splitlines() if line.startswith("codeformer "))
    assert f"  {said}  " in line
    assert ("'facemend verify' says what to do" in out) == (said == "damaged")


def test_download_without_a_known_name_exits_with_2(run):
    assert run("download")[0] == 2
    code, _, err = run("download", "gfpgan")
    assert code == 2
    assert "gfpgan-v1.4" in err


def test_verify_hashes_the_bundled_files(run):
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    assert out.count("  official\n") == 4
    assert out.endswith("4 installed files hashed\n")


def test_verify_reports_a_wrong_file(run, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / MODELS["parsenet"].file).write_bytes(b"wrong")
    code, _, err = run("verify")
    assert code == 1
    assert MODELS["parsenet"].sha256 in err


def test_a_model_that_cannot_be_downloaded_does_not_keep_the_others_from_it(run, monkeypatch):
    def fetch(model, folder, progress):
        if model.name == "codeformer":
            raise DownloadError("https://host/codeformer.pth", "HTTP 404", folder / model.file)
        return Path("/models") / model.file

    monkeypatch.setattr(models, "fetch", fetch)
    code, out, err = run("download", "codeformer", "parsenet")
    assert code == 1
    assert out.splitlines()[0].startswith("parsenet  /models/")
    assert "https://host/codeformer.pth" in err


@pytest.mark.parametrize("name", ["lite", "lite-restorer", "gfpgan"])
def test_download_refuses_bundled_models(run, name):
    code, _, err = run("download", name)
    assert code == 2
    assert "lite is part of the program" in err
    assert "lite-restorer, " not in err
