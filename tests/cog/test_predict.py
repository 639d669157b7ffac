"""The predictor by itself, without a server."""

import shutil
from collections import Counter

import pytest
from cog import Path
from PIL import Image

import facemend.pipeline
import predict
from facemend.errors import FacemendError
from facemend.records import Settings
from facemend.restore import FunctionRestorer
from tests.pictures import identity, smooth

INPUTS = {
    "model": "lanczos",
    "fidelity": 0,
    "upscale": 3,
    "face_enhance": False,
    "only_center_face": False,
    "strength": 1,
    "upscaler": "lanczos",
    "denoise": 1,
    "aligned": False,
    "sensitivity": 0,
    "seed": None,
    "output_format": "webp",
    "output_quality": 95,
}


@pytest.fixture
def image(tmp_path, monkeypatch):
    """A picture in what counts as the temp folder."""
    monkeypatch.setattr(predict.tempfile, "tempdir", str(tmp_path))
    path = Path(tmp_path / "in.png")
    Image.fromarray(smooth(48, 64)).save(path)
    return path


@pytest.fixture
def predictor(monkeypatch):
    monkeypatch.setenv("FACEMEND_MODELS", "lanczos")
    made = predict.Predictor()
    made.setup()
    yield made
    made.folder.cleanup()


def test_health_is_doubted_only_after_a_failure_nobody_foresaw(predictor):
    computed = []

    def enlarge(pixels, size, **options):
        computed.append(size)
        raise RuntimeError("the device is gone")

    predictor.upscalers["lanczos"] = enlarge
    assert predictor.healthcheck()
    assert not computed
    predictor.doubtful = True
    with pytest.raises(RuntimeError, match="the device is gone"):
        predictor.healthcheck()
    predictor.upscalers["lanczos"] = lambda pixels, size: pixels
    assert predictor.healthcheck()
    assert not predictor.doubtful


def test_a_full_disk_is_unhealthy(predictor, monkeypatch):
    free = shutil.disk_usage("/")._replace(free=predict.ROOM - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    assert not predictor.healthcheck()


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
def test_inputs_become_settings_and_a_surprise_becomes_one_line(predictor, image, monkeypatch, inputs, settings):
    seen = []

    def surprise(pipeline, picture, given, progress):
        seen.append(given)
        raise KeyError("first\nsecond")

    monkeypatch.setattr(predict.Pipeline, "run", surprise)
    predictor.restorers["gfpgan-v1.4"] = FunctionRestorer(identity)
    with pytest.raises(FacemendError, match=r"^KeyError: 'first\\nsecond'$"):
        predictor.run(image=image, **{**INPUTS, "model": "auto", **inputs})
    assert seen == [settings]
    assert all(isinstance(seen[0].__dict__[name], float) for name in ("scale", "fidelity", "strength", "denoise"))
    assert predictor.doubtful


@pytest.mark.weights
def test_only_what_is_listed_is_loaded(shared, monkeypatch):
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(shared / "weights"))
    monkeypatch.setenv("FACEMEND_MODELS", " realesr-animevideov3 ,")
    predictor = predict.Predictor()
    predictor.setup()
    assert (predictor.detector, predictor.parser, predictor.restorers) == (None, None, {})
    assert list(predictor.upscalers) == ["realesr-animevideov3", "lanczos"]
    predictor.folder.cleanup()


@pytest.mark.weights
def test_each_network_is_loaded_once(shared, image, monkeypatch):
    loaded = Counter()
    load = facemend.pipeline.load_net

    def counting(name, path=None):
        loaded[name] += 1
        return load(name, path)

    monkeypatch.setattr(facemend.pipeline, "load_net", counting)
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(shared / "weights"))
    monkeypatch.setenv("FACEMEND_MODELS", "realesr-animevideov3,retinaface-mobile0.25")
    predictor = predict.Predictor()
    predictor.setup()
    assert loaded == {"realesr-animevideov3": 1, "retinaface-mobile0.25": 1}
    for upscaler in ("lanczos", "realesr-animevideov3") * 3:
        output = predictor.run(image=image, **{**INPUTS, "upscaler": upscaler})
        with Image.open(output) as result:
            assert (result.format, result.size) == ("WEBP", (192, 144))
    assert loaded.total() == 2
    predictor.folder.cleanup()
