"""`facemend batch`: its options, exit codes and messages."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from facemend.cli import _parser
from facemend.files import formats
from tests.batch.places import files, numbered
from tests.programs import allow_ctrl_c

batch = import_module("facemend.cli.batch")  # not the function of this name
FAST = ("--model", "none", "--upscaler", "lanczos", "--workers", "1")


@pytest.fixture
def source(tmp_path):
    numbered(tmp_path / "in", range(9, 12))
    return tmp_path / "in"


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "out"


def options_of(command):
    [commands] = [action for action in _parser()._actions if action.dest == "==SUPPRESS==" or action.choices]
    return {name for action in commands.choices[command]._actions for name in action.option_strings}


def test_it_has_all_options_of_restore():
    added = {"--engine", "--workers", "--retry-failed"}
    assert options_of("batch") - added == options_of("restore") - {"-o", "--output"}


def test_it_writes_what_restore_writes(run, source, destination, tmp_path):
    code, out, err = run("batch", source, destination, *FAST)
    assert (code, out) == (0, "")
    assert err.splitlines()[0].startswith("facemend: restorer: none, upscaler: lanczos")
    assert err.splitlines()[-1].startswith("facemend: 3 restored in ")
    assert run("restore", source, "-o", tmp_path / "expected", *FAST[:4])[0] == 0
    assert files(destination) == files(tmp_path / "expected")
    code, _, err = run("batch", source, destination, *FAST)
    assert code == 0
    assert err.splitlines()[-1].startswith("facemend: 3 done before in ")


def test_a_bad_picture_is_one_line_and_the_exit_code(run, source, destination):
    (source / "bad.png").write_text("no picture")
    (source / "notes.txt").touch()
    code, _, err = run("batch", source, destination, *FAST)
    assert code == 2
    assert len([line for line in err.splitlines() if "bad.png" in line]) == 1
    assert f"facemend: {source}: left out files of other kinds (1)" in err
    assert re.search(r"3 restored, 1 failed in [\d.]+ s \([\d.]+ pictures/s\)\n", err)
    code, _, err = run("batch", source, destination, *FAST)
    assert code == 2
    assert "pictures that failed in earlier runs: 1 (bad.png); try them again with --retry-failed" in err
    assert re.search(r"3 done before in [\d.]+ s\n", err), "no rate, as nothing was restored"
    (source / "bad.png").unlink()
    assert run("batch", source, destination, *FAST)[0] == 0


def test_the_first_of_many_pictures_that_were_refused_earlier_are_named(run, source, destination):
    for name in ("v", "w", "x", "y"):
        (source / f"{name}.png").write_text("no picture")
    run("batch", source, destination, *FAST)
    _, _, err = run("batch", source, destination, *FAST)
    assert "pictures that failed in earlier runs: 4 (v.png, w.png, x.png, ...); try them again with" in err
    for path in source.rglob("*.png"):
        if not path.stem.isalpha():
            path.unlink()
    _, _, err = run("batch", source, destination, *FAST)
    assert err.splitlines()[-1].endswith("--retry-failed"), "no summary of nothing"


def test_json_has_one_line_for_each_picture(run, source, destination):
    (source / "bad.png").write_text("no picture")
    code, out, _ = run("batch", source, destination, *FAST, "--json")
    assert code == 2
    records = {record["input"]: record for record in map(json.loads, out.splitlines())}
    assert len(records) == 4
    assert "its format is unknown" in records[f"{source}/bad.png"]["error"]
    record = records[f"{source}/0/9.png"]
    assert record["output"] == f"{destination}/0/9.png"
    assert record["size"] == [16, 16]
    assert record["faces"] == []
    (destination / ".facemend" / "manifest").rename(destination / ".facemend" / "old")
    _, out, _ = run("batch", source, destination, *FAST, "--json", "--skip-existing")
    skipped = {"input": f"{source}/0/9.png", "output": f"{destination}/0/9.png", "skipped": True}
    assert skipped in map(json.loads, out.splitlines())


def test_results_in_the_source_are_no_pictures(run, source):
    assert run("batch", source, source / "out", *FAST)[0] == 0
    code, _, err = run("batch", source, source / "out", *FAST)
    assert code == 0
    assert "3 done before" in err
    assert "left out folders of results (1)" in err
    code, _, err = run("batch", source, source / "other", *FAST)
    assert "left out folders of results (2)" in err, "those of another batch too"
    assert "3 restored" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in/0/9.png", "out"], "is not a folder; check the path"),
        (["gone", "out"], "is not a folder; check the path"),
        (["in", "in"], "must be neither the source nor a folder that holds it"),
        (["in/0", "in"], "must be neither the source nor a folder that holds it"),
        (["in", "/"], "must be neither the source nor a folder that holds it"),
        (["s3://scans/in", "s3://scans"], "must be neither the source nor a folder that holds it"),
        (["in", "out", "--mask"], "a mask shows what was repaired; add --repair"),
        (["in", "s3://scans", "--keep-dates"], "a bucket keeps no dates; leave out --keep-dates"),
        (["in", "ftp://host/a"], "give a folder, or a URL with s3://, gs:// or az://"),
        (["in", "out", "--scale", "9"], "--scale is 9.0"),
        (["in", "out", "--workers", "0"], "argument --workers: '0' is not a whole number from 1"),
        (["in", ""], "an empty name"),
        (["in", "s3://"], "'s3://' names no bucket"),
    ],
)
def test_mistakes_are_found_before_the_work(run, source, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("facemend.batch.run.make_engine", lambda *_: pytest.fail("workers were started"))
    before = files(tmp_path)
    code, _, err = run("batch", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", [None, "notes.txt", "layers.psd"])
def test_a_folder_without_pictures_is_an_error(run, tmp_path, destination, name, monkeypatch):
    monkeypatch.setattr(formats.Format, "installed", property(lambda row: row.name != "psd"))
    (tmp_path / "in").mkdir()
    if name:
        (tmp_path / "in" / name).touch()
    code, _, err = run("batch", tmp_path / "in", destination, *FAST)
    assert code == 2
    assert "holds no pictures to restore (JPEG, PNG, WebP, " in err
    assert (name is None) == ("left out" not in err)
    assert not destination.exists()


def test_a_terminal_shows_how_many_are_done_of_how_many(run, source, destination, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, _, err = run("batch", source, destination, *FAST)
    assert re.search(r"3/3 \[.*picture", err)
    (destination / "0" / "9.png").unlink()
    _, _, err = run("batch", source, destination, *FAST)
    assert re.search(r"1/1 \[.*picture", err)


def test_hidden_objects_and_results_of_a_bucket_are_left_out(monkeypatch):
    names = ["a.jpg", ".b/a.jpg", "sub/.a.jpg", "out/a.jpg", "out2/a.JPG", "notes.txt"]
    place = SimpleNamespace(list=lambda: iter(names))
    monkeypatch.setattr(batch, "open_place", lambda url: place)
    listing = batch._Listing("s3://scans", "s3://scans/out", None)
    assert list(listing.keys()) == ["a.jpg", "out2/a.JPG"]
    assert listing.left_out == {"hidden files and folders": 2, "results": 1, "files of other kinds": 1}


def test_options_reach_the_plan(run, source, destination, tmp_path, monkeypatch):
    seen = []

    def stop(plan, keys, **options):
        seen.append((plan, list(keys()), options))
        raise KeyError("this is enough")

    monkeypatch.setattr(batch, "open_batch", stop)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.pth").touch()
    wanted = "--engine ray --workers 3 --retry-failed --format webp --quality lossless --repair --mask --compare"
    given = "--boxes --strip-metadata --keep-dates --force --json --weights codeformer=own.pth --faces 0,2 --device cpu"
    assert run("batch", "in", "out", *wanted.split(), *given.split())[0] == 1
    [(plan, keys, options)] = seen
    assert keys == ["0/9.png", "1/10.png", "1/11.png"]
    assert options == {"engine": "ray", "workers": 3, "retry_failed": True}
    assert (plan.source, plan.destination) == (str(source), str(destination))
    assert (plan.settings.faces, plan.settings.repair) == ((0, 2), True)
    wanted = {"format": "webp", "quality": "lossless", "mask": True, "compare": True, "boxes": True}
    assert plan.writing == {**wanted, "strip_metadata": True, "keep_dates": True}
    assert (plan.force, plan.resume, plan.report) == (True, False, True)
    assert plan.models["weights"] == {"codeformer": tmp_path / "own.pth"}
    assert plan.models["device"] == "cpu"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_it_starts_is_one_line_and_leaves_nothing(source, destination, number):
    command = [sys.executable, "-m", "facemend", "batch", str(source), str(destination), *FAST]
    options = {"cwd": Path(__file__).parents[2], "preexec_fn": allow_ctrl_c, "start_new_session": True}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
    end = time.monotonic() + 60
    while not (destination / ".facemend" / "lock").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    for _ in range(2):  # a terminal sends Ctrl-C to all processes; users press it again
        time.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGINT else os.kill)(started.pid, number)
    assert started.communicate(timeout=60)[1] == "facemend: stopped\n"
    assert started.returncode == -number
    assert not list((destination / ".facemend").glob("scratch/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_and_all_workers_and_the_next_run_goes_on(source, destination, run, number):
    numbered(source, range(100, 200))
    command = [sys.executable, "-m", "facemend", "batch", str(source), str(destination), *FAST]
    options = {"cwd": Path(__file__).parents[2], "preexec_fn": allow_ctrl_c}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
    end = time.monotonic() + 60
    while len(list(destination.glob("*/*.png"))) < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(started.pid, number)
    said = started.communicate(timeout=60)[1]
    assert "facemend: stopped\n" in said
    assert "leaked" not in said
    assert started.returncode == -number
    assert not list((destination / ".facemend").glob("scratch/*"))
    code, _, err = run("batch", source, destination, *FAST)
    assert code == 0
    assert "done before" in err
    assert set(files(destination)) == set(files(source))
