"""Kills a batch and its workers at random moments: `python -m tests.batch.killing 20`.

After each time, every file that can be seen in the destination is whole. At the end every picture is done, and no more
pictures than there were workers at that moment were computed again.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

from facemend.batch.run import open_batch
from tests.batch.places import Repeat, files, keys, numbered, plan

WORKERS = 2
PICTURES = 250
WAIT = 60  # s at most for anything


def drive(source, destination, log):
    """What the process that is killed does."""
    made = plan(source, destination, upscaler=Repeat(Path(log), pause=0.05))
    with open_batch(made, keys(source), workers=WORKERS) as batch:
        for outcome in batch.outcomes():
            assert outcome.error is None, outcome.error


def lines(log):
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def wait_for(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "nothing happens any more"
        time.sleep(0.01)


def kill(folder, times, pictures, seed=0):
    """Kill something so many times, then let the batch end.

    Args:
        folder: an empty one.
        times: how often; in turn the driver and one worker.
        pictures: their number; ten are done between two kills.
        seed: of the moments.

    Returns:
        How many pictures were computed more than once, and how many at most may have been.
    """
    rng = random.Random(seed)
    source, destination, log = folder / "in", folder / "out", folder / "log"
    numbered(source, range(pictures))
    command = [sys.executable, "-m", "tests.batch.killing", str(source), str(destination), str(log)]
    allowed, driver = 0, None
    for number in range(times):
        before = len(lines(log))
        driver = driver or subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: len(lines(log)) > before + 3 or driver.poll() is not None)  # noqa: B023
        assert driver.poll() is None, driver.communicate()[1]
        time.sleep(rng.random() * 0.2)
        if number % 2:
            os.kill(int(lines(log)[-1][0]), signal.SIGKILL)
            allowed += 1
            continue
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.communicate()
        driver = None
        allowed += WORKERS
        assert not psutil.wait_procs(family, timeout=WAIT)[1], "processes are left over"
        check_whole(destination)
    driver = driver or subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert driver.wait(WAIT) == 0, driver.communicate()[1]
    driver.communicate()
    check_whole(destination)
    assert set(files(destination)) == set(files(source))
    assert not list((destination / ".facemend").glob("scratch/*"))
    return len(lines(log)) - pictures, allowed


def check_whole(folder):
    for name, data in files(folder).items():
        with Image.open(folder / name) as image:
            assert image.size == (16, 16), name
            image.load()
        assert data


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        with tempfile.TemporaryDirectory() as name:
            again, allowed = kill(Path(name), int(sys.argv[1]), PICTURES, seed=time.time_ns())
        line = f"killed {sys.argv[1]} times: complete, no partial file, {again} computed again (at most {allowed})\n"
        sys.stdout.write(line)
    else:
        drive(*sys.argv[1:])
