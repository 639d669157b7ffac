"""`facemend restore`: its options, exit codes and the files it writes."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from facemend.extras import install_command
from facemend.files import headers
from facemend.pipeline import Pipeline
from facemend.stages.assign import Auto
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler
from tests.cli.conftest import size
from tests.pictures import detector, face_at, similarity, smooth


def test_a_picture_that_fails_does_not_stop_the_others(run, drawn, photo, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    code, _, err = run("restore", tmp_path / "text.jpg", photo, "-o", tmp_path / "out")
    assert code == 2
    assert [line for line in err.splitlines() if "text.jpg" in line and "Traceback" not in line]
    assert len([line for line in err.splitlines() if "text.jpg" in line]) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["old.jpg"]


def test_a_missing_file_is_reported_before_networks_are_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "load", lambda **_: pytest.fail("networks were loaded"))
    code, _, err = run("restore", tmp_path / "not there.jpg")
    assert code == 2
    assert err.count("\n") == 1
    assert "not there.jpg" in err


def test_the_models_are_named_once_and_only_if_a_picture_can_be_read(run, drawn, photo, tmp_path):
    empty = tmp_path / "empty.jpg"
    empty.touch()
    code, _, err = run("restore", empty)
    assert code == 2
    assert err.splitlines() == [f"facemend: cannot read {empty}: it is empty; use a complete copy"]
    other = tmp_path / "other.jpg"
    other.write_bytes(photo.read_bytes())
    _, _, err = run("restore", empty, photo, other, "--scale", 1, "-o", tmp_path / "out")
    assert err.count("upscaler: lanczos") == 1


def test_the_input_is_never_overwritten(run, drawn, photo):
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


def test_compare_and_boxes_write_their_files(run, drawn, photo):
    assert run("restore", photo, "--compare", "--boxes")[0] == 0
    assert size(photo.with_name("old_restored_compare.jpg")) == (884, 400)
    assert size(photo.with_name("old_restored_boxes.jpg")) == (220, 200)


def test_repair_says_how_much_was_repaired_and_mask_writes_where(run, drawn, tmp_path):
    pixels = smooth(200, 220)
    pixels[100:104] = 255
    path = tmp_path / "old.png"
    Image.fromarray(pixels).save(path)
    code, out, _ = run("restore", path, "--repair", "--mask", "--scale", 1, "--faces", "none")
    assert code == 0
    assert "  2.0% repaired  " in out
    with Image.open(tmp_path / "old_restored_mask.png") as mask:
        assert mask.mode == "L"
        line = (pixels == 255).all(axis=2).astype(np.uint8) * 255
        assert np.array_equal(np.asarray(mask), line)
    code, out, _ = run("restore", path, "--repair", "--json", "--force")
    assert json.loads(out)["repaired"] == pytest.approx(880 / 44000, abs=1e-6)


@pytest.mark.parametrize(
    ("length", "said"), [(0, "no damage found"), (9, "less than 0.1% repaired"), (12, "0.1% repaired")]
)
def test_repair_says_how_little_was_repaired(run, drawn, tmp_path, length, said):
    pixels = smooth(200, 220)
    pixels[100:104, 100 : 100 + length] = 255
    path = tmp_path / "old.png"
    Image.fromarray(pixels).save(path)
    code, out, _ = run("restore", path, "--repair", "--scale", 1, "--faces", "none")
    assert code == 0
    assert f"  {said}  " in out


def test_a_mask_needs_repair(run, drawn, photo):
    code, _, err = run("restore", photo, "--mask")
    assert code == 2
    assert err == "facemend: a mask shows what was repaired; add --repair\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "9"], "--scale is 9.0, but must be a number from 1 to 8"),
        (["--scale", "nan"], "--scale is nan"),
        (["--fidelity", "-1"], "fidelity"),
        (["--faces", "0,x"], "0,2"),
        (["--faces", "7"], "--faces is '7', but 1 face was found, with the number 0"),
        (["--scale", "x"], "argument --scale: 'x' is not a number"),
        (["--seed", "abc"], "argument --seed: 'abc' is not a whole number"),
        (["--model", "gfpgan"], "'gfpgan' is not an existing file and none of auto, gfpgan-v1.4"),
        (["--weights", "nonsense"], "NAME=PATH"),
        (["--weights", "parsenet=no.pth"], "'no.pth' is not an existing file"),
        (["--weights", "lite=my.pth"], "lite-detector"),
        (["--format", "gif"], "'facemend restore --help'"),
        (["--bo\ngus"], "--bo gus"),
        (["--quality", "0"], "quality"),
        (["--max-input-mp", "0.01"], "--max-input-mp"),
        (["--max-output-mp", "0.01"], "--max-output-mp"),
        (["-o", "new.xyz"], ".xyz"),
    ],
)
def test_invalid_options_exit_with_2_and_write_nothing(run, drawn, photo, arguments, message, monkeypatch):
    monkeypatch.chdir(photo.parent)
    code, out, err = run("restore", photo, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") <= 2, "the names of the models, and the error"
    assert "Traceback" not in err
    assert out == ""
    assert [path.name for path in photo.parent.iterdir()] == ["old.jpg"]


def test_the_line_says_why_a_face_was_left_as_it_is(run, drawn, photo):
    assert "0 of 1 faces restored (the strength is 0)  " in run("restore", photo, "--strength", "0")[1]


def test_an_output_name_that_is_too_long_exits_with_2(run, drawn, photo):
    photo = photo.rename(photo.with_name("x" * 248 + ".jpg"))
    code, _, err = run("restore", photo)
    assert code == 2
    assert "a name a file can have (File name too long)" in err


def test_a_format_that_cannot_hold_the_result_is_refused_before_the_networks_run(run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "run", lambda *_: pytest.fail("the networks ran"))
    Image.fromarray(np.dstack((smooth(40, 50), smooth(40, 50)[..., 0]))).save(tmp_path / "clear.png")
    code, _, err = run("restore", tmp_path / "clear.png", "-o", tmp_path / "new.jpg")
    assert code == 2
    assert "must be png, or another format that holds a picture with transparency" in err
    Image.fromarray(smooth(4, 9000)).save(tmp_path / "wide.webp")
    code, _, err = run("restore", tmp_path / "wide.webp", "--format", "webp")
    assert code == 2
    assert "a side over 16383" in err
    code, _, err = run("restore", tmp_path / "wide.webp", "--scale", 4, "--compare", "-o", tmp_path / "new.png")
    assert code == 2
    assert "--compare is '72004 x 16 px'" in err


def test_missing_weights_exit_with_1(run, photo):
    code, _, err = run("restore", photo, "--model", "gfpgan-v1.4")
    assert code == 1
    assert err.count("\n") == 1
    assert "facemend download gfpgan-v1.4" in err


def test_a_folder_that_cannot_be_made_is_refused_before_the_networks_run(run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "run", lambda *_: pytest.fail("the networks ran"))
    (tmp_path / "file").write_text("")
    code, _, err = run("restore", photo, "-o", tmp_path / "file" / "new.png")
    assert code == 2
    assert "new.png" in err


def test_a_full_disk_exits_with_1_and_leaves_nothing(run, drawn, photo, monkeypatch):
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
def test_an_output_path_with_missing_folders_does_not_reach_existing_files(
    run, drawn, photo, output, force, monkeypatch
):
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
    Image.fromarray(smooth(30, 30)).save(tmp_path / "c.bmp")
    (tmp_path / "c.png").symlink_to("a.png")
    code, _, err = run("restore", tmp_path / "c.bmp", tmp_path / "a.png", "-o", tmp_path, "--force")
    assert code == 2
    assert err.count("another file than the inputs") == 1
    assert (tmp_path / "a.png").read_bytes() == before


def test_two_results_never_share_a_file(run, drawn, tmp_path):
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.bmp")
    Image.fromarray(smooth(30, 30)).save(tmp_path / "a.png")
    code, _, _ = run("restore", tmp_path / "a.bmp", tmp_path / "a.png", "-o", tmp_path / "out/", "--force")
    assert code == 0
    assert size(tmp_path / "out" / "a.png") == (60, 60)
    assert size(tmp_path / "out" / "a_bmp.png") == (100, 80)


def test_an_unexpected_error_is_one_line_and_the_others_are_restored(run, drawn, photo, tmp_path, monkeypatch):
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


def test_a_failure_determines_the_exit_code_where_inputs_are_invalid_too(run, drawn, photo, tmp_path, monkeypatch):
    def broken(*given):
        raise RuntimeError("broken")

    monkeypatch.setattr(Pipeline, "run", broken)
    assert run("restore", tmp_path / "missing.jpg", photo)[0] == 1
    assert run("restore", tmp_path / "missing.jpg")[0] == 2


def test_a_file_with_several_pictures_is_reported(run, drawn, tmp_path):
    frames = [Image.fromarray(smooth(20, 20, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    code, _, err = run("restore", tmp_path / "moving.gif")
    assert code == 0
    assert "not kept: all pictures but the first" in err
    assert size(tmp_path / "moving_restored.png") == (40, 40)


def test_scale_1_without_faces_keeps_every_pixel(run, drawn, tmp_path):
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.png")
    assert run("restore", tmp_path / "a.png", "--scale", 1, "--faces", "none", "-o", tmp_path / "b.png")[0] == 0
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), smooth(40, 50))


def test_skip_existing_makes_only_missing_results(run, drawn, photo, tmp_path):
    Image.fromarray(smooth(30, 40)).save(tmp_path / "b.png")
    out = tmp_path / "out"
    assert run("restore", photo, "-o", f"{out}/", "--skip-existing")[0] == 0
    Image.new("RGB", (440, 400)).save(out / "old.jpg")
    before = (out / "old.jpg").read_bytes()
    code, said, _ = run("restore", photo, tmp_path / "b.png", "-o", out, "--skip-existing", "--json")
    first, second = map(json.loads, said.splitlines())
    assert code == 0
    assert first == {"input": str(photo), "output": str(out / "old.jpg"), "skipped": True}
    assert second["size"] == [80, 60]
    assert (out / "old.jpg").read_bytes() == before
    assert f"{out / 'old.jpg'}  exists already\n" in run("restore", photo, "-o", out, "--skip-existing")[1]


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_skip_existing_does_not_take_a_damaged_file_for_a_result(run, drawn, photo, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.jpg").write_bytes(content)
    code, out, err = run("restore", photo, "-o", tmp_path / "out", "--skip-existing")
    assert (code, out) == (2, "")
    assert "old.jpg', but must be a result that can be read; choose another folder or overwrite it with --force" in err
    assert (tmp_path / "out" / "old.jpg").read_bytes() == content


def test_skip_existing_does_not_skip_a_picture_that_cannot_be_opened(run, drawn, photo, tmp_path, monkeypatch):
    assert run("restore", photo, "-o", tmp_path / "out/")[0] == 0
    real = headers.read

    def read(path):
        if path == photo:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(headers, "read", read)
    code, out, err = run("restore", photo, "-o", tmp_path / "out/", "--skip-existing")
    assert (code, out) == (2, "")
    assert f"cannot open {photo}: Permission denied; check the path" in err


def test_a_file_name_whose_format_cannot_hold_the_picture_is_named(run, tmp_path):
    Image.fromarray(np.zeros((20, 20, 4), np.uint8)).save(tmp_path / "clear.png")
    code, _, err = run("restore", tmp_path / "clear.png", "-o", tmp_path / "clear.jpg")
    assert code == 2
    assert f"the output is '{tmp_path / 'clear.jpg'}', but must be png, or another format that holds" in err


def test_skip_existing_keeps_no_result_of_another_size_beside_missing_extra_files(run, drawn, photo):
    assert run("restore", photo, "--scale", 2)[0] == 0
    for extra in ([], ["--compare"], ["--boxes"]):
        code, out, err = run("restore", photo, "--scale", 3, "--skip-existing", *extra)
        assert (code, out) == (2, "")
        assert "old_restored.jpg', but must be " in err
        assert "and not of 440 x 400 px; " in err
    assert not photo.with_name("old_restored_compare.jpg").exists()


def test_skip_existing_replaces_extra_files_whose_result_is_missing(run, drawn, photo):
    """The result is written last; where it is missing, the files beside it are written again."""
    extra = [photo.with_name("old_restored_compare.jpg"), photo.with_name("old_restored_boxes.jpg")]
    for path in extra:
        path.write_bytes(b"of the stopped run")
    assert run("restore", photo, "--compare", "--boxes", "--skip-existing")[0] == 0
    assert [size(path) for path in extra] == [(884, 400), (220, 200)]
    assert size(photo.with_name("old_restored.jpg")) == (440, 400)


def test_a_result_is_never_written_without_its_extra_files(run, drawn, photo):
    photo.with_name("old_restored_boxes.jpg").mkdir()
    code, _, err = run("restore", photo, "--compare", "--boxes", "--skip-existing")
    assert code == 2
    assert "old_restored_boxes.jpg', but must be a file; a folder or something else has this name" in err
    assert not photo.with_name("old_restored.jpg").exists()


@pytest.mark.parametrize("options", [[], ["--force"], ["--skip-existing"]])
def test_a_folder_with_the_name_of_the_result_is_an_error(run, drawn, photo, options):
    photo.with_name("old_restored.jpg").mkdir()
    code, _, err = run("restore", photo, *options)
    assert code == 2
    assert "old_restored.jpg', but must be a" in err
    assert "overwrite it" not in err


def test_skip_existing_takes_no_png_for_the_result_of_a_jpeg(run, drawn, photo):
    photo.with_name("old_restored.png").write_bytes(b"of old.png, which was restored before old.jpg came")
    assert run("restore", photo, "--skip-existing")[0] == 0
    assert photo.with_name("old_restored.jpg").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
@pytest.mark.parametrize("name", ["old.jpg", "old_restored.jpg"])
def test_skip_existing_does_not_wait_for_a_pipe(run, drawn, photo, name):
    pipe = photo.with_name(name)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    code, _, err = run("restore", photo, "--skip-existing")
    assert code == 2
    assert "it is a pipe" in err or "must be a file; a folder or something else" in err


def test_skip_existing_does_not_skip_inputs(run, drawn, photo):
    code, _, err = run("restore", photo, "-o", photo, "--skip-existing")
    assert code == 2
    assert "another file than the inputs" in err


def test_skip_existing_looks_before_it_decodes(run, drawn, photo, tmp_path, monkeypatch):
    Image.fromarray(smooth(30, 40)).save(tmp_path / "b.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for kind in ("jpg", "tiff"):
        Image.fromarray(smooth(30, 40)).save(tmp_path / f"turned {kind}.{kind}", exif=turned)
    assert run("restore", tmp_path, "-o", tmp_path / "out")[0] == 0
    monkeypatch.setattr("facemend.job.decode", lambda *given: pytest.fail("decoded"))
    code, out, _ = run("restore", tmp_path, "-o", tmp_path / "out", "--skip-existing")
    assert code == 0
    assert out.count("exists already") == 4


def test_skip_existing_refuses_a_result_of_another_size(run, drawn, photo, tmp_path):
    """Two folders may have pictures of one name; that of the other folder is not taken for this one's result."""
    other = tmp_path / "other" / "old.jpg"
    other.parent.mkdir()
    Image.fromarray(smooth(30, 40)).save(other)
    assert run("restore", photo, "-o", tmp_path / "out/")[0] == 0
    code, _, err = run("restore", other, "-o", tmp_path / "out/", "--skip-existing")
    assert code == 2
    assert "and not of 440 x 400 px; " in err
    assert "but must be of 80 x 60 px, as the result of" in err
    assert "choose another folder or overwrite it with --force" in err
    assert size(tmp_path / "out" / "old.jpg") == (440, 400)


