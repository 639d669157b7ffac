"""The predictor without a server."""

import gc
import os
import shutil
import tempfile
import weakref
from collections import Counter

import numpy as np
import pytest
from cog import Path
from PIL import Image

import facemend.loader
import predict
from facemend.errors import FacemendError
from facemend.records import Settings
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import FunctionUpscaler
from facemend.weights import installed
from tests.pictures import face_at, identity, similarity, smooth

INPUTS = {
    "model": "lanczos",
    "fidelity": 0,
    "upscale": 3,
    "face_enhance": False,
    "only_center_face": False,
    "strength": 1,
    "adaptive": True,
    "repair": False,
    "strip_metadata": False,
    "upscaler": "lanczos",
    "denoise": 1,
    "aligned": False,
    "sensitivity": 0,
    "seed": None,
    "output_format": "webp",
    "output_quality": 95,
}


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch):
    """The temp folder, restored after the test; setting up a predictor changes it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(predict, "PULSE", tmp_path / "pulse")
    return tmp_path


def uploaded(predictor):
    """A picture where Cog would save it."""
    path = Path(predictor.uploads / "in.png")
    Image.fromarray(smooth(48, 64)).save(path)
    return path


@pytest.fixture
def predictor(monkeypatch):
    monkeypatch.setenv("FACEMEND_MODELS", "lanczos")
    made = predict.Predictor()
    made.setup()
    yield made
    made.folder.cleanup()


def test_warm_up_runs_every_network_twice(predictor):
    used = []
    stages = {name: lambda *given, name=name: used.append((name, *map(np.shape, given))) or [] for name in "rudpm"}
    predictor.models.restorers, predictor.models.upscalers = {"r": stages["r"]}, {"u": stages["u"]}
    predictor.models.detector, predictor.models.parser = stages["d"], stages["p"]
    predictor.models.repairer = stages["m"]
    predictor.models.warm_up()
    face = (512, 512, 3)
    assert sorted(set(used)) == [
        ("d", face),
        ("m", face),
        ("p", (15, *face)),
        ("r", (15, *face)),
        ("u", face, (2,)),
    ]
    assert len(used) == 10  # the second run of each is recorded


@pytest.mark.parametrize("stage", ["detect", "repair", "restore", "parse", "enlarge"])
def test_healthcheck_runs_the_networks_only_after_an_unexpected_failure(predictor, monkeypatch, stage):
    """They are run at each health check until they succeed."""
    broken = stage

    def reach(name):
        if broken == name:
            raise RuntimeError("the device is gone")

    def detect(pixels, settings=None):
        reach("detect")
        return [face_at(similarity(10, 0, 0, 0))]

    def repair(pixels, progress=None):
        reach("repair")
        return pixels, np.zeros(pixels.shape[:2], np.float32)

    def restore(crops, fidelity):
        reach("restore")
        return crops

    def parse(faces):
        for face in faces:
            reach("parse")
            yield np.ones(face.shape[:2], np.float32)

    def enlarge(pixels):
        reach("enlarge")
        return pixels.repeat(2, axis=0).repeat(2, axis=1)

    predictor.models.detector, predictor.models.parser, predictor.models.repairer = detect, parse, repair
    monkeypatch.setitem(predictor.models.restorers, "gfpgan-v1.4", FunctionRestorer(restore))
    monkeypatch.setitem(predictor.models.upscalers, "lanczos", FunctionUpscaler(enlarge))
    monkeypatch.setattr(predictor, "record_metric", lambda name, value: None)
    inputs = {**INPUTS, "model": "gfpgan-v1.4", "face_enhance": True, "aligned": False, "repair": True}
    image = uploaded(predictor)
    Image.fromarray(smooth(48, 48)).save(image)
    assert predictor.healthcheck()
    with pytest.raises(FacemendError, match="^RuntimeError: the device is gone$"):
        predictor.run(image=image, **inputs)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the device is gone"):
            predictor.healthcheck()
    broken = None
    assert predictor.healthcheck()
    broken = stage
    assert predictor.healthcheck()
    with pytest.raises(FacemendError, match="not a file that came"):
        predictor.run(image=Path("/etc/passwd"), **inputs)
    assert predictor.healthcheck()


def test_files_of_earlier_calls_are_removed(predictor, temp, monkeypatch):
    """Outputs, partial downloads and old folders of Cog are removed; young and used folders are not."""
    monkeypatch.setattr(predict, "COG_FOLDERS", temp / "coglet")
    monkeypatch.setattr(predictor, "record_metric", lambda name, value: None)
    left = [Path(predictor.folder.name) / "output.png", predictor.uploads / "piece.png"]
    for path in left:
        path.touch()
    for name in ("old", "young", "used"):
        for kind in ("inputs", "outputs"):
            (temp / "coglet" / name / kind).mkdir(parents=True)
    (temp / "coglet" / "used" / "outputs" / "result").touch()
    for name in ("old", "used"):
        os.utime(temp / "coglet" / name, (0, 0))
    output = predictor.run(image=uploaded(predictor), **INPUTS)
    assert output.is_file()
    assert not any(path.exists() for path in left)
    assert {path.name for path in (temp / "coglet").iterdir()} == {"young", "used"}
    assert (temp / "coglet" / "used" / "outputs" / "result").is_file()


@pytest.fixture
def no_collection():
    """The garbage collector runs only when it is called."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_a_file_held_open_by_a_broken_download_is_let_go(predictor, monkeypatch):
    class Error:
        """Refers to itself, as the error that Cog raises."""

        def __init__(self):
            self.cause = self

    monkeypatch.setattr(predictor, "record_metric", lambda name, value: None)
    for left, held in ((False, True), (True, False)):
        error = weakref.ref(Error())
        if left:
            (predictor.uploads / "piece.png").touch()
        predictor.run(image=uploaded(predictor), **INPUTS)
        assert (error() is not None) == held


