"""The lines of `--json`."""

import json

import pytest
from PIL import Image

from tests.pictures import smooth


def test_json_writes_one_line_for_each_picture(run, drawn, photo, tmp_path):
    Image.fromarray(smooth(90, 80)).save(tmp_path / "b.png")
    code, out, _ = run("restore", photo, tmp_path / "b.png", "--json", "-o", tmp_path / "out")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["size"] for record in records] == [[440, 400], [160, 180]]
    assert set(records[0]) == {
        "input",
        "output",
        "size",
        "restorer",
        "upscaler",
        "faces",
        "repaired",
        "lost",
        "seconds",
    }
    face = records[0]["faces"][0]
    assert face["restored"] is True
    assert face["net"] == "identity"
    assert set(face["landmarks"]) == {"left_eye", "right_eye", "nose", "left_mouth", "right_mouth"}
    seconds = records[0]["seconds"]
    assert {"decode", "detect", "restore", "upscale", "paste", "encode", "total"} <= set(seconds)
    assert seconds["decode"] > 0
    assert seconds["total"] >= sum(value for stage, value in seconds.items() if stage != "total") - 0.005


def test_json_reports_inputs_that_cannot_be_opened(run, drawn, photo, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, _ = run("restore", tmp_path / "none.jpg", tmp_path / "empty", photo, "--json", "-o", tmp_path / "out")
    assert code == 2
    first, second, third = map(json.loads, out.splitlines())
    assert first["input"].endswith("none.jpg")
    assert "No such file" in first["error"]
    assert "holds no pictures" in second["error"]
    assert "error" not in third


@pytest.mark.parametrize("name", ["the", "input", "over"])
def test_an_error_names_its_picture_even_if_that_is_a_word_of_the_message(run, photo, monkeypatch, name):
    monkeypatch.chdir(photo.parent)
    photo.rename(photo.with_name(name))
    code, _, err = run("restore", name, "--max-input-mp", "0.01")
    assert code == 2
    assert f"facemend: {name}: the input has " in err