def test_skip_existing_refuses_a_result_of_a_photo_taken_at_another_time(run, drawn, photo, tmp_path):
    for folder in ("trip1", "trip2"):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"199{folder[-1]}:07:12 10:00:00"
        (tmp_path / folder).mkdir()
        Image.fromarray(smooth(30, 40)).save(tmp_path / folder / "a.jpg", exif=exif)
    first, second = (["restore", tmp_path / name / "a.jpg", "-o", tmp_path / "out/"] for name in ("trip1", "trip2"))
    assert run(*first)[0] == run(*first, "--skip-existing")[0] == 0
    code, _, err = run(*second, "--skip-existing")
    assert code == 2
    assert "of a photo taken at 1991:07:12 10:00:00" in err


def test_skip_existing_writes_a_missing_picture_beside_the_result_and_leaves_the_result(run, drawn, photo):
    assert run("restore", photo, "--compare")[0] == 0
    result, compare, boxes = (photo.with_name(f"old_restored{end}.jpg") for end in ("", "_compare", "_boxes"))
    before = [path.stat().st_mtime_ns for path in (result, compare)]
    assert run("restore", photo, "--compare", "--boxes", "--skip-existing")[0] == 0
    assert size(boxes) == (220, 200)
    assert [path.stat().st_mtime_ns for path in (result, compare)] == before


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_keep_dates_gives_the_result_the_date_of_its_picture(run, drawn, photo, suffix):
    date = 900_000_000_123_456_789
    os.utime(photo, ns=(0, date))
    for arguments, kept in (([], False), (["--keep-dates"], True)):
        target = photo.with_name(f"{kept}{suffix}")
        assert run("restore", photo, "-o", target, *arguments)[0] == 0
        assert (abs(target.stat().st_mtime_ns - date) < 1000) == kept


