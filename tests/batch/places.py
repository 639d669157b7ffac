"""Pictures, and batches of them, for the tests of `facemend.batch`."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facemend.batch.plan import Plan
from facemend.records import Settings

LITE = {"restorer": "lite", "upscaler": "lite", "detector": "lite", "repairer": "none"}
FAULTY = 254  # number of a picture that is an unexpected error
DEADLY = 255  # number of a picture that kills the worker that does it


@dataclass(frozen=True)
class Repeat:
    """An upscaler that repeats pixels; the first one is the number of the picture.

    Args:
        log: file to which it adds a line for each picture that it begins: the process and the number.
        pause: s that it waits then.
    """

    log: Path | None = None
    pause: float = 0

    def __call__(self, pixels):
        number = int(pixels[0, 0, 0])
        if self.log:
            with self.log.open("a") as stream:
                stream.write(f"{os.getpid()} {number}\n")
        time.sleep(self.pause)
        if number == FAULTY:
            raise ValueError("a fault")
        if number == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels.repeat(2, axis=0).repeat(2, axis=1)


def numbered(folder, numbers):
    """Write small pictures with these numbers, a few in each folder."""
    for number in numbers:
        path = folder / f"{number // 10}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)


def plan(source, destination, models=None, upscaler=None, **fields):
    """A plan with these models, or with an upscaler alone."""
    alone = {"restorer": "none", "upscaler": upscaler or Repeat(), "detector": "none", "repairer": "none"}
    models = {"device": "cpu", "precision": "auto", "weights": {}, **(models or alone)}
    own = {name: fields.pop(name) for name in Plan.__dataclass_fields__ if name in fields}
    places = {"source": str(source), "destination": str(destination)}
    return Plan(**{"settings": Settings(), **places, **own}, models=models, writing={"format": "auto", **fields})


def keys(folder):
    """The keys of the pictures of a folder, as the command line lists them."""
    return lambda: sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*"))


def files(folder):
    """The content of all files of a folder by path, without those of the batch itself."""
    found = (path for path in Path(folder).rglob("*") if path.is_file() and ".facemend" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def restored(source, folder, models=LITE, **options):
    """What `restore` makes of the pictures of a folder."""
    from facemend import Pipeline, job  # imports torch, which takes a second in the processes of tests.batch.killing

    pipeline = Pipeline.load(**models, device="cpu")
    for path in sorted(source.rglob("*.*")):
        target = folder / path.relative_to(source).with_suffix("")
        job.run(job.Job(source=path, target=target, format="auto", **options), pipeline, Settings())
    return files(folder)
