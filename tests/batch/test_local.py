"""Batches with processes of this machine."""

import contextlib
import errno
import os
import shutil
import signal
import time
import weakref
from concurrent.futures import wait as futures_wait
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from pebble import ProcessPool
from PIL import Image

from facemend.batch import local
from facemend.batch.manifest import State
from facemend.batch.names import tasks
from facemend.batch.places import Folder
from facemend.batch.plan import TRIES, Task
from facemend.batch.run import open_batch
from facemend.batch.worker import Worker
from facemend.errors import FacemendError, InputError, MemoryLimitError, OptionError, OutputError
from facemend.records import Settings
from tests.batch.killing import kill
from tests.batch.places import DEADLY, FAULTY, LITE, Repeat, files, keys, numbered, plan, restored

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def source(tmp_path):
    return tmp_path / "in"


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "out"


def run(source, destination, retry_failed=False, **fields):
    """Run a batch; return the outcomes by key, and how many pictures earlier runs had ended."""
    made = plan(source, destination, **fields)
    with open_batch(made, keys(source), workers=2, retry_failed=retry_failed) as batch:
        return {outcome.key: outcome for outcome in batch.outcomes()}, dict(batch.earlier)


def errors(outcomes):
    return {key: str(outcome.error) for key, outcome in outcomes.items() if outcome.error}


def test_the_files_are_those_of_restore(source, destination, tmp_path):
    (source / "sub").mkdir(parents=True)
    shutil.copy(EXAMPLES / "old.jpg", source / "sub" / "old.jpg")
    numbered(source, [1])
    outcomes, _ = run(source, destination, models=LITE, compare=True, boxes=True, report=True)
    assert not errors(outcomes)
    assert files(destination) == restored(source, tmp_path / "expected", compare=True, boxes=True)
    assert outcomes["sub/old.jpg"].outputs == ("sub/old.jpg", "sub/old_compare.jpg", "sub/old_boxes.jpg")
    assert [face["restored"] for face in outcomes["sub/old.jpg"].report["faces"]] == [True]
    assert run(source, destination, models=LITE, compare=True, boxes=True, report=True) == ({}, {State.DONE: 2})


def test_a_picture_that_kills_its_worker_is_tried_twice_and_costs_only_itself(source, destination, tmp_path):
    numbered(source, [*range(8), DEADLY])
    deadly, log = f"25/{DEADLY}.png", tmp_path / "log"

    def again(**options):
        outcomes, earlier = run(source, destination, upscaler=Repeat(log), **options)
        return errors(outcomes), earlier, log.read_text().split().count(str(DEADLY))

    failed, _, tries = again()
    assert list(failed) == [deadly]
    assert failed[deadly].startswith("its worker died 2 times")
    assert tries == 2
    assert set(files(destination)) == set(files(source)) - {deadly}
    assert again() == ({}, {State.DONE: 8, State.FAILED: 1}, 2)
    assert again(retry_failed=True) == (failed, {State.DONE: 8}, 4)


def test_a_picture_that_never_ends_is_ended(source, destination, monkeypatch):
    numbered(source, [1])
    monkeypatch.setattr(local, "LONGEST", 0.2)
    outcomes, _ = run(source, destination, upscaler=Repeat(pause=100))
    assert errors(outcomes)["0/1.png"].startswith("its worker died 2 times")


def test_an_unexpected_error_is_tried_again(source, destination, tmp_path):
    numbered(source, [1, FAULTY])
    outcomes, _ = run(source, destination, upscaler=Repeat(tmp_path / "log"))
    assert errors(outcomes) == {f"25/{FAULTY}.png": "unexpected ValueError: a fault; debug shows where"}
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    tries = [process for process, number in lines if number == str(FAULTY)]
    assert len(tries) == 2
    assert len(set(tries)) == 1


def test_nothing_of_a_try_that_failed_is_kept_in_memory_during_the_next():
    class Large:
        pass

    class Trying(Worker):
        def __init__(self):
            self.tries, self.kept = [], []

        def _try(self, task):
            self.kept += [try_() for try_ in self.tries]
            large = Large()
            self.tries.append(weakref.ref(large))
            try:
                raise RuntimeError("out of memory")
            except RuntimeError as error:
                raise MemoryLimitError("too little memory") from error

    worker = Trying()
    assert str(worker.run(Task("a.png", "a")).error) == "too little memory"
    assert len(worker.tries) == TRIES
    assert set(worker.kept) == {None}


