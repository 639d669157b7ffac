"""Which pictures the arguments name, and where their results are written."""

import errno
import os

import pytest
from PIL import Image

from facemend.batch.places import OWN
from tests.cli.conftest import size
from tests.hostile import saved_heif
from tests.pictures import smooth


def test_default_output_is_written_beside_the_input(run, drawn, photo):
    code, out, err = run("restore", photo)
    assert code == 0
    assert size(photo.with_name("old_restored.jpg")) == (440, 400)
    assert "old_restored.jpg  440 x 400  1 of 1 faces restored" in out
    assert "restorer: identity, upscaler: lanczos" in err


def test_output_file_gets_the_format_of_its_suffix(run, drawn, photo):
    assert run("restore", photo, "-o", photo.parent / "new.png", "--scale", 1.5)[0] == 0
    assert size(photo.parent / "new.png") == (330, 300)


def test_an_output_with_a_dot_is_a_folder_where_it_ends_with_a_slash_or_exists(run, drawn, photo, tmp_path):
    for output in (f"{tmp_path}/new.d/", tmp_path / "new.d"):
        assert run("restore", photo, "-o", output, "--force")[0] == 0
        assert size(tmp_path / "new.d" / "old.jpg") == (440, 400)
    code, _, err = run("restore", photo, "-o", tmp_path / "other.d")
    assert code == 2
    assert "suffix is '.d', but must be one of .jpg" in err
    assert err.strip().endswith("; end it with / for a folder")
    code, _, err = run("restore", photo, photo, "-o", tmp_path / "new.png")
    assert code == 2
    assert "a folder where there are several pictures; end it with /" in err


def test_a_folder_keeps_its_structure_in_the_output(run, drawn, photo, tmp_path):
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


def test_results_beside_the_inputs_are_not_restored_again(run, drawn, photo):
    assert run("restore", photo.parent)[0] == 0
    code, _, _ = run("restore", photo.parent)
    assert code == 2, "the result exists already"
    assert sorted(path.name for path in photo.parent.iterdir()) == ["old.jpg", "old_restored.jpg"]
    assert run("restore", photo.parent, "--force")[0] == 0


def test_an_empty_folder_exits_with_2(run, drawn, tmp_path):
    code, _, err = run("restore", tmp_path)
    assert code == 2
    assert "holds no pictures" in err


def test_results_inside_the_input_folder_are_not_restored_again(run, drawn, photo, tmp_path):
    for _ in range(2):
        assert run("restore", tmp_path, "-o", tmp_path / "out", "--force")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old.jpg"]


