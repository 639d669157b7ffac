"""One source to written files: what is checked before the networks run, what is written, what an error leaves."""

import os
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from facemend import job
from facemend.errors import (
    Cancelled,
    DecodeError,
    InputError,
    MemoryLimitError,
    OptionError,
    OutputError,
    TooLargeError,
)
from facemend.files.encode import encode
from facemend.job import Job, run, run_in_memory
from facemend.pipeline import Pipeline
from facemend.records import Metadata, Picture, Settings
from facemend.stages.align import align
from facemend.stages.paste import paste
from facemend.stages.repair import NetRepairer
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler, NetUpscaler
from tests.pictures import CPU, TILING, Repeat, Whites, detector, face_at, identity, similarity, smooth

PICTURE = smooth(100, 120)
FACE = face_at(similarity(6, 0, -100, -50))


def pipeline(restorer=identity, upscaler=None, detect=None, repairer=None):
    return Pipeline(
        detector=detect or detector(FACE),
        restorer=FunctionRestorer(restorer),
        upscaler=upscaler or LanczosUpscaler(),
        repairer=repairer,
    )


def test_a_source_that_is_deleted_during_the_work_costs_no_result(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Picture(PICTURE), "png"))
    os.utime(path, ns=(10**18, 10**18))

    def delete(crops, fidelity):
        path.unlink()
        return crops

    run(Job(source=path, target=tmp_path / "b.png", keep_dates=True), pipeline(delete), Settings())
    assert (tmp_path / "b.png").stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png"])
def test_a_target_that_no_file_can_have_is_found_before_the_work(tmp_path, never, name):
    with pytest.raises(OptionError, match="a name a file can have"):
        run(Job(source=PICTURE, target=tmp_path / name), never, Settings())


@pytest.fixture
def never():
    """A pipeline that must not run."""

    def detect(pixels, settings):
        pytest.fail("the networks ran")

    return pipeline(detect=detect)


def png(pixels=PICTURE):
    return encode(Picture(pixels), "png")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def size(path):
    with Image.open(path) as image:
        image.load()
        return image.size


@pytest.mark.parametrize("kind", ["path", "bytes", "image", "array"])
def test_every_kind_of_source_is_decoded_and_its_result_written(tmp_path, kind):
    (tmp_path / "old.png").write_bytes(png())
    path = tmp_path / "old.png"
    source = {"path": path, "bytes": png(), "image": Image.fromarray(PICTURE), "array": PICTURE}[kind]
    done = run(Job(source=source, target=tmp_path / "new.png"), pipeline(), Settings(scale=1.5))
    expected = pipeline().run(PICTURE, Settings(scale=1.5))
    np.testing.assert_array_equal(done.result.pixels, expected.pixels)
    assert [face.restored for face in done.result.faces] == [True]
    with Image.open(done.outputs.target) as image:
        np.testing.assert_array_equal(np.asarray(image), expected.pixels)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP"), (".tif", "TIFF")])
def test_the_suffix_of_the_target_is_the_format(tmp_path, suffix, kind):
    done = run(Job(source=PICTURE, target=tmp_path / f"new{suffix}"), pipeline(), Settings())
    assert done.outputs.paths() == [tmp_path / f"new{suffix}"]
    assert names(tmp_path) == [f"new{suffix}"]
    with Image.open(done.outputs.target) as image:
        assert image.format == kind


@pytest.mark.parametrize(
    ("source", "wanted", "expected"),
    [
        ("jpeg", "auto", "new.v2.jpg"),
        ("gif", "auto", "new.v2.png"),
        ("png", "jpg", "new.v2.jpg"),
        ("png", "jpeg", "new.v2.jpg"),
        ("png", "tiff", "new.v2.tiff"),
    ],
)
def test_a_target_without_suffix_gets_that_of_the_format(tmp_path, source, wanted, expected):
    path = tmp_path / "old"
    Image.fromarray(PICTURE).save(path, source)
    done = run(Job(source=path, target=tmp_path / "out" / "new.v2", format=wanted), pipeline(), Settings())
    assert done.outputs.target == tmp_path / "out" / expected
    assert names(tmp_path / "out") == [expected]
    assert size(done.outputs.target) == (240, 200)


