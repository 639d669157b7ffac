import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from facemend.cli import main
from facemend.pipeline import Pipeline
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler
from facemend.weights.models import MODELS
from tests.pictures import detector, face_at, identity, similarity, smooth

EXAMPLE = Path(__file__).parents[2] / "examples" / "old.jpg"


@pytest.fixture
def run(capsys):
    """Runs the command line; gives exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return run


@pytest.fixture
def drawn(monkeypatch):
    """`restore` works with a drawn face and a restorer that changes nothing."""
    machine = Pipeline(
        detector=detector(face_at(similarity(3, 0, -80, -60))),
        restorer=FunctionRestorer(identity),
        upscaler=LanczosUpscaler(),
    )
    monkeypatch.setattr(Pipeline, "load", classmethod(lambda cls, **options: machine))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "old.jpg"
    Image.fromarray(smooth(200, 220)).save(path)
    return path


def size(path):
    with Image.open(path) as image:
        image.load()
        return image.size


def test_default_output_lies_beside_the_input(run, drawn, photo):
    code, out, err = run("restore", photo)
    assert code == 0
    assert size(photo.with_name("old_restored.jpg")) == (440, 400)
    assert "old_restored.jpg  440 x 400  1 of 1 faces restored" in out
    assert "faces: identity, picture: lanczos" in err


def test_output_file_and_format_by_suffix(run, drawn, photo):
    assert run("restore", photo, "-o", photo.parent / "new.png", "--scale", 1.5)[0] == 0
    assert size(photo.parent / "new.png") == (330, 300)


def test_several_pictures_go_to_a_folder_and_failures_do_not_stop_them(run, drawn, photo, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    code, _, err = run("restore", tmp_path / "text.jpg", photo, "-o", tmp_path / "out")
    assert code == 2
    assert [line for line in err.splitlines() if "text.jpg" in line and "Traceback" not in line]
    assert len([line for line in err.splitlines() if "text.jpg" in line]) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["old.jpg"]


def test_folders_keep_their_structure(run, drawn, photo, tmp_path):
    (tmp_path / "scans" / "deep").mkdir(parents=True)
    photo.rename(tmp_path / "scans" / "deep" / "a.jpg")
    Image.fromarray(smooth(20, 30)).save(tmp_path / "scans" / "b.PNG")
    (tmp_path / "scans" / "notes.txt").write_text("not looked at")
    (tmp_path / "scans" / "._b.PNG").write_text("what a Mac leaves beside a picture")
    assert run("restore", tmp_path / "scans", "-o", tmp_path / "out")[0] == 0
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")} == {
        "deep/a.jpg",
        "b.png",
    }


def test_results_in_a_folder_are_not_restored_again(run, drawn, photo):
    assert run("restore", photo.parent)[0] == 0
    code, _, _ = run("restore", photo.parent)
    assert code == 2, "the result exists already"
    assert sorted(path.name for path in photo.parent.iterdir()) == ["old.jpg", "old_restored.jpg"]
    assert run("restore", photo.parent, "--force")[0] == 0


def test_a_missing_file_is_one_line_before_any_network_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "load", lambda **_: pytest.fail("networks were loaded"))
    code, _, err = run("restore", tmp_path / "not there.jpg")
    assert code == 2
    assert err.count("\n") == 1
    assert "not there.jpg" in err


def test_an_empty_folder_is_a_mistake(run, drawn, tmp_path):
    code, _, err = run("restore", tmp_path)
    assert code == 2
    assert "holds no pictures" in err


def test_never_overwrites_the_input(run, drawn, photo):
    before = photo.read_bytes()
    for arguments in (["-o", photo, "--force"], ["-o", photo.parent, "--force"]):
        code, _, err = run("restore", photo, *arguments)
        assert code == 2
        assert "another file than the input" in err
    assert photo.read_bytes() == before


def test_overwriting_needs_force(run, drawn, photo, tmp_path):
    target = tmp_path / "new.png"
    target.write_text("precious")
    code, _, err = run("restore", photo, "-o", target)
    assert code == 2
    assert "--force" in err
    assert target.read_text() == "precious"
    assert run("restore", photo, "-o", target, "--force")[0] == 0
    assert size(target) == (440, 400)


def test_compare_and_boxes(run, drawn, photo):
    assert run("restore", photo, "--compare", "--boxes")[0] == 0
    assert size(photo.with_name("old_restored_compare.jpg")) == (884, 400)
    assert size(photo.with_name("old_restored_boxes.jpg")) == (220, 200)


def test_json_is_one_line_a_picture_and_nothing_else(run, drawn, photo, tmp_path):
    Image.fromarray(smooth(90, 80)).save(tmp_path / "b.png")
    code, out, _ = run("restore", photo, tmp_path / "b.png", "--json", "-o", tmp_path / "out")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["size"] for record in records] == [[440, 400], [160, 180]]
    assert set(records[0]) == {"input", "output", "size", "restorer", "upscaler", "faces", "seconds"}
    face = records[0]["faces"][0]
    assert face["restored"] is True
    assert face["net"] == "identity"
    assert set(face["landmarks"]) == {"left_eye", "right_eye", "nose", "left_mouth", "right_mouth"}
    seconds = records[0]["seconds"]
    assert {"decode", "detect", "restore", "upscale", "paste", "encode", "total"} <= set(seconds)
    assert seconds["decode"] > 0
    assert seconds["total"] >= sum(value for stage, value in seconds.items() if stage != "total") - 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "9"], "--scale is 9.0, but must be a number from 1 to 8"),
        (["--scale", "nan"], "--scale is nan"),
        (["--fidelity", "-1"], "fidelity"),
        (["--faces", "0,x"], "0,2"),
        (["--faces", "7"], "--faces is '7', but must be below 1, as 1 face was found"),
        (["--model", "gfpgan"], "invalid choice"),
        (["--weights", "nonsense"], "NAME=PATH"),
        (["--weights", "lite=my.pth"], "lite-detector"),
        (["--format", "gif"], "'facemend restore --help'"),
        (["--bo\ngus"], "--bo gus"),
        (["--quality", "0"], "quality"),
        (["--max-input-mp", "0.01"], "--max-input-mp"),
        (["--max-output-mp", "0.01"], "--max-output-mp"),
        (["-o", "new.xyz"], ".xyz"),
    ],
)
def test_mistakes_exit_with_2_and_leave_nothing(run, drawn, photo, arguments, message, monkeypatch):
    monkeypatch.chdir(photo.parent)
    code, out, err = run("restore", photo, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") <= 2, "what is loaded, and the mistake"
    assert "Traceback" not in err
    assert out == ""
    assert [path.name for path in photo.parent.iterdir()] == ["old.jpg"]


def test_a_name_that_gets_too_long_is_a_mistake(run, drawn, photo):
    photo = photo.rename(photo.with_name("x" * 248 + ".jpg"))
    code, _, err = run("restore", photo)
    assert code == 2
    assert "a name a file can have (File name too long)" in err


def test_a_format_that_cannot_hold_the_result_is_found_before_the_work(run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "run", lambda *_: pytest.fail("the work was begun"))
    Image.fromarray(smooth(40, 50)).convert("RGBA").save(tmp_path / "clear.png")
    code, _, err = run("restore", tmp_path / "clear.png", "-o", tmp_path / "new.jpg")
    assert code == 2
    assert "png, webp or tiff" in err
    Image.fromarray(smooth(4, 9000)).save(tmp_path / "wide.webp")
    code, _, err = run("restore", tmp_path / "wide.webp", "--format", "webp")
    assert code == 2
    assert "a side over 16383" in err
    code, _, err = run("restore", tmp_path / "wide.webp", "--scale", 4, "--compare", "-o", tmp_path / "new.png")
    assert code == 2
    assert "--compare is '72004 x 16 px'" in err


def test_failures_exit_with_1(run, photo):
    code, _, err = run("restore", photo, "--model", "gfpgan-v1.4")
    assert code == 1
    assert err.count("\n") == 1
    assert "facemend download gfpgan-v1.4" in err


def test_a_folder_that_cannot_be_made_is_a_mistake_found_before_the_work(run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "run", lambda *_: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("")
    code, _, err = run("restore", photo, "-o", tmp_path / "file" / "new.png")
    assert code == 2
    assert "new.png" in err


def test_a_disk_that_is_full_exits_with_1_and_leaves_nothing(run, drawn, photo, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = run("restore", photo)
    assert code == 1
    assert "No space left on device" in err
    assert out == ""
    assert [path.name for path in photo.parent.iterdir()] == ["old.jpg"]


@pytest.mark.parametrize(
    ("output", "force"),
    [("no/../old.jpg", []), ("no/../other.jpg", []), ("no/../old.jpg", ["--force"]), ("no/../", ["--force"])],
)
def test_no_detour_in_the_output_leads_to_a_file_that_is_there(run, drawn, photo, output, force, monkeypatch):
    monkeypatch.chdir(photo.parent)
    Path("other.jpg").write_bytes(photo.read_bytes())
    before = photo.read_bytes()
    code, _, err = run("restore", "old.jpg", "-o", output, *force)
    assert code == 2
    assert "the output is" in err
    assert photo.read_bytes() == before
    assert sorted(path.name for path in photo.parent.iterdir()) == ["old.jpg", "other.jpg"]


def test_another_input_is_never_overwritten(run, drawn, tmp_path):
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.bmp")
    Image.fromarray(smooth(30, 30)).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    code, _, err = run("restore", tmp_path / "a.bmp", tmp_path / "a.png", "-o", tmp_path, "--force")
    assert code == 2
    assert err.count("another file than the inputs") == 2
    assert (tmp_path / "a.png").read_bytes() == before


def test_two_results_never_share_a_file(run, drawn, tmp_path):
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.bmp")
    Image.fromarray(smooth(30, 30)).save(tmp_path / "a.png")
    code, _, err = run("restore", tmp_path / "a.bmp", tmp_path / "a.png", "-o", tmp_path / "out/", "--force")
    assert code == 2
    assert "other outputs" in err
    assert size(tmp_path / "out" / "a.png") == (100, 80)


def test_results_inside_the_input_folder_are_not_restored_again(run, drawn, photo, tmp_path):
    for _ in range(2):
        assert run("restore", tmp_path, "-o", tmp_path / "out", "--force")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old.jpg"]


@pytest.mark.parametrize("output", ["{}/out", "{}/../{name}/out", "{}/link"])
def test_however_the_folder_of_results_is_spelled(run, drawn, photo, tmp_path, output, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("restore", ".", "-o", output.format(tmp_path, name=tmp_path.name), "--skip-existing")[0] == 0
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["old.jpg"]


def test_results_may_go_above_the_folder_of_pictures(run, drawn, photo, tmp_path):
    (tmp_path / "scans").mkdir()
    photo.rename(tmp_path / "scans" / "one.jpg")
    assert run("restore", tmp_path / "scans", "-o", tmp_path)[0] == 0
    assert size(tmp_path / "one.jpg") == (440, 400)


def test_links_in_a_ring_cost_one_line_and_the_others_go_on(run, drawn, photo, tmp_path):
    (tmp_path / "ring.jpg").symlink_to("ring.jpg")
    code, _, err = run("restore", tmp_path, "-o", tmp_path / "out")
    assert code == 2
    assert err.count("ring.jpg") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old.jpg"]
    code, _, err = run("restore", photo, "-o", f"{tmp_path / 'ring.jpg'}/")
    assert code == 2
    assert "in a folder that can be made" in err


def test_hidden_folders_are_left_alone_and_links_to_nothing_told(run, drawn, photo, tmp_path):
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "old.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "lost.jpg").symlink_to("gone.jpg")
    photo.rename(photo.with_suffix(".jfif"))
    code, _, err = run("restore", tmp_path, "-o", tmp_path / "out")
    assert code == 2
    assert "lost.jpg: No such file" in err
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["old.jpg"]


def test_several_pictures_need_a_folder(run, photo):
    code, _, err = run("restore", photo, photo, "-o", photo.with_name("new.png"))
    assert code == 2
    assert "a folder" in err


def test_an_unforeseen_failure_is_one_line_and_the_others_go_on(run, drawn, photo, tmp_path, monkeypatch):
    Image.fromarray(smooth(9, 9)).save(tmp_path / "small.png")
    whole = Pipeline.run

    def fragile(self, picture, *rest):
        if picture.pixels.shape[0] == 9:
            raise RuntimeError("broken\nin two")
        return whole(self, picture, *rest)

    monkeypatch.setattr(Pipeline, "run", fragile)
    code, out, err = run("restore", tmp_path / "small.png", photo, "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 1
    assert "unexpected RuntimeError: broken in two" in first["error"]
    assert second["output"].endswith("old_restored.jpg")
    assert "Traceback" not in err


def test_several_pictures_in_one_file_are_said(run, drawn, tmp_path):
    frames = [Image.fromarray(smooth(20, 20, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    code, _, err = run("restore", tmp_path / "moving.gif")
    assert code == 0
    assert "holds several pictures; the first is restored" in err
    assert size(tmp_path / "moving_restored.png") == (40, 40)


def test_models_lists_every_model_with_its_terms(run):
    code, out, _ = run("models")
    lines = {tuple(line.split()[:2]): line for line in out.splitlines() if line}
    assert code == 0
    for model in MODELS.values():
        line = lines[model.public_name, model.task]
        assert model.licence in line
        assert f" {model.commercial} " in line
        assert (" bundled " in line) == model.bundled
    assert " no  " in lines["codeformer", "restorer"]


def test_download_needs_a_name_and_knows_the_names(run):
    assert run("download")[0] == 2
    code, _, err = run("download", "gfpgan")
    assert code == 2
    assert "gfpgan-v1.4" in err


def test_verify_with_nothing_downloaded(run):
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    assert out.count("  official\n") == 3
    assert out.endswith("3 installed files hashed\n")


def test_verify_finds_a_wrong_file(run, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / MODELS["parsenet"].file).write_bytes(b"wrong")
    code, _, err = run("verify")
    assert code == 1
    assert MODELS["parsenet"].sha256 in err


def test_help_teaches(run):
    code, out, _ = run("restore", "--help")
    assert code == 0
    for option in ("--faces", "--fidelity", "--compare", "--weights", "examples:"):
        assert option in out


def test_the_real_program_with_nothing_downloaded_restores_and_says_what_there_is_more(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "facemend", "restore", str(EXAMPLE), "-o", str(tmp_path), "--json", "--compare"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    assert [face["net"] for face in record["faces"]] == ["lite"]
    assert size(tmp_path / "old.jpg") == (640, 640)
    assert size(tmp_path / "old_compare.jpg") == (1284, 640)
    assert "facemend download gfpgan-v1.4" in process.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("models >&-", 0, ""),
        ("restore missing.jpg 2>&-", 2, ""),
        ("models >/dev/full", 1, "facemend: [Errno 28] No space left on device\n"),
    ],
)
def test_nobody_may_be_listening(arguments, code, said):
    command = f'exec "{sys.executable}" -m facemend {arguments}'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", said)


def test_debug_shows_the_traceback(photo):
    with pytest.raises(Exception, match="gfpgan-v1.4"):
        main(["restore", str(photo), "--model", "gfpgan-v1.4", "--debug"])


def test_pixels_survive(run, drawn, tmp_path):
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.png")
    assert run("restore", tmp_path / "a.png", "--scale", 1, "--faces", "none", "-o", tmp_path / "b.png")[0] == 0
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), smooth(40, 50))


def test_skip_existing_does_what_is_missing_only(run, drawn, photo, tmp_path):
    Image.fromarray(smooth(30, 40)).save(tmp_path / "b.png")
    out = tmp_path / "out"
    assert run("restore", photo, "-o", f"{out}/", "--skip-existing")[0] == 0
    (out / "old.jpg").write_bytes(b"as it was")
    code, said, _ = run("restore", photo, tmp_path / "b.png", "-o", out, "--skip-existing", "--json")
    first, second = map(json.loads, said.splitlines())
    assert code == 0
    assert first == {"input": str(photo), "output": str(out / "old.jpg"), "skipped": True}
    assert second["size"] == [80, 60]
    assert (out / "old.jpg").read_bytes() == b"as it was"
    assert f"{out / 'old.jpg'}  exists already\n" in run("restore", photo, "-o", out, "--skip-existing")[1]


def test_skip_existing_makes_what_a_stopped_run_began(run, drawn, photo):
    """The picture itself is written last, so where it is missing its companions are made again."""
    companions = [photo.with_name("old_restored_compare.jpg"), photo.with_name("old_restored_boxes.jpg")]
    for path in companions:
        path.write_bytes(b"of the stopped run")
    assert run("restore", photo, "--compare", "--boxes", "--skip-existing")[0] == 0
    assert [size(path) for path in companions] == [(884, 400), (220, 200)]
    assert size(photo.with_name("old_restored.jpg")) == (440, 400)


def test_no_picture_is_there_without_its_companions(run, drawn, photo):
    photo.with_name("old_restored_boxes.jpg").mkdir()
    code, _, err = run("restore", photo, "--compare", "--boxes", "--skip-existing")
    assert code == 1
    assert "cannot write" in err
    assert not photo.with_name("old_restored.jpg").exists()


def test_skip_existing_never_takes_an_input_or_another_output_for_the_result(run, drawn, photo, tmp_path):
    code, _, err = run("restore", photo, "-o", photo, "--skip-existing")
    assert code == 2
    assert "another file than the inputs" in err
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.bmp")
    Image.fromarray(smooth(30, 30)).save(tmp_path / "a.png")
    for _ in range(2):
        code, _, err = run(
            "restore", tmp_path / "a.bmp", tmp_path / "a.png", "-o", tmp_path / "out/", "--skip-existing"
        )
        assert code == 2
        assert "other outputs" in err


def test_skip_existing_and_force_exclude_each_other(run, photo):
    code, _, err = run("restore", photo, "--skip-existing", "--force")
    assert code == 2
    assert "--force: not allowed with argument --skip-existing" in err


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_metadata_is_kept_unless_it_is_to_be_stripped(run, drawn, photo, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "a private camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSMapDatum] = "a private place"
    pixels = smooth(200, 220)
    Image.fromarray(pixels).save(photo, exif=exif, quality=100, subsampling=0)
    private = (b"a private camera", b"a private place")
    for arguments, kept in (([], True), (["--strip-metadata"], False)):
        target = photo.with_name(f"{kept}{suffix}")
        assert run("restore", photo, "--scale", 1, "--quality", 100, "-o", target, "--compare", *arguments)[0] == 0
        data = target.read_bytes()
        assert [words in data for words in private] == [kept, kept]
        assert not any(words in target.with_name(f"{kept}_compare.jpg").read_bytes() for words in private)
        with Image.open(target) as image:
            assert ExifTags.Base.Orientation not in image.getexif() or image.getexif()[ExifTags.Base.Orientation] == 1
            seen = np.asarray(image.convert("RGB"), dtype=int)
        assert abs(seen - np.rot90(pixels, -1)).mean() < 3, "upright, in the same colours"


def test_json_tells_of_inputs_that_cannot_be_opened(run, drawn, photo, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, _ = run("restore", tmp_path / "none.jpg", tmp_path / "empty", photo, "--json", "-o", tmp_path / "out")
    assert code == 2
    first, second, third = map(json.loads, out.splitlines())
    assert first["input"].endswith("none.jpg")
    assert "No such file" in first["error"]
    assert "holds no pictures" in second["error"]
    assert "error" not in third


def test_a_folder_that_cannot_be_looked_into_is_told_and_the_others_are_done(run, drawn, photo, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    scandir = os.scandir

    def guarded(path):
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # for root, no folder is closed
    code, out, err = run("restore", tmp_path)
    assert code == 2
    assert "old_restored.jpg" in out
    assert f"cannot open {closed}: Permission denied" in err


def test_a_folder_that_cannot_be_written_is_found_before_the_work(run, drawn, photo, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Pipeline, "run", lambda *given: pytest.fail("worked"))
    code, _, err = run("restore", photo)
    assert code == 2
    assert "in a folder that may be written to" in err


@pytest.mark.parametrize("name", ["lite", "lite-restorer", "gfpgan"])
def test_only_what_is_published_can_be_downloaded(run, name):
    code, _, err = run("download", name)
    assert code == 2
    assert "lite is part of the program" in err
    assert "lite-restorer, " not in err