def test_networks_that_do_not_fit_beside_those_of_other_workers_name_what_helps(source, destination, monkeypatch):
    def load(**models):
        raise MemoryLimitError("lite does not fit", "close other programs")

    monkeypatch.setattr("facemend.batch.worker.Pipeline.load", load)
    for setting in ("torch.set_num_threads", "cv2.setNumThreads"):
        monkeypatch.setattr(setting, lambda count: None)
    with pytest.raises(MemoryLimitError, match="lite does not fit; close other programs or use fewer workers"):
        Worker(plan(source, destination))


def test_a_worker_whose_networks_do_not_work_any_more_ends(source, destination, tmp_path):
    numbered(source, [1])
    (tmp_path / "log").mkdir()  # so that it cannot be opened
    outcomes, _ = run(source, destination, upscaler=Repeat(tmp_path / "log"))
    assert errors(outcomes)["0/1.png"].startswith("its worker died 2 times (exit code 1)")


@dataclass
class Dead:
    """A restorer whose device is gone."""

    def __call__(self, crops, fidelity):
        raise RuntimeError("the device is gone")


def test_every_network_is_tried_after_an_unexpected_error(source, destination):
    numbered(source, [FAULTY])
    models = {"restorer": Dead(), "upscaler": Repeat(), "detector": "lite", "repairer": "none"}
    outcomes, _ = run(source, destination, models=models)
    assert errors(outcomes)[f"25/{FAULTY}.png"].startswith("its worker died 2 times (exit code 1)")


@dataclass
class Obstacle:
    """An upscaler that makes a folder in the place of the result."""

    path: Path

    def __call__(self, pixels):
        self.path.mkdir(parents=True)
        return pixels


def test_files_beside_a_result_that_failed_are_replaced_by_the_next_try(source, destination):
    numbered(source, [1])
    outcomes, _ = run(source, destination, upscaler=Obstacle(destination / "0" / "1.png"), compare=True, force=True)
    assert "a folder or something else has this name" in errors(outcomes)["0/1.png"]
    assert set(files(destination)) == {"0/1_compare.jpg"}
    shutil.rmtree(destination / "0" / "1.png")
    assert not errors(run(source, destination, compare=True, retry_failed=True)[0])
    assert set(files(destination)) == {"0/1.png", "0/1_compare.jpg"}


def test_a_picture_whose_result_was_deleted_is_made_again_with_the_files_beside_it(source, destination):
    numbered(source, [1])
    run(source, destination, compare=True)
    made = files(destination)
    (destination / "0/1.png").unlink()
    assert not errors(run(source, destination, compare=True)[0])
    assert files(destination) == made
    assert run(source, destination, compare=True) == ({}, {State.DONE: 1})


def test_without_a_file_beside_it_a_result_is_not_replaced(source, destination):
    numbered(source, [1])
    run(source, destination, compare=True)
    (destination / "0/1_compare.jpg").unlink()
    (destination / "0/1.png").write_bytes(b"changed by hand")
    for fields in (
        {"compare": True},
        {"compare": True, "resume": True},
        {"boxes": True},
        {"boxes": True, "resume": True},
    ):
        with contextlib.suppress(InputError):  # where the settings differ
            run(source, destination, **fields)
        assert (destination / "0/1.png").read_bytes() == b"changed by hand"


def test_a_picture_is_never_replaced_by_its_result(source, destination):
    numbered(source, [1])
    (destination / "0").mkdir(parents=True)
    picture = destination / "0" / "1.png"
    shutil.move(source / "0" / "1.png", picture)
    (source / "0" / "1.png").symlink_to(picture)
    before = picture.read_bytes()
    outcomes, _ = run(source, destination, force=True)
    assert "must be another file than the input" in errors(outcomes)["0/1.png"]
    assert picture.read_bytes() == before


def test_of_several_pictures_in_a_file_the_first_is_restored(source, destination):
    numbered(source, [1])
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "green")]
    frames[0].save(source / "a.tiff", save_all=True, append_images=frames[1:])
    outcomes, _ = run(source, destination)
    assert outcomes["a.tiff"].lost == ("all pictures but the first",)
    assert outcomes["0/1.png"].lost == ()


def test_a_mistake_of_the_user_is_final(source, destination):
    numbered(source, range(3))
    (source / "bad.png").write_text("no picture")
    outcomes, _ = run(source, destination)
    assert list(errors(outcomes)) == ["bad.png"]
    assert isinstance(outcomes["bad.png"].error, InputError)
    assert run(source, destination) == ({}, {State.DONE: 3, State.MISTAKE: 1})
    shutil.copy(source / "0" / "1.png", source / "bad.png")
    assert not errors(run(source, destination, retry_failed=True)[0])
    assert run(source, destination) == ({}, {State.DONE: 4})


