"""Failures outside the program: a full disk, a read-only folder, a killed process."""

import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemend.errors import OutputError, OutputPathError
from facemend.files.output import exists, write
from tests.hostile import noise

ALONE = ["--model", "none", "--upscaler", "lanczos"]  # needs no weights

# Run by another process: it writes a file and is killed at the given point.
VICTIM = """
import os, pathlib, signal, sys
from facemend.files.output import write
path, point = sys.argv[1:]
place, name = (os, "fsync") if point == "before the end" else (pathlib.Path, "replace")
real = getattr(place, name)

def die(*arguments):
    if point == "after renaming":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(place, name, die)
write(path, bytes(100_000))
"""


def facemend(*arguments, **options):
    command = [sys.executable, "-m", "facemend", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def whole(folder):
    """The pictures with their final name and their times of writing; each must be complete."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in paths:
        with Image.open(path) as image:
            image.load()
    return {path.name: path.stat().st_mtime_ns for path in paths}


@pytest.mark.parametrize("point", ["before the end", "before renaming", "after renaming"])
def test_a_killed_write_leaves_the_old_file_or_the_new_one(tmp_path, point):
    path = tmp_path / "new.png"
    path.write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", VICTIM, str(path), point])
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == (bytes(100_000) if point == "after renaming" else b"old")
    assert all(other == path or other.name.startswith(".") for other in tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_folder_run_is_gone_on_with_by_skip_existing(tmp_path):
    """The first two runs are killed shortly after a picture was finished; the third restores the missing ones."""
    moments = np.random.default_rng(0).uniform(0, 0.1, 2)  # seconds; time for one or two more pictures
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for index in range(12):
        Image.fromarray(noise(250, 200, 3)).save(source / f"{index:02}.png")
    arguments = ["restore", source, "-o", target, "--skip-existing", *ALONE]
    for moment in moments:
        with facemend(*arguments) as victim:
            while victim.stdout.readline().endswith("exists already\n"):
                pass
            time.sleep(moment)
            victim.kill()
        assert victim.returncode == -signal.SIGKILL
        finished = whole(target)
    assert 2 <= len(finished) < 12
    with facemend(*arguments) as last:
        said, _ = last.communicate()
    assert last.returncode == 0
    assert said.count("exists already") == len(finished)
    assert len(whole(target)) == 12
    assert finished.items() <= whole(target).items(), "finished pictures are not written again"


def test_a_full_disk_leaves_no_partial_picture(tmp_path):
    """Files are limited to 20 kB: the small result is written, and nothing is left of the large ones."""
    for name, side in (("a.png", 100), ("b.png", 20), ("c.png", 100)):
        Image.fromarray(noise(side, side, 3)).save(tmp_path / name)
    limit = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    arguments = ["restore", tmp_path, "-o", tmp_path / "out", *ALONE]
    with facemend(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)) as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert len(re.findall(r"^facemend: .*cannot write .*/out/[ac]\.png: File too large; check the", said, re.M)) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
    assert whole(tmp_path / "out")


def test_a_folder_that_takes_no_files_is_an_error_of_one_line(locked):
    with pytest.raises(OutputError, match=r"cannot write .*new\.png: Permission denied; .*choose another folder"):
        write(locked / "new.png", b"new")
    assert [path.name for path in locked.iterdir()] == ["secret.png"]


def test_a_result_in_a_folder_that_may_not_be_searched_is_an_error_of_one_line(locked):
    with tempfile.TemporaryDirectory() as name:
        closed = Path(name) / "closed"
        closed.mkdir(0)
        with pytest.raises(OutputPathError, match="must be in a folder that may be written to"):
            exists(closed / "new.png")
        closed.rmdir()