def test_compare_and_boxes_are_written_beside_the_result(tmp_path):
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True)
    done = run(work, pipeline(), Settings())
    assert done.outputs.paths() == [tmp_path / "new.png", tmp_path / "new_compare.jpg", tmp_path / "new_boxes.jpg"]
    assert [size(path) for path in done.outputs.paths()] == [(240, 200), (484, 200), (120, 100)]
    assert len(names(tmp_path)) == 3


def test_the_mask_is_written_beside_the_result(tmp_path):
    machine = pipeline(repairer=NetRepairer("whites", Whites(), CPU, replace(TILING, scale=1, step=16)))
    work = Job(source=PICTURE, target=tmp_path / "new.png", mask=True)
    done = run(work, machine, Settings(repair=True))
    assert done.outputs.paths() == [tmp_path / "new.png", tmp_path / "new_mask.png"]
    assert size(tmp_path / "new_mask.png") == (120, 100)
    with pytest.raises(InputError, match="^a mask shows what was repaired; add repair$"):
        run(Job(source=PICTURE, target=tmp_path / "other.png", mask=True), machine, Settings())


def test_quality_and_metadata_are_passed_to_the_encoder(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a private camera"
    source = tmp_path / "old.jpg"
    Image.fromarray(PICTURE).save(source, exif=exif)
    plain, small, stripped = (
        run(Job(source=source, target=tmp_path / name, **options), pipeline(), Settings()).outputs.target.read_bytes()
        for name, options in (
            ("a.jpg", {}),
            ("b.jpg", {"quality": 20}),
            ("c.jpg", {"strip_metadata": True}),
        )
    )
    assert len(small) < len(plain) / 2
    assert b"a private camera" in plain
    assert b"a private camera" not in stripped


@pytest.mark.parametrize("existing", ["new.png", "new_compare.jpg", "new_boxes.jpg"])
def test_existing_files_are_refused_before_the_networks_run_and_replaced_with_force(tmp_path, never, existing):
    (tmp_path / existing).write_bytes(b"precious")
    options = {"source": PICTURE, "target": tmp_path / "new.png", "compare": True, "boxes": True}
    with pytest.raises(OptionError, match=existing) as caught:
        run(Job(**options), never, Settings())
    assert "force" in str(caught.value)
    assert names(tmp_path) == [existing]
    assert (tmp_path / existing).read_bytes() == b"precious"
    run(Job(**options, force=True), pipeline(), Settings())
    assert len(names(tmp_path)) == 3
    assert (tmp_path / existing).read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("options", "settings", "error", "message"),
    [
        ({"target": "new.gif"}, {}, OptionError, ".gif"),
        ({"target": "new"}, {}, OptionError, "suffix"),
        ({"format": "bmp"}, {}, OptionError, "bmp"),
        ({"source": np.zeros((9, 9, 4), np.uint8), "target": "new.jpg"}, {}, OptionError, "transparency"),
        ({"target": "new.webp"}, {"scale": 8}, OptionError, "a side over"),
        ({"quality": 101}, {}, OptionError, "quality"),
        ({"compare": True}, {"scale": 8}, OptionError, "compare"),
        (
            {"source": np.zeros((1, 65501, 3), np.uint8), "boxes": True},
            {"scale": 1},
            OptionError,
            "boxes is '65501 x 1 px'",
        ),
        ({"target": "file/new.png"}, {}, OptionError, "folder"),
        ({"target": "x" * 300 + ".png"}, {}, OptionError, "name"),
        ({"source": b"text"}, {}, DecodeError, "format"),
        ({}, {"max_input_mp": 0.001}, TooLargeError, "max_input_mp"),
    ],
)
def test_invalid_options_are_refused_before_the_networks_run(tmp_path, never, options, settings, error, message):
    (tmp_path / "file").touch()
    given = {"source": np.zeros((4, 5000, 3), np.uint8), "target": "new.png", **options}
    given["target"] = tmp_path / given["target"]
    with pytest.raises(error, match=message):
        run(Job(**given), never, Settings(**settings))
    assert names(tmp_path) == ["file"]