def test_a_picture_that_could_not_be_opened_is_tried_by_the_next_run(source, destination):
    numbered(source, range(2))
    (source / "gone.png").symlink_to(source / "away.png")
    for _ in range(2):
        assert "cannot open" in errors(run(source, destination)[0])["gone.png"]
    shutil.copy(source / "0" / "1.png", source / "away.png")
    assert not errors(run(source, destination)[0])


def test_a_picture_over_a_limit_is_tried_by_the_next_run(source, destination):
    numbered(source, [1])
    assert "raise max_input_mp" in errors(run(source, destination, settings=Settings(max_input_mp=1e-5))[0])["0/1.png"]
    assert not errors(run(source, destination, settings=Settings())[0])


@pytest.mark.parametrize("options", [{}, {"force": True}, {"resume": True}])
def test_a_result_is_not_replaced_by_that_of_a_picture_that_came_later(source, destination, options):
    source.mkdir()
    Image.new("RGB", (8, 8), "navy").save(source / "a.gif")
    run(source, destination)
    before = files(destination)
    Image.new("RGB", (8, 8), "green").save(source / "a.png")
    for _ in range(2):
        outcomes, earlier = run(source, destination, **options)
        assert "a name that no other picture's result has" in errors(outcomes)["a.png"]
        assert (files(destination), earlier) == (before, {State.DONE: 1})


@pytest.mark.parametrize("options", [{}, {"force": True}, {"resume": True}])
def test_a_folder_with_the_name_of_the_result_is_an_error(source, destination, options):
    numbered(source, [1])
    (destination / "0" / "1.png").mkdir(parents=True)
    assert "a folder or something else has this name" in errors(run(source, destination, **options)[0])["0/1.png"]
    (destination / "0" / "1.png").rmdir()
    assert not errors(run(source, destination)[0])


def test_a_name_that_is_too_long_is_an_error(source, destination):
    source.mkdir()
    Image.new("RGB", (8, 8)).save(source / f"{250 * 'n'}.jpg")
    [error] = errors(run(source, destination, compare=True)[0]).values()
    assert "File name too long" in error
    assert "unexpected" not in error


def test_files_of_others_are_kept(source, destination):
    numbered(source, range(2))
    theirs = destination / "0" / "1.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    outcomes, _ = run(source, destination)
    assert "must be a new file" in errors(outcomes)["0/1.png"]
    assert theirs.read_text() == "precious"
    outcomes, _ = run(source, destination, retry_failed=True, resume=True)
    assert outcomes["0/1.png"].skipped
    assert theirs.read_text() == "precious"


@dataclass
class Intruder:
    """An upscaler that writes a file."""

    path: Path

    def __call__(self, pixels):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("precious")
        return pixels


def test_files_of_others_that_come_during_the_work_are_kept(source, destination):
    numbered(source, [1])
    theirs = destination / "0" / "1.png"
    outcomes, _ = run(source, destination, upscaler=Intruder(theirs))
    assert "must be a new file" in errors(outcomes)["0/1.png"]
    for _ in range(2):
        assert "must be a new file" in errors(run(source, destination, upscaler=Intruder(theirs))[0])["0/1.png"]
        assert theirs.read_text() == "precious"


def test_what_was_written_beside_a_result_that_another_file_keeps_out_is_removed(source, destination):
    numbered(source, [1])
    theirs = destination / "0" / "1.png"
    run(source, destination, upscaler=Intruder(theirs), compare=True)
    assert files(destination) == {"0/1.png": b"precious"}
    theirs.unlink()
    assert not errors(run(source, destination, compare=True)[0])


