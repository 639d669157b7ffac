"""`facemend compare`: the sheet it writes, and its errors."""

import pytest
from PIL import Image

from facemend.cli.names import RESULTS
from facemend.loader import Loader
from facemend.weights.models import MODELS
from tests.cli.conftest import size
from tests.pictures import face_at, similarity, smooth

MIDDLE = ["--face", "middle"]


@pytest.fixture(autouse=True)
def faces(monkeypatch):
    """The faces that the detector finds: none, unless a test adds some."""
    found = []
    monkeypatch.setattr(Loader, "detector", lambda self, wanted: lambda pixels, settings: list(found))
    return found


def test_the_sheet_is_written_beside_the_picture(run, photo):
    code, out, err = run("compare", photo)
    assert (code, err) == (0, "")
    target = photo.with_name("old_restored_sheet.png")
    width, height = size(target)
    assert out.startswith(f"{target}  {width} x {height}  the middle, as no face was found  ")
    assert target.stem.endswith(RESULTS), "a later run over the folder leaves it out"


def test_the_largest_face_is_shown(run, photo, faces):
    faces += [face_at(similarity(3, 0, -80, -60)), face_at(similarity(2, 0, -100, -60))]
    code, out, err = run("compare", photo)
    assert (code, err) == (0, "")
    assert "  face 1 (2 found)  " in out
    assert run("compare", photo, "--force", "--face", 0)[1].split("  ")[2] == "face 0 (2 found)"


@pytest.mark.parametrize(
    ("output", "expected"), [("new.jpg", "new.jpg"), ("out/", "out/old_restored_sheet.png"), ("a/b.png", "a/b.png")]
)
def test_the_output_is_a_file_or_a_folder(run, photo, tmp_path, monkeypatch, output, expected):
    monkeypatch.chdir(tmp_path)
    assert run("compare", photo, "-o", output, *MIDDLE)[0] == 0
    assert size(tmp_path / expected)[0] > 1000


def test_files_are_overwritten_only_with_force(run, photo, tmp_path):
    target = tmp_path / "new.png"
    target.write_text("precious")
    code, _, err = run("compare", photo, "-o", target)
    assert code == 2
    assert "but must be a new file; overwrite it with --force" in err
    assert target.read_text() == "precious"
    assert run("compare", photo, "-o", target, "--force", *MIDDLE)[0] == 0
    assert size(target)


def test_the_input_is_never_overwritten(run, photo):
    before = photo.read_bytes()
    code, _, err = run("compare", photo, "-o", photo, "--force")
    assert code == 2
    assert "another file than the input" in err
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--face", "left"], "'left' is neither the number of a face, such as 0, nor middle"),
        (["--face", "-1"], "'-1' is neither the number of a face"),
        (["--face", "0"], "--face is 0, but no faces were found; use --face middle"),
        (["--scale", "9"], "--scale is 9.0, but must be a number from 1 to 8"),
        (["-o", "new.gif"], "'.gif'"),
        (["-o", ""], "an empty name"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(run, photo, arguments, message, monkeypatch):
    monkeypatch.chdir(photo.parent)
    code, out, err = run("compare", photo, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in photo.parent.iterdir()] == ["old.jpg"]


@pytest.mark.parametrize("name", ["missing.jpg", "text.jpg", "."])
def test_a_picture_that_cannot_be_read_exits_with_2(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("no picture")
    code, out, err = run("compare", name)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert name in err


def test_a_damaged_file_of_weights_is_named_and_the_others_are_compared(run, photo, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / MODELS["realesrgan-x4plus"].file).write_text("damaged")
    code, out, err = run("compare", photo, *MIDDLE)
    assert code == 1
    assert "RealESRGAN_x4plus.pth is not the official file" in err
    assert err.count("\n") == 1
    assert out
    with Image.open(photo.with_name("old_restored_sheet.png")) as sheet:
        assert sheet.format == "PNG"


def test_the_scale_may_give_a_picture_that_restore_would_refuse(run, tmp_path):
    """Only a part of it is enlarged."""
    path = tmp_path / "large.png"
    Image.fromarray(smooth(2600, 2600)).save(path)
    assert run("compare", path, "--scale", 8, *MIDDLE)[0] == 0
