"""What the lines in the destination say."""

import json
import sys

import pytest

from facemend.batch import manifest
from facemend.batch.manifest import Manifest, State
from facemend.batch.places import Folder
from facemend.batch.plan import Outcome
from facemend.errors import DecodeError, FacemendError, OutputError


@pytest.fixture
def place(tmp_path):
    (tmp_path / "a.jpg").touch()
    return Folder(tmp_path)


def parts(place):
    return sorted((place / manifest.FOLDER).iterdir())


def filled(place, recipe="r"):
    lines = Manifest(place, recipe)
    lines.add(Outcome("a.heic", ("a.jpg",)))
    lines.add(Outcome("b.heic", ("b.jpg",)))
    lines.add(Outcome("c.jpg", error=DecodeError("broken")))
    lines.add(Outcome("d.jpg", error=FacemendError("no memory")))


def states(lines):
    return [lines.state(key) for key in ("a.heic", "b.heic", "c.jpg", "d.jpg", "e.jpg")]


def test_done_is_what_has_its_output(place):
    filled(place)
    assert states(Manifest(place, "r")) == [State.DONE, None, State.MISTAKE, State.FAILED, None]


def test_lines_of_another_recipe_do_not_count_but_their_outputs_are_known(place):
    filled(place, "other")
    lines = Manifest(place, "r")
    assert states(lines) == [None] * 5
    assert lines.others == 1


def test_pictures_whose_result_was_deleted_are_known_by_the_last_line_of_the_recipe(place):
    filled(place)
    assert Manifest(place, "r").deleted == ("b.heic",)
    assert Manifest(place, "other").deleted == ()
    Manifest(place, "r").add(Outcome("b.heic", error=DecodeError("broken")))
    assert Manifest(place, "r").deleted == ()


def test_the_last_line_counts(place, tmp_path):
    filled(place)
    lines = Manifest(place, "r")
    lines.add(Outcome("d.jpg", ("a.jpg",)))
    lines.add(Outcome("a.heic", error=FacemendError("no")))
    assert states(Manifest(place, "r")) == [State.FAILED, None, State.MISTAKE, State.DONE, None]


def test_a_result_that_another_picture_has_replaced_is_not_done(place):
    filled(place)
    lines = Manifest(place, "r")
    assert lines.is_of_another("a.jpg", "d.jpg")
    assert not lines.is_of_another("a.jpg", "a.heic")
    assert not lines.is_of_another("b.jpg", "d.jpg"), "it was deleted"
    lines.add(Outcome("d.jpg", ("a.jpg",)))
    assert states(Manifest(place, "r")) == [None, None, State.MISTAKE, State.DONE, None]
    assert Manifest(place, "other").others == 1


def test_the_mark_of_a_picture_stays_until_all_its_results_are_in_the_manifest(place):
    """Of a picture that failed, some files may be there; they are this batch's own."""
    keys = "done.jpg", "failed.jpg"
    for key in keys:
        place.mark(manifest.claim(key))
    lines = Manifest(place, "r")
    lines.add(Outcome("done.jpg", ("done.png",)))
    lines.add(Outcome("failed.jpg", error=FacemendError("no memory")))
    assert [place.exists(manifest.claim(key)) for key in keys] == [False, True]


def test_a_torn_last_line_is_ignored(place, tmp_path):
    filled(place)
    [part] = (tmp_path / manifest.FOLDER).iterdir()
    whole = part.read_bytes()
    for end in range(len(whole)):
        part.write_bytes(whole[:end])
        count = whole[:end].count(b"\n")
        expected = [State.DONE, None, State.MISTAKE, State.FAILED][:count] + [None] * (5 - count)
        assert states(Manifest(place, "r")) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit for files")
def test_a_full_disk_leaves_no_half_line_for_the_next_one_to_continue(place):
    import resource

    filled(place)
    lines = Manifest(place, "r")
    lines.add(Outcome("b.heic", error=FacemendError("no memory")))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))  # B; a part of the next line
    try:
        with pytest.raises(OutputError):
            lines.add(Outcome("e.jpg", ("a.jpg",)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    lines.write()
    assert states(Manifest(place, "r"))[-1] == State.DONE


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b'{"input": "a.heic"}'])
def test_a_damaged_line_is_an_error(place, tmp_path, line):
    filled(place)
    [part] = (tmp_path / manifest.FOLDER).iterdir()
    part.write_bytes(line + b"\n" + part.read_bytes())
    with pytest.raises(FacemendError, match="is damaged; delete it and keep its results with skip_existing"):
        Manifest(place, "r")


def test_a_file_has_a_limit_of_lines(place, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "LINES", 3)
    filled(place)
    written = sorted((tmp_path / manifest.FOLDER).iterdir())
    assert [len(path.read_text().splitlines()) for path in written] == [3, 1]
    assert json.loads(written[1].read_text())["error"] == "no memory"
    assert states(Manifest(place, "r")) == [State.DONE, None, State.MISTAKE, State.FAILED, None]