def test_workers_that_cannot_be_started_are_an_error_that_says_why(source, destination, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pebble.pool.process.launch_process", refuse)
    numbered(source, range(1))
    with pytest.raises(FacemendError, match=r"cannot be started \(.*Too many open files\); use fewer workers or allow"):
        run(source, destination)


def test_a_worker_that_is_killed_while_it_waits_is_replaced(source, destination):
    numbered(source, range(3))
    with local.Local(plan(source, destination), 1) as engine:
        engine.load()
        (worker,) = engine._pool._pool_manager.worker_manager.workers
        os.kill(worker, signal.SIGKILL)
        while engine._pool.active:
            time.sleep(0.05)
        outcomes = list(engine.outcomes(tasks(keys(source)(), ())))
    assert [outcome.error for outcome in outcomes] == [None] * 3


def test_results_of_other_settings_are_replaced_only_when_asked_for(source, destination):
    numbered(source, range(2))
    run(source, destination)
    before = files(destination)
    with pytest.raises(InputError, match="2 results in .* are of another source, settings"):
        run(source, destination, format="webp")
    assert files(destination) == before
    outcomes, _ = run(source, destination, format="webp", force=True)
    assert outcomes["0/1.png"].outputs == ("0/1.webp",)
    (destination / "0" / "0.webp").unlink()
    assert list(run(source, destination, format="webp")[0]) == ["0/0.png"]


def test_results_that_were_skipped_are_not_taken_for_those_of_the_settings(source, destination):
    numbered(source, [1])
    run(source, destination)
    before = files(destination)
    outcomes, _ = run(source, destination, resume=True, quality=50)
    assert outcomes["0/1.png"].skipped
    outcomes, earlier = run(source, destination, resume=True, quality=50)
    assert (outcomes["0/1.png"].skipped, earlier) == (True, {})
    assert files(destination) == before
    assert run(source, destination) == ({}, {State.DONE: 1}), "those of the first settings still count"


def test_a_name_that_was_taken_is_looked_at_again(source, destination):
    numbered(source, [1])
    taken = destination / "0" / "1.png"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"somebody's")
    assert "must be a new file" in errors(run(source, destination)[0])["0/1.png"]
    assert not errors(run(source, destination, force=True)[0])
    assert taken.read_bytes() != b"somebody's"


def test_two_results_of_one_name_are_an_error(source, destination):
    numbered(source, [1])
    for name in ("1.JPEG", "1_png.webp"):
        shutil.copy(EXAMPLES / "old.jpg", source / "0" / name)
    outcomes, _ = run(source, destination)
    assert list(errors(outcomes)) == ["0/1_png.webp"]
    assert isinstance(outcomes["0/1_png.webp"].error, OptionError)
    assert set(files(destination)) == {"0/1.jpg", "0/1_png.png"}


def test_networks_that_cannot_be_loaded_are_an_error_before_the_work(source, destination, monkeypatch):
    numbered(source, [1])
    started = []

    def pool(count, **options):
        started.append(count)
        return ProcessPool(count, **options)

    monkeypatch.setattr(local, "ProcessPool", pool)
    with pytest.raises(FacemendError, match="gfpgan-v1.4 are not installed"):
        run(source, destination, models={**LITE, "restorer": "gfpgan-v1.4"})
    assert not files(destination)
    assert started == [1], "others would still be starting when the pool is removed, and show tracebacks"


def test_nothing_is_used_that_windows_lacks(source, destination, monkeypatch):
    def wait(running, timeout, *options):
        assert timeout, "it notices Ctrl-C only between two waits"
        return futures_wait(running, 0.01, *options)

    numbered(source, [1])
    monkeypatch.setattr(local, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(local.resource_tracker, "ensure_running", lambda: pytest.fail("it has no resource tracker"))
    monkeypatch.setattr(local, "wait", wait)
    assert not errors(run(source, destination)[0])


def test_a_second_batch_waits(source, destination):
    numbered(source, [1])
    with Folder(destination).lock(), pytest.raises(InputError, match="another batch"):
        run(source, destination)


def test_a_destination_that_cannot_be_written_to_is_an_error(locked):
    with pytest.raises(OutputError, match="cannot write"), Folder(locked / "out").lock():
        pass


@pytest.mark.weights
def test_hostile_files_cost_only_themselves(source, destination, shared):
    numbered(source, range(4))
    hostile = [path for path in sorted((shared / "data" / "hostile").rglob("*")) if path.is_file()]
    for number, path in enumerate(hostile):
        shutil.copy(path, source / f"{number}{path.suffix or '.jpg'}")
    models = {"restorer": "none", "upscaler": "lanczos", "detector": "none", "repairer": "none"}
    outcomes, _ = run(source, destination, models=models)
    assert len(outcomes) == 4 + len(hostile)
    assert not [key for key, outcome in outcomes.items() if outcome.error and not isinstance(outcome.error, InputError)]
    assert {f"0/{number}.png" for number in range(4)} <= set(files(destination))


def test_killed_at_random_moments_it_is_complete_after_the_next_run(tmp_path):
    again, allowed = kill(tmp_path, 2, 30)
    assert again <= allowed