def test_skip_existing_and_force_exclude_each_other(run, photo):
    code, _, err = run("restore", photo, "--skip-existing", "--force")
    assert code == 2
    assert "--force: not allowed with argument --skip-existing" in err


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_metadata_is_kept_without_and_removed_with_strip_metadata(run, drawn, photo, suffix):
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
        assert abs(seen - np.rot90(pixels, -1)).mean() < 3, "upright, with the same colours"


def test_a_read_only_folder_is_refused_before_the_networks_run(run, drawn, photo, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Pipeline, "run", lambda *given: pytest.fail("the networks ran"))
    code, _, err = run("restore", photo)
    assert code == 2
    assert "in a folder that may be written to" in err


@pytest.fixture
def described(tmp_path):
    """A PNG with a text and XMP."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a private prompt")
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>a private caption</x:xmpmeta>")
    path = tmp_path / "described.png"
    Image.fromarray(smooth(20, 30)).save(path, pnginfo=info)
    return path


def test_what_cannot_be_kept_is_said_on_one_line_and_in_json(run, drawn, described, tmp_path):
    code, out, err = run("restore", described, "-o", tmp_path / "new.webp", "--json")
    assert code == 0
    assert f"facemend: {described}: not kept: PNG texts (WebP has no place for it)\n" in err
    assert json.loads(out)["lost"] == ["PNG texts (WebP has no place for it)"]
    _, out, err = run("restore", described, "-o", tmp_path / "new.png", "--json")
    assert json.loads(out)["lost"] == []
    assert "not kept" not in err


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_strip_metadata_drops_all_of_it_and_says_nothing(run, drawn, described, suffix):
    for arguments, kept in (([], True), (["--strip-metadata"], False)):
        target = described.with_name(f"{kept}{suffix}")
        _, _, err = run("restore", described, "-o", target, *arguments)
        assert (b"a private caption" in target.read_bytes()) == kept
        assert kept or b"a private" not in target.read_bytes()
        assert kept or "not kept" not in err


def test_quality_lossless_writes_a_webp_without_loss(run, drawn, tmp_path):
    Image.fromarray(smooth(40, 50)).save(tmp_path / "a.png")
    options = ["--scale", 1, "--faces", "none", "--quality", "lossless"]
    assert run("restore", tmp_path / "a.png", "-o", tmp_path / "b.webp", *options)[0] == 0
    with Image.open(tmp_path / "b.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), smooth(40, 50))
    code, _, err = run("restore", tmp_path / "a.png", "--quality", "best")
    assert code == 2
    assert "'best' is not a whole number from 1 to 100, or lossless" in err


def test_formats_whose_package_is_missing_are_left_out_of_folders(run, drawn, photo, tmp_path, monkeypatch):
    (tmp_path / "old.nef").write_bytes(b"raw")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rawpy" else find(name))
    code, _, err = run("restore", tmp_path, "-o", tmp_path / "out")
    assert code == 0
    assert f"left out files that can be read after {install_command('raw')} (1)" in err
    code, _, err = run("restore", tmp_path / "old.nef", "-o", tmp_path / "out/")
    assert code == 2


@pytest.fixture
def two_restorers(monkeypatch):
    """`restore` finds a face of much detail and one of few px, and has a restorer for each."""

    def usual(crops, fidelity):
        return crops

    def other(crops, fidelity):
        return crops

    machine = Pipeline(
        detector=detector(face_at(similarity(3, 0, -80, -60)), face_at(similarity(12, 0, -3400, -1200))),
        restorer=Auto(FunctionRestorer(usual), FunctionRestorer(other)),
        upscaler=LanczosUpscaler(),
    )
    monkeypatch.setattr(Pipeline, "load", classmethod(lambda cls, **options: machine))


def test_json_says_which_restorer_each_face_got_and_why(run, two_restorers, tmp_path):
    path = tmp_path / "two.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8)).save(path)
    code, out, err = run("restore", path, "--json")
    assert code == 0
    assert "restorer: usual or other, " in err
    record = json.loads(out)
    assert record["restorer"] == "usual or other"
    assert [(face["net"], face["net_reason"]) for face in record["faces"]] == [
        ("usual", "enough detail to keep the likeness"),
        ("other", "only 42 real px across the crop"),
    ]
    assert "2 of 2 faces restored by usual, other  " in run("restore", path, "--force")[1]
    assert "1 of 2 faces restored by other (not chosen)  " in run("restore", path, "--force", "--faces", 1)[1]


def test_auto_with_the_bundled_models_says_why(run, tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    options = ["--aligned", "--model", "auto", "--upscaler", "auto", "--allow-noncommercial"]
    code, out, err = run("restore", path, "--json", *options)
    assert code == 0
    (face,) = json.loads(out)["faces"]
    reason = "only 40 real px across the crop, but there is no other restorer for it"
    assert (face["net"], face["net_reason"]) == ("lite", reason)
    assert "facemend: codeformer is not installed, so bad faces get lite too\n" in err


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
def test_names_of_files_do_not_reach_the_terminal_as_commands(run, tmp_path):
    photo, empty, frames = (tmp_path / f"\x1b]0;a\nb{name}" for name in ("  good.png", "bad.png", "two.gif"))
    Image.new("RGB", (40, 50)).save(photo)
    empty.touch()
    Image.new("L", (9, 9)).save(frames, save_all=True, append_images=[Image.new("L", (9, 9), 200)])
    for options in ([], ["--skip-existing"]):
        _, out, err = run("restore", photo, empty, frames, "-o", tmp_path / "out", "--model", "none", *options)
        assert out.count("\n") == 2
        assert "\x1b" not in out + err
        assert f"{tmp_path}/out/\\x1b]0;a\\nb  good.png  " in out, "as it is named, but for the control characters"
        (line,) = [line for line in err.splitlines() if "empty" in line]
        assert line.count("bad.png") == 1
