"""The networks of a server: which are loaded, how they are named, what is refused."""

import shutil
from collections import Counter

import numpy as np
import pytest
import torch

import facemend.loader
from facemend.collection import Collection
from facemend.errors import OptionError, WeightsError
from facemend.machine.device import choose
from facemend.records import Settings
from facemend.stages.restore import NetRestorer
from facemend.stages.upscale import LanczosUpscaler, NetUpscaler
from facemend.weights import installed
from facemend.weights.models import MODELS
from tests.pictures import smooth


@pytest.fixture
def loaded(monkeypatch):
    """Counts the networks that are loaded, by name; the files need not exist."""
    counts = Counter()

    def load(model, path=None):
        counts[model.name] += 1
        return torch.nn.Identity()

    monkeypatch.setattr(facemend.loader, "load", load)
    monkeypatch.setattr(facemend.loader, "find", lambda name: name)
    monkeypatch.setattr("facemend.collection.find", lambda name: name)
    monkeypatch.setattr(facemend.loader, "choose", lambda *given: choose("cpu", "fp32", "fp32"))
    return counts


def held(collection):
    """Names of the stages by task."""
    single = [stage.name if stage else None for stage in (collection.detector, collection.parser)]
    return list(collection.restorers), list(collection.upscalers), *single


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["lanczos"], ([], ["lanczos"], None, None)),
        (["lite"], (["lite"], ["lite", "lanczos"], "lite", None)),
        (["parsenet"], ([], ["lanczos"], None, "parsenet")),
        (["retinaface-r50"], ([], ["lanczos"], "retinaface-r50", None)),
        (
            ["retinaface-mobile0.25", "codeformer", "gfpgan-v1.4", "realesrgan-x2plus"],
            (["gfpgan-v1.4", "codeformer"], ["realesrgan-x2plus", "lanczos"], "retinaface-mobile0.25", None),
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_the_named_models_and_lanczos_are_held(loaded, names, expected):
    assert held(Collection(names)) == expected


def test_without_names_all_restorers_and_upscalers_and_the_best_detector_and_parser_are_held(loaded):
    restorers, upscalers, detector, parser = held(Collection())
    assert restorers == [model.public_name for model in MODELS.values() if model.task == "restorer"]
    assert upscalers == [model.public_name for model in MODELS.values() if model.task == "upscaler"] + ["lanczos"]
    assert (detector, parser) == ("retinaface-r50", "parsenet")


def test_each_network_is_loaded_once(loaded):
    collection = Collection(["lite", "gfpgan-v1.4", "realesr-general-x4v3", "parsenet", "lite"])
    names = ["lite-restorer", "lite-upscaler", "lite-detector", "lite-repairer", "gfpgan-v1.4", "parsenet"]
    names += ["realesr-general-x4v3", "realesr-general-wdn-x4v3"]
    assert loaded == dict.fromkeys(names, 1)
    first, second = (collection.pipeline(name, "lite", 2) for name in ("lite", "gfpgan-v1.4"))
    assert first.upscaler is second.upscaler
    assert first.detector is second.detector is collection.detector
    assert first.parser is second.parser is collection.parser
    assert (first.restorer.name, second.restorer.name) == ("lite", "gfpgan-v1.4")
    assert loaded.total() == len(names)


@pytest.mark.parametrize(
    ("names", "restorer", "upscaler"),
    [
        (["codeformer", "gfpgan-v1.3", "lite"], "gfpgan-v1.3 or codeformer", "lite"),
        (["lite", "codeformer", "realesrnet-x4plus"], "lite or codeformer", "lite"),
        ([], "gfpgan-v1.4", "realesrgan-x2plus"),
        (["restoreformer", "gfpgan-v1.4", "lite", "realesrgan-x2plus"], "gfpgan-v1.4", "realesrgan-x2plus"),
        (["codeformer", "retinaface-r50", "realesr-animevideov3"], "codeformer", "realesr-animevideov3"),
        (["codeformer", "retinaface-r50"], "codeformer", "lanczos"),
        (["realesr-animevideov3"], None, "realesr-animevideov3"),
        (["lanczos"], None, "lanczos"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_auto_is_the_preferred_model_that_is_loaded(loaded, names, restorer, upscaler):
    """CodeFormer, whose licence is non-commercial, is for bad faces, and only where it was named."""
    pipeline = Collection(names).pipeline("auto", "auto", 2)
    assert (pipeline.restorer.name if pipeline.restorer else None, pipeline.upscaler.name) == (restorer, upscaler)


@pytest.mark.parametrize(("scale", "upscaler"), [(2, "realesrgan-x2plus"), (4, "realesrgan-x4plus")])
def test_auto_is_an_upscaler_for_the_scale(loaded, scale, upscaler):
    pipeline = Collection(["realesrgan-x4plus", "realesrgan-x2plus"]).pipeline("none", "auto", scale)
    assert pipeline.upscaler.name == upscaler


def test_none_is_no_restorer(loaded):
    pipeline = Collection(["lite"]).pipeline("none", "lanczos", 2)
    assert pipeline.restorer is None
    assert isinstance(pipeline.upscaler, LanczosUpscaler)


@pytest.mark.parametrize(
    ("restorer", "upscaler", "option", "name"),
    [
        ("gfpgan-v1.4", "lanczos", "restorer", "gfpgan-v1.4"),
        ("none", "realesrgan-x4plus", "upscaler", "realesrgan-x4plus"),
        ("none", "none", "upscaler", "none"),
        ("gfpgan", "lanczos", "restorer", "gfpgan"),
    ],
)
def test_models_that_are_not_loaded_are_refused_with_those_that_are(loaded, restorer, upscaler, option, name):
    with pytest.raises(OptionError, match=f"'{name}'.*lite") as caught:
        Collection(["lite"]).pipeline(restorer, upscaler, 2)
    assert (caught.value.name, caught.value.value) == (option, name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gfpgan", "lite"], "'gfpgan'.*gfpgan-v1.4.*lanczos"),
        (["realesr-general-wdn-x4v3"], "'realesr-general-wdn-x4v3'"),
        (["none"], "'none'"),
        (["gfpgan-v1.4"], "detector.*retinaface-r50"),
    ],
    ids=["unknown", "companion", "none", "no detector"],
)
def test_names_that_make_no_sense_are_refused_before_anything_is_loaded(loaded, names, message):
    with pytest.raises(OptionError, match=message) as caught:
        Collection(names)
    assert caught.value.name == "models"
    assert not loaded


def test_missing_weights_are_all_named_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(facemend.loader, "load", lambda *given: pytest.fail("a network was loaded"))
    with pytest.raises(WeightsError) as caught:
        Collection(["lite", "gfpgan-v1.4", "realesr-general-x4v3", "parsenet"])
    message = str(caught.value)
    assert "\n" not in message
    for name in ("gfpgan-v1.4", "realesr-general-x4v3", "realesr-general-wdn-x4v3", "parsenet"):
        assert name in message
        assert MODELS[name].file in message
        assert MODELS[name].urls[0] in message
    assert str(tmp_path / "weights") in message
    assert MODELS["lite-restorer"].file not in message


def test_a_combined_pipeline_runs():
    collection = Collection(["lite"])
    result = collection.pipeline("auto", "lite", 2).run(smooth(64, 64), Settings(aligned=True))
    assert (result.restorer, result.upscaler) == ("lite", "lite")
    assert result.pixels.shape == (128, 128, 3)


def test_a_bad_face_gets_codeformer(loaded):
    """An 8 px picture is a bad face, and one of 100 px with much detail is not."""
    collection = Collection(["gfpgan-v1.4", "codeformer", "retinaface-r50"])
    pictures = [smooth(8, 8), np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)]
    pipeline = collection.pipeline("auto", "lanczos", 2)
    faces = [pipeline.run(picture, Settings(aligned=True)).faces[0] for picture in pictures]
    assert [face.net for face in faces] == ["codeformer", "gfpgan-v1.4"]
    assert faces[0].net_reason == "only 8 real px across the crop"
    face = collection.pipeline("codeformer", "lanczos", 2).run(pictures[1], Settings(aligned=True)).faces[0]
    assert (face.net, face.net_reason) == ("codeformer", "")


@pytest.fixture
def files(tmp_path):
    """Files of weights with names of their own, by task."""
    made = {}
    for task in ("restorer", "upscaler", "detector"):
        made[task] = str(tmp_path / f"my {task}.safetensors")
        shutil.copy(installed.find(f"lite-{task}"), made[task])
    return made


def test_auto_is_a_named_file_before_all_models(files):
    collection = Collection([files["restorer"], files["upscaler"], "lite"])
    pipeline = collection.pipeline("auto", "auto", 2)
    assert (pipeline.restorer.name, pipeline.upscaler.name) == ("my restorer", "my upscaler")
    pipeline = collection.pipeline("lite", "lite", 2)
    assert (pipeline.restorer.name, pipeline.upscaler.name) == ("lite", "lite")
    result = collection.pipeline("auto", "auto", 2).run(smooth(64, 64), Settings(aligned=True, strength=0.5))
    assert (result.faces[0].net, result.upscaler) == ("my restorer", "my upscaler")


def test_a_collection_of_one_file_holds_nothing_else(files):
    collection = Collection([files["upscaler"]])
    assert held(collection) == ([], ["lanczos"], None, None)
    pipeline = collection.pipeline("auto", "auto", 2)
    assert (pipeline.restorer, pipeline.upscaler.name) == (None, "my upscaler")


def test_a_file_restores_with_codeformer_for_bad_faces(loaded, files):
    pipeline = Collection([files["restorer"], "codeformer", "retinaface-r50"]).pipeline("auto", "auto", 2)
    assert pipeline.restorer.name == "my restorer or codeformer"


def test_files_that_make_no_sense_are_one_line(files, tmp_path):
    second = tmp_path / "second.safetensors"
    shutil.copy(files["upscaler"], second)
    for names, kind, message in (
        ([files["upscaler"], str(second)], OptionError, "at most one file of a restorer and one of an upscaler"),
        ([files["restorer"]], OptionError, "restoring faces needs a detector; name one too, such as retinaface-r50"),
        ([files["detector"]], WeightsError, "my detector.safetensors does not hold"),
        ([str(tmp_path / "missing.pth")], WeightsError, "cannot read .*missing.pth: No such file"),
    ):
        with pytest.raises(kind, match=message) as caught:
            Collection(names)
        assert "\n" not in str(caught.value)


def test_warm_up_runs_files_too(files, monkeypatch):
    used = []
    for kind in (NetRestorer, NetUpscaler):
        monkeypatch.setattr(kind, "__call__", lambda self, *given: used.append(self.name))
    collection = Collection([files["restorer"], files["upscaler"], "lite"])
    collection.detector = collection.repairer = None  # to take less time
    collection.warm_up()
    assert Counter(used) == {"my restorer": 2, "my upscaler": 2, "lite": 4}


def test_warm_up_runs_every_network_twice(loaded):
    used = Counter()
    collection = Collection(["lanczos"])
    stages = {
        name: lambda *given, name=name: used.update([(name, np.shape(given[0]))]) or []
        for name in ("restorer", "upscaler", "detector", "parser", "repairer")
    }
    collection.restorers, collection.upscalers = {"lite": stages["restorer"]}, {"lite": stages["upscaler"]}
    collection.detector, collection.parser = stages["detector"], stages["parser"]
    collection.repairer = stages["repairer"]
    collection.warm_up()
    face = (512, 512, 3)
    expected = [
        ("restorer", (15, *face)),
        ("upscaler", face),
        ("detector", face),
        ("parser", (15, *face)),
        ("repairer", face),
    ]
    assert used == dict.fromkeys(expected, 2)