def test_check_gets_the_decoded_picture_and_the_files_before_anything_is_written(tmp_path):
    seen = []

    def check(picture, outputs):
        seen.append((picture.pixels.copy(), outputs.paths(), names(tmp_path)))
        return True

    work = Job(source=PICTURE, target=tmp_path / "out" / "new.png", boxes=True)
    run(work, pipeline(), Settings(), check=check)
    ((pixels, paths, there),) = seen
    np.testing.assert_array_equal(pixels, PICTURE)
    assert paths == [tmp_path / "out" / "new.png", tmp_path / "out" / "new_boxes.jpg"]
    assert there == []


def test_check_that_returns_false_ends_the_job_without_a_trace(tmp_path, never):
    work = Job(source=PICTURE, target=tmp_path / "out" / "new.png")
    assert run(work, never, Settings(), check=lambda picture, outputs: False) is None
    assert names(tmp_path) == []


def test_check_may_refuse_with_an_error(tmp_path, never):
    def refuse(picture, outputs):
        raise InputError("not this one")

    with pytest.raises(InputError, match="not this one"):
        run(Job(source=PICTURE, target=tmp_path / "out" / "new.png"), never, Settings(), check=refuse)
    assert names(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"text", png()[:-200]], ids=["empty", "text", "truncated"])
def test_error_messages_name_the_source_as_the_job_does(tmp_path, never, data):
    path = tmp_path / "secret path.png"
    path.write_bytes(data)
    for name, expected in (("the image", "the image"), ("", str(path))):
        with pytest.raises(DecodeError) as caught:
            run(Job(source=path, target=tmp_path / "new.png", name=name), never, Settings())
        assert expected in str(caught.value)
        assert ("secret path" in str(caught.value)) == (not name)


class Clock:
    """Replaces `time.perf_counter`; steps of a job move it forward."""

    def __init__(self, monkeypatch):
        self.now = 0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def taking(self, seconds, function):
        def slow(*arguments, **options):
            self.now += seconds
            return function(*arguments, **options)

        return slow


def test_seconds_of_all_steps_add_up_to_the_total(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(job, "decode", clock.taking(1, job.decode))
    monkeypatch.setattr(os, "fsync", clock.taking(100, os.fsync))
    monkeypatch.setattr("facemend.pipeline.align", clock.taking(3, align))
    monkeypatch.setattr("facemend.pasting.paste", clock.taking(6, paste))
    slow = Pipeline(
        detector=clock.taking(2, detector(FACE)),
        restorer=FunctionRestorer(clock.taking(4, identity)),
        upscaler=LanczosUpscaler(),
    )
    monkeypatch.setattr(LanczosUpscaler, "__call__", clock.taking(5, LanczosUpscaler.__call__))
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True)
    seconds = dict(run(work, slow, Settings(scale=1)).result.seconds)
    total = seconds.pop("total")
    assert seconds == {"decode": 1, "detect": 2, "align": 3, "restore": 4, "upscale": 5, "paste": 6, "encode": 300}
    assert total == sum(seconds.values())


def broken(*arguments, **options):
    raise RuntimeError("the device is gone")


@pytest.mark.parametrize(
    "machine",
    [pipeline(detect=broken), pipeline(restorer=broken), pipeline(upscaler=broken)],
    ids=["detector", "restorer", "upscaler"],
)
def test_a_network_that_fails_leaves_no_file_and_keeps_the_old_one(tmp_path, machine):
    (tmp_path / "new.png").write_bytes(b"old")
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True, force=True)
    with pytest.raises(RuntimeError, match="the device is gone"):
        run(work, machine, Settings())
    assert names(tmp_path) == ["new.png"]
    assert (tmp_path / "new.png").read_bytes() == b"old"


def too_much(*arguments, **options):
    return cv2.resize(PICTURE, (2**24, 2**24))