@pytest.mark.parametrize("output", ["{}/out", "{}/../{name}/out", "{}/link"])
def test_the_folder_of_results_is_recognised_in_every_spelling(run, drawn, photo, tmp_path, output, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("restore", ".", "-o", output.format(tmp_path, name=tmp_path.name), "--skip-existing")[0] == 0
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["old.jpg"]


def test_results_may_be_written_above_the_input_folder(run, drawn, photo, tmp_path):
    (tmp_path / "scans").mkdir()
    photo.rename(tmp_path / "scans" / "one.jpg")
    assert run("restore", tmp_path / "scans", "-o", tmp_path)[0] == 0
    assert size(tmp_path / "one.jpg") == (440, 400)


def test_a_circular_link_is_reported_once_and_the_others_are_restored(run, drawn, photo, tmp_path):
    (tmp_path / "ring.jpg").symlink_to("ring.jpg")
    code, _, err = run("restore", tmp_path, "-o", tmp_path / "out")
    assert code == 2
    assert err.count("ring.jpg") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old.jpg"]
    code, _, err = run("restore", photo, "-o", f"{tmp_path / 'ring.jpg'}/")
    assert code == 2
    assert "in a folder that can be made" in err


def test_hidden_folders_are_skipped_and_dangling_links_are_reported(run, drawn, photo, tmp_path):
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "old.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "lost.jpg").symlink_to("gone.jpg")
    photo.rename(photo.with_suffix(".jfif"))
    code, _, err = run("restore", tmp_path, "-o", tmp_path / "out")
    assert code == 2
    assert "lost.jpg: No such file" in err
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["old.jpg"]


def test_several_inputs_need_an_output_folder(run, photo):
    code, _, err = run("restore", photo, photo, "-o", photo.with_name("new.png"))
    assert code == 2
    assert "a folder" in err


def test_a_last_name_that_does_not_exist_may_be_meant_as_the_result(run, drawn, photo):
    code, _, err = run("restore", photo, photo.with_name("new.png"))
    assert code == 2
    assert f"if {photo.with_name('new.png')} is to be the result, write -o {photo.with_name('new.png')}" in err


def test_an_unreadable_folder_is_reported_and_the_others_are_restored(run, drawn, photo, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()

    def refusing(call, refused):
        def guarded(path, *arguments, **options):
            if str(path) == str(refused):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *arguments, **options)

        return guarded

    with monkeypatch.context() as patch:  # file modes do not apply to root
        patch.setattr(os, "scandir", refusing(os.scandir, closed))
        patch.setattr(os, "stat", refusing(os.stat, closed / OWN))
        code, out, err = run("restore", tmp_path)
    assert code == 2
    assert "old_restored.jpg" in out
    assert f"cannot open {closed}: Permission denied" in err


@pytest.mark.parametrize("arguments", [[""], ["old.jpg", "-o", ""]])
def test_an_empty_name_is_not_the_current_folder(run, drawn, photo, arguments, monkeypatch):
    monkeypatch.chdir(photo.parent)
    code, _, err = run("restore", *arguments)
    assert code == 2
    assert "an empty name" in err
    assert [path.name for path in photo.parent.iterdir()] == ["old.jpg"]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture
def pair(tmp_path):
    """A folder with a photo in two formats, as phones and cameras write them."""
    folder = tmp_path / "pair"
    folder.mkdir()
    (folder / "IMG_2.HEIC").write_bytes(saved_heif(Image.fromarray(smooth(60, 90))))
    Image.fromarray(smooth(40, 50)).save(folder / "IMG_2.JPG")
    return folder


def test_pictures_that_differ_only_in_their_suffixes_are_all_restored(run, drawn, pair, tmp_path):
    assert run("restore", pair, "-o", tmp_path / "out")[0] == 0
    assert size(tmp_path / "out" / "IMG_2.jpg") == (100, 80), "the JPEG keeps its name"
    assert size(tmp_path / "out" / "IMG_2_HEIC.jpg") == (180, 120)
    assert run("restore", pair)[0] == 0
    assert {"IMG_2_restored.jpg", "IMG_2_HEIC_restored.jpg"} < set(names(pair))


@pytest.mark.parametrize("order", [("HEIC", "JPG"), ("JPG", "HEIC")])
def test_one_by_one_they_have_the_same_names_and_neither_is_taken_for_done(run, drawn, pair, tmp_path, order):
    for suffix in order:
        code, out, _ = run("restore", pair / f"IMG_2.{suffix}", "-o", tmp_path / "out/", "--skip-existing")
        assert code == 0
        assert "exists already" not in out
    assert names(tmp_path / "out") == ["IMG_2.jpg", "IMG_2_HEIC.jpg"]
    out = run("restore", pair, "-o", tmp_path / "out/", "--skip-existing")[1]
    assert out.count("exists already") == 2


def test_pictures_of_one_name_in_several_folders_are_all_restored(run, drawn, tmp_path):
    for number, folder in enumerate(("trip1", "trip2", "more/trip2")):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(smooth(20, 20 + number)).save(tmp_path / folder / "a.png")
    pictures = [tmp_path / folder / "a.png" for folder in ("trip1", "trip2", "more/trip2")]
    for _ in range(2):
        code, _, err = run("restore", *pictures, pictures[0], "-o", tmp_path / "out/", "--skip-existing")
        assert code == 0
        assert f"{pictures[0]} is given twice; it is restored once" in err
    assert names(tmp_path / "out") == ["a.png", "more_trip2_a.png", "trip2_a.png"]
    assert [size(tmp_path / "out" / f"{name}.png")[0] for name in ("a", "trip2_a", "more_trip2_a")] == [40, 42, 44]


def test_names_that_end_like_a_result_are_left_out_only_where_results_are_written(run, drawn, photo, tmp_path):
    photo.rename(photo.with_name("scan_restored.jpg"))
    code, _, err = run("restore", tmp_path)
    assert code == 2
    assert "left out files named like results, such as NAME_restored (1)" in err
    assert run("restore", tmp_path, "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["scan_restored.jpg"]


def test_what_is_left_out_of_a_folder_is_counted_on_one_line(run, drawn, photo, tmp_path):
    for name in ("notes.txt", "list.csv", ".hidden.jpg", "old_restored.png"):
        (tmp_path / name).write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "again").symlink_to(".")
    _, _, err = run("restore", tmp_path, "-o", tmp_path / "out")
    (line,) = [line for line in err.splitlines() if "left out" in line]
    for words in (
        "folders of results (1)",
        "links to folders that are searched anyway (1)",
        "files of other kinds (2)",
        "hidden files and folders (1)",
    ):
        assert words in line


def test_links_to_folders_are_followed_once(run, drawn, photo, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    (tmp_path / "elsewhere").mkdir()
    photo.rename(tmp_path / "elsewhere" / "a.jpg")
    (scans / "one").symlink_to(tmp_path / "elsewhere")
    (scans / "two").symlink_to(tmp_path / "elsewhere")
    (scans / "ring").symlink_to(scans)
    assert run("restore", scans, "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["one/a.jpg"]


@pytest.mark.parametrize("suffix", [".hif", ".jpe", ".mpo", ".HEIF"])
def test_every_suffix_of_a_known_format_is_found_in_folders(run, drawn, pair, tmp_path, suffix):
    (pair / "IMG_2.HEIC").unlink()
    (pair / "IMG_2.JPG").rename(pair / f"a{suffix}")
    assert run("restore", pair, "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["a.jpg"], "the content says the format"
