"""Fixtures of the command line's tests."""

import pytest
from PIL import Image

from facemend.cli import main
from facemend.pipeline import Pipeline
from facemend.records import Tiling
from facemend.stages.repair import NetRepairer
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler
from tests.pictures import CPU, Whites, detector, face_at, identity, similarity, smooth


@pytest.fixture
def run(capsys):
    """A function that runs the command line and returns its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return run


@pytest.fixture
def drawn(monkeypatch):
    """`restore` finds one given face, and its restorer changes nothing."""
    machine = Pipeline(
        detector=detector(face_at(similarity(3, 0, -80, -60))),
        restorer=FunctionRestorer(identity),
        upscaler=LanczosUpscaler(),
        repairer=NetRepairer("whites", Whites(), CPU, Tiling(scale=1, step=16, bytes_per_pixel=600)),
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