@pytest.mark.parametrize(
    "work",
    [
        lambda target: pipeline(detect=too_much).find(PICTURE),
        lambda target: pipeline(detect=too_much).run(PICTURE),
        lambda target: run(Job(source=PICTURE, target=target), pipeline(), Settings()),
        lambda target: run_in_memory(PICTURE, pipeline(), Settings()),
    ],
    ids=["find", "compute", "write", "encode"],
)
def test_too_little_memory_is_an_error_that_says_what_to_do(tmp_path, monkeypatch, work):
    monkeypatch.setattr("facemend.result.encode", too_much)
    with pytest.raises(MemoryLimitError, match="not enough memory for this picture; close other programs, lower scale"):
        work(tmp_path / "new.png")
    assert names(tmp_path) == []


def test_a_file_that_another_program_writes_meanwhile_is_kept(tmp_path):
    target = tmp_path / "new.png"

    def meanwhile(stage, done, total):
        target.write_bytes(b"another's")

    with pytest.raises(OptionError, match="must be a new file"):
        run(Job(source=PICTURE, target=target), pipeline(), Settings(), progress=meanwhile)
    assert target.read_bytes() == b"another's"


@pytest.mark.parametrize("stage", ["restore", "upscale", "paste"])
def test_cancelled_in_any_stage_leaves_no_file_and_keeps_the_old_one(tmp_path, stage):
    def cancel(now, done, total):
        if now == stage:
            raise Cancelled

    machine = pipeline(upscaler=NetUpscaler("repeat", Repeat(), CPU, TILING))
    (tmp_path / "new.png").write_bytes(b"old")
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True, force=True)
    with pytest.raises(Cancelled):
        run(work, machine, Settings(), progress=cancel)
    assert names(tmp_path) == ["new.png"]
    assert (tmp_path / "new.png").read_bytes() == b"old"
    with pytest.raises(Cancelled):
        run(replace(work, target=tmp_path / "folder" / "new.png"), machine, Settings(), progress=cancel)
    assert names(tmp_path) == ["new.png"], "the folder is made when there is something to put into it"


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_write_that_fails_leaves_only_whole_files_and_no_result(tmp_path, monkeypatch, writes):
    """The result is written last: where it is, the other files are whole."""
    left = [writes]
    fsync = os.fsync

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True)
    with pytest.raises(OutputError, match="No space left on device"):
        run(work, pipeline(), Settings())
    assert names(tmp_path) == sorted(["new_compare.jpg", "new_boxes.jpg"][:writes])
    assert all(size(path) for path in tmp_path.iterdir())


def test_in_memory_the_bytes_are_those_of_the_file(tmp_path):
    settings = Settings(scale=1.5)
    done = run(Job(source=png(), target=tmp_path / "new", format="webp"), pipeline(), settings)
    encoded = run_in_memory(png(), pipeline(), settings, format="webp")
    assert encoded.data == done.outputs.target.read_bytes()
    assert (encoded.format.suffix, encoded.lost) == (".webp", done.lost)
    assert encoded.result.seconds.keys() == done.result.seconds.keys()


def test_in_memory_a_wrong_format_is_found_before_the_work(never):
    with pytest.raises(OptionError, match="format is 'bmp'"):
        run_in_memory(png(), never, Settings(), format="bmp")
    with pytest.raises(DecodeError, match="cannot read this file"):
        run_in_memory(b"hello", never, Settings(), name="this file")


def test_in_memory_given_faces_are_not_looked_for(never):
    encoded = run_in_memory(png(), never, Settings(faces=(0,)), faces=[FACE])
    assert [face.restored for face in encoded.result.faces] == [True]


def test_in_memory_progress_may_cancel():
    def cancel(stage, done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        run_in_memory(png(), pipeline(), Settings(), progress=cancel)


def test_resume_keeps_what_is_there_and_writes_the_files_beside_it_that_are_missing(tmp_path):
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True, resume=True)
    run(work, pipeline(), Settings())
    for name in ("new.png", "new_compare.jpg"):
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "new_boxes.jpg").unlink()
    run(work, pipeline(), Settings())
    assert (tmp_path / "new.png").read_bytes() == (tmp_path / "new_compare.jpg").read_bytes() == b"kept"
    assert size(tmp_path / "new_boxes.jpg") == (120, 100)


