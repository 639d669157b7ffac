"""The options of `facemend restore` and where their values go."""

import json
from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
from PIL import Image

from facemend.cli import _parser
from facemend.pipeline import Pipeline
from facemend.records import DEFAULT_SETTINGS, Settings
from facemend.weights import installed
from facemend.weights.models import MODELS
from tests.pictures import smooth

GIVEN = {
    "scale": 3.5,
    "fidelity": 0.1,
    "strength": 0.2,
    "faces": "largest",
    "aligned": True,
    "sensitivity": 0.3,
    "min_face": 40,
    "seed": 7,
    "denoise": 0.4,
    "max_input_mp": 50.0,
    "max_output_mp": 60.0,
    "adaptive": False,
    "repair": True,
}


@pytest.fixture
def square(tmp_path):
    path = tmp_path / "square.png"
    Image.fromarray(smooth(60, 60)).save(path)
    return path


@pytest.fixture
def settings(monkeypatch):
    """The settings of each picture, in order."""
    seen = []
    run = Pipeline.run

    def recording(self, picture, given, *rest):
        seen.append(given)
        return run(self, picture, given, *rest)

    monkeypatch.setattr(Pipeline, "run", recording)
    return seen


def spelled(name):
    return f"--{name.replace('_', '-')}"


def test_every_setting_has_an_option_whose_value_reaches_it(run, drawn, square, settings):
    assert GIVEN.keys() == Settings.__dataclass_fields__.keys()
    arguments = []
    for name, value in GIVEN.items():
        if isinstance(value, bool):
            arguments.append(spelled(name) if value else spelled(f"no_{name}"))
        else:
            arguments += [spelled(name), value]
    assert run("restore", square, *arguments)[0] == 0
    assert settings == [Settings(**GIVEN)]


def test_the_default_of_an_option_is_that_of_the_setting(run, drawn, photo, settings):
    assert run("restore", photo)[0] == 0
    assert settings == [DEFAULT_SETTINGS]


def test_faces_may_be_given_by_number(run, drawn, photo, settings):
    assert run("restore", photo, "--faces", "0")[0] == 0
    assert settings[0].faces == (0,)


def test_a_setting_without_an_option_keeps_its_default(run, drawn, photo, settings, monkeypatch):
    @dataclass(frozen=True)
    class More(Settings):
        grain: float = 0.25

    monkeypatch.setattr(import_module("facemend.cli.restore"), "Settings", More)
    code, _, err = run("restore", photo, "--scale", 3)
    assert code == 0, err
    assert settings == [More(scale=3, grain=0.25)]


def test_options_of_models_and_of_the_machine_are_passed_to_load(run, photo, monkeypatch, tmp_path):
    seen = []

    def load(cls, **options):
        seen.append(options)
        raise RuntimeError

    monkeypatch.setattr(Pipeline, "load", classmethod(load))
    options = ["--model", "codeformer", "--upscaler", "lanczos", "--parser", "none"]
    options += ["--device", "cuda:1", "--precision", "bf16"]
    monkeypatch.chdir(tmp_path)
    for name in ("a.pth", "b=c.pth"):
        (tmp_path / name).touch()
    weights = ["--weights", "parsenet=a.pth", "--weights", "codeformer=b=c.pth"]
    assert run("restore", photo, *options, *weights)[0] == 1
    (given,) = seen
    assert {name: str(path) for name, path in given.pop("weights").items()} == {
        "parsenet": "a.pth",
        "codeformer": "b=c.pth",
    }
    machine = {"device": "cuda:1", "precision": "bf16"}
    models = {
        "restorer": "codeformer",
        "upscaler": "lanczos",
        "detector": "auto",
        "parser": "none",
        "repairer": "none",
        "allow_noncommercial": False,
    }
    assert given == {**models, "scale": 2.0, **machine}


@pytest.mark.parametrize("option", ["--model", "--upscaler"])
def test_models_are_named_or_given_as_existing_files(option, tmp_path, monkeypatch):
    """The name of a model is taken before a file of that name; a file's path becomes absolute."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lite").touch()
    (tmp_path / "weights.bin").touch()
    destination = "restorer" if option == "--model" else "upscaler"
    for given, expected in (("lite", "lite"), ("weights.bin", str(tmp_path / "weights.bin"))):
        options = _parser().parse_args(["restore", "old.jpg", option, given])
        assert getattr(options, destination) == expected


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with files of weights, which is the current one."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(MODELS["realesr-animevideov3"].net().state_dict(), "my upscaler.pth")
    (tmp_path / "my restorer.safetensors").symlink_to(installed.find("lite-restorer"))
    torch.save(torch.nn.Conv2d(3, 8, 3).state_dict(), "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    return tmp_path


def test_files_of_weights_are_used_as_models(run, files, square):
    options = ["--model", "my restorer.safetensors", "--upscaler", "my upscaler.pth", "--aligned", "--strength", 0.5]
    code, out, err = run("restore", square, "--json", *options)
    assert code == 0, err
    record = json.loads(out)
    assert (record["restorer"], record["upscaler"]) == ("my restorer", "my upscaler")
    assert [face["net"] for face in record["faces"]] == ["my restorer"]
    assert "my restorer" in err
    assert "my upscaler" in err


@pytest.mark.parametrize("option", ["--model", "--upscaler"])
@pytest.mark.parametrize("name", ["other.pth", "text.pth"])
def test_a_file_that_fits_no_network_exits_with_1(run, files, square, option, name):
    before = sorted(files.iterdir())
    code, out, err = run("restore", square, option, name)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert str(files / name) in err
    assert "Traceback" not in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(("option", "task"), [("--model", "restorer"), ("--upscaler", "upscaler")])
@pytest.mark.parametrize("name", ["gfpgan", "missing.pth", "."])
def test_a_model_that_is_neither_a_name_nor_a_file_exits_with_2(run, files, square, option, task, name, monkeypatch):
    monkeypatch.setattr(Pipeline, "load", lambda **_: pytest.fail("networks were loaded"))
    code, out, err = run("restore", square, option, name)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert option in err
    assert f"'{name}'" in err
    for model in MODELS.values():
        if model.task == task:
            assert model.public_name in err