def test_healthcheck_fails_on_a_disk_without_room_for_a_call(predictor, monkeypatch):
    for total, enough in ((100 * 2**30, 2**30), (2**30, 2**28), (2**20, 2**18)):
        for missing, healthy in ((0, True), (1, False)):
            disk = shutil.disk_usage("/")._replace(total=total, free=enough - missing)
            monkeypatch.setattr(shutil, "disk_usage", lambda folder, disk=disk: disk)
            assert predictor.healthcheck() == healthy


def test_healthcheck_makes_room_where_downloads_were_left(predictor, monkeypatch):
    disk = shutil.disk_usage("/")

    def usage(folder):
        return disk._replace(total=2**30, free=0 if (folder / "left.png").exists() else 2**30)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    left, current = predictor.uploads / "left.png", predictor.uploads / "current.png"
    for path in (left, current):
        path.touch()
    assert not predictor.healthcheck(), "a download that may still be running stays"
    os.utime(left, (0, 0))
    assert predictor.healthcheck()
    assert list(predictor.uploads.iterdir()) == [current]


@pytest.mark.parametrize(
    ("inputs", "settings"),
    [
        ({}, Settings(scale=3, fidelity=0, denoise=1, sensitivity=0, faces="none")),
        ({"face_enhance": True}, Settings(scale=3, fidelity=0, denoise=1, sensitivity=0)),
        (
            {"face_enhance": True, "only_center_face": True, "aligned": True, "strength": 0, "seed": 7},
            Settings(3, 0, 0, "center", aligned=True, sensitivity=0, seed=7, denoise=1),
        ),
        (
            {"aligned": True, "only_center_face": True, "fidelity": 1, "denoise": 0, "sensitivity": 1},
            Settings(3, 1, 1, "none", aligned=False, sensitivity=1, denoise=0),
        ),
    ],
    ids=lambda value: None if isinstance(value, Settings) else ",".join(value) or "plain",
)
def test_inputs_become_settings_and_an_unexpected_error_becomes_one_line(predictor, monkeypatch, inputs, settings):
    seen = []

    def surprise(pipeline, picture, given, progress):
        seen.append(given)
        raise KeyError("first\nsecond")

    monkeypatch.setattr(predict.Pipeline, "run", surprise)
    predictor.models.restorers["gfpgan-v1.4"] = FunctionRestorer(identity)
    with pytest.raises(FacemendError, match=r"^KeyError: 'first\\nsecond'$"):
        predictor.run(image=uploaded(predictor), **{**INPUTS, "model": "auto", **inputs})
    assert seen == [settings]
    assert all(isinstance(seen[0].__dict__[name], float) for name in ("scale", "fidelity", "strength", "denoise"))
    assert predictor.suspect