def test_resume_writes_all_files_where_the_result_is_missing(tmp_path):
    machine = pipeline(repairer=NetRepairer("whites", Whites(), CPU, replace(TILING, scale=1, step=16)))
    work = Job(source=PICTURE, target=tmp_path / "new.png", compare=True, boxes=True, mask=True, resume=True)
    beside = ["new_boxes.jpg", "new_compare.jpg", "new_mask.png"]
    for name in beside:
        (tmp_path / name).write_bytes(b"of another result")
    run(work, machine, Settings(repair=True))
    assert [size(tmp_path / name) for name in ("new.png", *beside)] == [(240, 200), (120, 100), (484, 200), (120, 100)]


def test_resume_keeps_a_mask_beside_the_result(tmp_path):
    machine = pipeline(repairer=NetRepairer("whites", Whites(), CPU, replace(TILING, scale=1, step=16)))
    for name in ("new.png", "new_boxes.jpg", "new_mask.png"):
        (tmp_path / name).write_bytes(b"kept")
    work = Job(source=PICTURE, target=tmp_path / "new.png", boxes=True, mask=True, resume=True)
    run(work, machine, Settings(repair=True))
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"kept"}


def test_the_mask_is_white_where_the_input_was_repaired(tmp_path):
    machine = pipeline(repairer=NetRepairer("whites", Whites(), CPU, replace(TILING, scale=1, step=16)))
    scratched = PICTURE.copy()
    scratched[30:33] = 255
    run(Job(source=scratched, target=tmp_path / "new.png", mask=True), machine, Settings(repair=True))
    with Image.open(tmp_path / "new_mask.png") as image:
        assert image.mode == "L"
        white = np.asarray(image) > 127
    assert white[30:33].all()
    assert not white[:25].any()
    assert not white[40:].any()


def test_metadata_that_is_left_out_on_request_is_not_lost(tmp_path):
    source = replace(Picture(PICTURE), format="png", metadata=Metadata(text=((b"tEXt", b"Author\0me"),)))
    for strip, expected in ((False, 1), (True, 0)):
        work = Job(source=encode(source, "png"), target=tmp_path / f"{strip}.webp", strip_metadata=strip)
        assert len(run(work, pipeline(), Settings()).lost) == expected


@pytest.mark.parametrize(
    ("shape", "options", "scale"), [((9000, 2), {"compare": True}, 8), ((65501, 1), {"boxes": True}, 1)]
)
def test_files_beside_the_result_that_would_be_too_high_are_refused(tmp_path, never, shape, options, scale):
    work = Job(source=np.zeros((*shape, 3), np.uint8), target=tmp_path / "new.png", **options)
    with pytest.raises(OptionError, match="at most 65500 px a side"):
        run(work, never, Settings(scale=scale))


def test_boxes_are_drawn_on_the_input_however_large_the_result_is(tmp_path, never):
    work = Job(source=np.zeros((1, 10_000, 3), np.uint8), target=tmp_path / "new.png", boxes=True)
    seen = []
    run(work, never, Settings(scale=8), check=lambda picture, outputs: seen.extend(outputs.paths()) or False)
    assert seen == [tmp_path / "new.png", tmp_path / "new_boxes.jpg"]


@pytest.mark.parametrize(
    ("kind", "options", "kept"),
    [(str, {"keep_dates": True}, True), (str, {}, False), (bytes, {"keep_dates": True}, False)],
)
def test_the_date_is_kept_on_request_where_the_source_is_a_file(tmp_path, kind, options, kept):
    path = tmp_path / "old.png"
    path.write_bytes(png())
    os.utime(path, ns=(10**18, 10**18))
    source = str(path) if kind is str else png()
    done = run(Job(source=source, target=tmp_path / "new.png", **options), pipeline(), Settings())
    assert (done.outputs.target.stat().st_mtime_ns == 10**18) == kept