def test_files_of_weights_among_the_models_are_used_by_auto(monkeypatch, tmp_path):
    for task in ("restorer", "upscaler"):
        shutil.copy(installed.find(f"lite-{task}"), tmp_path / f"my {task}.safetensors")
    files = [str(tmp_path / f"my {task}.safetensors") for task in ("restorer", "upscaler")]
    monkeypatch.setenv("FACEMEND_MODELS", f"{files[0]}, {files[1]} ,lite")
    predictor = predict.Predictor()
    predictor.setup()
    metrics = {}
    monkeypatch.setattr(predictor, "record_metric", metrics.__setitem__)
    for name, restorer, upscaler in (("auto", "my restorer", "my upscaler"), ("lite", "lite", "lite")):
        inputs = {"model": name, "upscaler": name, "face_enhance": True, "aligned": True, "strength": 0.5}
        image = uploaded(predictor)
        Image.fromarray(smooth(48, 48)).save(image)
        predictor.run(image=image, **{**INPUTS, **inputs})
        assert (metrics["restorer"], metrics["upscaler"]) == (restorer, upscaler)
        assert metrics["faces"][0]["net"] == restorer
    predictor.folder.cleanup()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("/missing.pth", "^cannot read /missing.pth: No such file or directory; check the path and its permissions$"),
        ("missing", "^FACEMEND_MODELS is 'missing', but must be names out of .*, or paths of files of weights$"),
    ],
)
def test_a_file_or_model_that_is_missing_fails_the_setup_with_one_line(monkeypatch, named, message):
    monkeypatch.setenv("FACEMEND_MODELS", f"lite,{named}")
    predictor = predict.Predictor()
    with pytest.raises(FacemendError, match=message):
        predictor.setup()
    predictor.folder.cleanup()


@pytest.mark.weights
def test_only_the_listed_models_are_loaded(shared, monkeypatch):
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(shared / "weights"))
    monkeypatch.setenv("FACEMEND_MODELS", " realesr-animevideov3 ,")
    predictor = predict.Predictor()
    predictor.setup()
    assert (predictor.models.detector, predictor.models.parser, predictor.models.restorers) == (None, None, {})
    assert list(predictor.models.upscalers) == ["realesr-animevideov3", "lanczos"]
    predictor.folder.cleanup()


@pytest.mark.weights
def test_each_network_is_loaded_once(shared, monkeypatch):
    loaded = Counter()
    load = facemend.loader.load

    def counting(model, path=None):
        loaded[model.name] += 1
        return load(model, path)

    monkeypatch.setattr(facemend.loader, "load", counting)
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(shared / "weights"))
    monkeypatch.setenv("FACEMEND_MODELS", "realesr-animevideov3,retinaface-mobile0.25")
    predictor = predict.Predictor()
    predictor.setup()
    assert loaded == {"realesr-animevideov3": 1, "retinaface-mobile0.25": 1, "lite-repairer": 1}
    for upscaler in ("lanczos", "realesr-animevideov3") * 3:
        output = predictor.run(image=uploaded(predictor), **{**INPUTS, "upscaler": upscaler})
        with Image.open(output) as result:
            assert (result.format, result.size) == ("WEBP", (192, 144))
    assert loaded.total() == 3
    predictor.folder.cleanup()
