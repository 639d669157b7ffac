"""Stages from names, from files of weights and from functions."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import facemend.loader
from facemend.errors import OptionError, WeightsError
from facemend.files.decode import decode
from facemend.loader import Loader, best, is_path
from facemend.nets.realesrgan import RRDBNet, SRVGGNetCompact
from facemend.nets.swinir import SwinIR
from facemend.pipeline import Pipeline
from facemend.records import Settings
from facemend.stages.assign import Auto
from facemend.stages.detect import RetinaFaceDetector
from facemend.stages.parse import ParseNetParser
from facemend.stages.restore import FunctionRestorer, NetRestorer
from facemend.stages.upscale import FunctionUpscaler, LanczosUpscaler, NetUpscaler
from facemend.weights import installed
from facemend.weights.models import MODELS
from tests.pictures import CPU, identity, smooth

EXAMPLE = Path(__file__).parents[1] / "examples" / "old.jpg"
BUNDLED = {"restorer": "lite-restorer", "upscaler": "lite-upscaler", "detector": "lite-detector"}
PICTURE = smooth(30, 40)


@pytest.fixture
def loader():
    return Loader(device="cpu", precision="fp32")


@pytest.fixture(params=[".pth", ".safetensors"])
def suffix(request):
    return request.param


def weights_file(path, name):
    """Write new weights of a model, and return their path."""
    torch.manual_seed(0)
    tensors = MODELS[name].net().state_dict()
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save({"params": tensors}, path)
    return path


def bundled(task):
    return installed.find(BUNDLED[task])


def load(loader, task, wanted):
    return getattr(loader, task)(wanted)


@pytest.mark.parametrize("name", ["realesr-animevideov3", "realesr-general-x4v3"])
def test_the_network_of_an_upscaler_file_is_identified_by_its_parameters(loader, tmp_path, suffix, name):
    upscaler = loader.upscaler(str(weights_file(tmp_path / f"my own{suffix}", name)))
    assert isinstance(upscaler, NetUpscaler)
    assert upscaler.name == "my own"
    assert upscaler(PICTURE, (120, 160)).shape == (120, 160, 3)


def test_the_network_of_a_restorer_file_is_identified_by_its_parameters(loader, tmp_path, suffix):
    restorer = loader.restorer(weights_file(tmp_path / f"my own{suffix}", "lite-restorer"))
    assert isinstance(restorer, NetRestorer)
    assert (restorer.name, restorer.face_size) == ("my own", 512)


def test_the_network_of_a_detector_file_is_identified_by_its_parameters(loader, tmp_path, suffix):
    detector = loader.detector(weights_file(tmp_path / f"my own{suffix}", "retinaface-mobile0.25"))
    assert isinstance(detector, RetinaFaceDetector)
    assert detector.name == "my own"


def test_the_network_of_a_parser_file_is_identified_by_its_parameters(loader, tmp_path):
    parser = loader.parser(weights_file(tmp_path / "my own.pth", "parsenet"))
    assert isinstance(parser, ParseNetParser)
    assert parser.name == "my own"


def test_the_scale_of_the_identified_network_is_used(loader, tmp_path):
    """x2plus and x4plus differ in the size of the first convolution only."""
    upscaler = loader.upscaler(weights_file(tmp_path / "own.pth", "realesrgan-x2plus"))
    assert upscaler._tiling == MODELS["realesrgan-x2plus"].tiling


def test_a_file_given_for_a_model_whose_parameters_come_from_another_is_refused(loader, tmp_path):
    loader = Loader("cpu", weights={"realesrgan-x2plus": tmp_path / "other.pth"})
    loader.upscaler(weights_file(tmp_path / "own.pth", "realesrgan-x2plus"))
    with pytest.raises(OptionError, match="'realesrgan-x2plus'"):
        loader.check_all_used()


@pytest.fixture
def installed_networks(monkeypatch):
    """Makes models count as installed, and remembers in order which of them were loaded."""
    names, loaded = [], []

    def load(model, path=None):
        loaded.append(model.name)
        return torch.nn.Identity()

    monkeypatch.setattr(facemend.loader, "load", load)
    monkeypatch.setattr(facemend.loader, "find", lambda name: name if name in names else None)
    return names, loaded


@pytest.mark.parametrize(
    ("names", "allowed", "expected"),
    [
        (["gfpgan-v1.3", "codeformer", "lite-restorer"], True, ["gfpgan-v1.3", "codeformer"]),
        (["gfpgan-v1.3", "codeformer", "lite-restorer"], False, ["gfpgan-v1.3"]),
        (["gfpgan-v1.3", "lite-restorer"], True, ["gfpgan-v1.3"]),
        (["codeformer", "lite-restorer"], True, ["lite", "codeformer"]),
        (["codeformer", "lite-restorer"], False, ["lite"]),
        (["lite-restorer"], True, ["lite"]),
    ],
)
def test_auto_loads_codeformer_only_where_it_is_allowed_and_installed(
    loader, installed_networks, caplog, names, allowed, expected
):
    installed_networks[0].extend(names)
    auto = loader.auto(allowed)
    assert [restorer.name for restorer in auto.restorers] == expected
    assert len(installed_networks[1]) == len(expected)
    missing = f"codeformer is not installed, so bad faces get {expected[0]} too"
    assert caplog.messages == ([missing] if allowed and "codeformer" not in names else [])


@pytest.mark.parametrize(
    ("task", "scale", "names", "expected"),
    [
        ("restorer", 0, ["lite-restorer", "codeformer", "restoreformer", "gfpgan-v1.3"], "gfpgan-v1.3"),
        ("restorer", 0, [], "none"),
        ("upscaler", 2, ["lite-upscaler", "realesrgan-x4plus", "realesrgan-x2plus"], "realesrgan-x2plus"),
        ("upscaler", 4, ["lite-upscaler", "realesrgan-x4plus", "realesrgan-x2plus"], "realesrgan-x4plus"),
        ("upscaler", 4, [], "lanczos"),
        ("detector", 0, ["lite-detector", "retinaface-r50"], "retinaface-r50"),
    ],
)
def test_the_best_model_is_the_preferred_one_that_is_installed(installed_networks, task, scale, names, expected):
    installed_networks[0].extend(names)
    assert best(task, scale) == expected


def test_auto_without_any_restorer_is_none(loader, installed_networks):
    assert loader.auto(True) is None


def test_a_file_of_codeformer_does_not_allow_auto_to_use_it_or_make_it_the_usual_one(installed_networks):
    installed_networks[0].append("lite-restorer")
    loader = Loader("cpu", "fp32", {"codeformer": "my.pth"})
    assert loader.auto(False).name == "lite"
    with pytest.raises(OptionError, match="'codeformer'.*let auto use it with allow_noncommercial"):
        loader.check_all_used()
    assert loader.auto(True).name == "lite or codeformer"
    loader.check_all_used()


def test_auto_uses_the_callers_files_for_both(installed_networks):
    loader = Loader("cpu", "fp32", {"gfpgan-v1.4": "a.pth", "codeformer": "b.pth"})
    assert loader.auto(True).name == "gfpgan-v1.4 or codeformer"
    loader.check_all_used()


def test_the_order_of_the_callers_files_does_not_matter(installed_networks):
    loader = Loader("cpu", "fp32", {"codeformer": "b.pth", "gfpgan-v1.4": "a.pth"})
    assert loader.auto(True).name == "gfpgan-v1.4 or codeformer"
    loader.check_all_used()


def test_a_file_that_auto_may_not_use_says_what_allows_it(installed_networks):
    loader = Loader("cpu", "fp32", {"gfpgan-v1.4": "a.pth", "codeformer": "b.pth"})
    assert loader.auto(False).name == "gfpgan-v1.4"
    with pytest.raises(OptionError, match="'codeformer'.*let auto use it with allow_noncommercial"):
        loader.check_all_used()


@pytest.mark.parametrize("task", ["restorer", "upscaler", "detector", "parser", "repairer"])
def test_auto_is_the_same_as_none(loader, task):
    name = lambda stage: stage and stage.name  # noqa: E731
    assert name(load(loader, task, "auto")) == name(load(loader, task, None))


@pytest.mark.parametrize("restorer", [None, "auto"])
def test_the_pipeline_loads_auto_by_default(restorer):
    pipeline = Pipeline.load(restorer=restorer, detector="none", repairer="none", device="cpu")
    assert isinstance(pipeline.restorer, Auto)
    assert [one.name for one in pipeline.restorers] == ["lite"]


@pytest.mark.parametrize(("task", "kind"), [("restorer", NetRestorer), ("upscaler", NetUpscaler)])
def test_a_file_is_a_restorer_or_an_upscaler(loader, task, kind):
    stage = loader.own(bundled(task))
    assert isinstance(stage, kind)
    assert stage.name == BUNDLED[task]


SIZES = {  # networks that no model of the table has, and their scale
    "a small RRDBNet": (4, RRDBNet(num_block=2, features=16, growth=8)),
    "RRDBNet that keeps the size": (1, RRDBNet(num_block=1, scale=1, features=8, growth=4)),
    "RRDBNet without upsampling": (1, RRDBNet(num_block=1, scale=1, features=8, growth=4, upsamplings=0)),
    "RRDBNet with one upsampling": (2, RRDBNet(num_block=1, scale=2, features=8, growth=4, upsamplings=1)),
    "compact": (2, SRVGGNetCompact(num_conv=3, scale=2, features=12)),
    "a small SwinIR": (4, SwinIR(features=24, heads=3, groups=2, depth=2)),
    "SwinIR with bottlenecks": (2, SwinIR(scale=2, features=32, heads=2, groups=1, depth=3, bottleneck=True)),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_of_an_upscaler_are_read_from_its_file(loader, tmp_path, name):
    scale, net = SIZES[name]
    torch.save({"params_ema": net.state_dict()}, tmp_path / "own.pth")
    upscaler = loader.upscaler(tmp_path / "own.pth")
    assert upscaler._tiling.scale == scale
    official = next(model for model in MODELS.values() if model.architecture.endswith(type(net).__name__))
    assert upscaler._tiling.bytes_per_pixel == official.tiling.bytes_per_pixel, "at least, as all of them are smaller"
    tiling, size = replace(MODELS["swinir-l-x4"].tiling, scale=scale), (30 * scale, 40 * scale)
    expected = NetUpscaler("own", net.eval().requires_grad_(False), CPU, tiling)(PICTURE, size)
    np.testing.assert_array_equal(upscaler(PICTURE, size), expected)


def test_memory_of_a_larger_network_is_estimated_higher(loader, tmp_path):
    torch.save(SRVGGNetCompact(num_conv=1, scale=8, features=96).state_dict(), tmp_path / "own.pth")
    tiling = loader.upscaler(tmp_path / "own.pth")._tiling
    assert tiling.bytes_per_pixel == 1.5 * 2**2 * MODELS["realesr-animevideov3"].tiling.bytes_per_pixel


@pytest.mark.parametrize(
    "shapes",
    [
        {"conv_first.weight": (8,)},
        {**{name: tuple(value.shape) for name, value in SIZES["a small SwinIR"][1].state_dict().items()}}
        | {"conv_first.weight": (25, 3, 3, 3)},  # no multiple of the number of heads
        {"model.0.weight": (8, 3, 3, 3), f"model.{'9' * 5000}.weight": (8,)},  # more digits than `int` reads
    ],
)
def test_a_file_with_unlikely_shapes_is_one_line(loader, tmp_path, monkeypatch, shapes):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=r"own.pth does not hold"):
        loader.upscaler(tmp_path / "own.pth")


def test_no_network_is_built_of_more_blocks_than_a_file_has_parameters_for():
    """Otherwise 2 MB of names would become 2 GB."""
    blocks = {f"body.{number}.rdb1.conv1.weight": (4, 4, 1, 1) for number in range(9999)}
    with pytest.raises(KeyError, match="body"):
        RRDBNet.arguments({"conv_first.weight": (4, 3, 3, 3), **blocks})


def first_names(tensors, upsamplings):
    """The names that the first ESRGAN gives to the parameters of RRDBNet."""
    others = {"conv_first": "model.0", "conv_body": "model.1.sub.2"}
    others |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, upsamplings + 1)}
    others |= {"conv_hr": f"model.{3 * upsamplings + 2}", "conv_last": f"model.{3 * upsamplings + 4}"}
    names = {}
    for key in tensors:
        parts = key.split(".")
        if parts[0] == "body":
            names[key] = f"model.1.sub.{parts[1]}.{parts[2].upper()}.{parts[3]}.0.{parts[4]}"
        else:
            names[key] = f"{others[parts[0]]}.{parts[1]}"
    return {names[key]: value for key, value in tensors.items()}


@pytest.mark.parametrize("upsamplings", [0, 1, 2, 3])
def test_files_with_the_names_of_the_first_esrgan_are_read(loader, tmp_path, upsamplings):
    scale = 2**upsamplings
    tensors = RRDBNet(2, scale, features=16, growth=8, upsamplings=upsamplings).state_dict()
    torch.save(tensors, tmp_path / "new.pth")
    torch.save(first_names(tensors, upsamplings), tmp_path / "old.pth")
    new, old = (loader.upscaler(tmp_path / f"{name}.pth") for name in ("new", "old"))
    assert new._tiling.scale == old._tiling.scale == scale
    size = PICTURE.shape[0] * scale, PICTURE.shape[1] * scale
    np.testing.assert_array_equal(new(PICTURE, size), old(PICTURE, size))


@pytest.mark.parametrize("task", BUNDLED)
def test_a_name_and_the_path_of_its_file_compute_the_same(loader, task):
    by_name, by_path = load(loader, task, "lite"), load(loader, task, bundled(task))
    assert by_name.name == "lite"
    assert by_path.name == BUNDLED[task]
    if task == "detector":
        picture = decode(EXAMPLE).pixels
        found = by_name(picture, Settings())
        assert found
        assert by_path(picture, Settings()) == found
    elif task == "restorer":
        np.testing.assert_array_equal(by_name([smooth(512, 512)])[0], by_path([smooth(512, 512)])[0])
    else:
        np.testing.assert_array_equal(by_name(PICTURE, (120, 160)), by_path(PICTURE, (120, 160)))


def test_a_file_for_a_name_and_its_path_compute_the_same(tmp_path):
    name = "realesr-animevideov3"
    path = weights_file(tmp_path / "own.pth", name)
    by_name = Loader("cpu", "fp32", {name: path}).upscaler(name)
    by_path = Loader("cpu", "fp32").upscaler(path)
    np.testing.assert_array_equal(by_name(PICTURE, (60, 80)), by_path(PICTURE, (60, 80)))


@pytest.mark.parametrize("task", ["restorer", "upscaler", "detector", "parser"])
@pytest.mark.parametrize("content", ["another task", "another network", "text", "missing"])
def test_a_file_that_does_not_fit_is_one_line_with_its_path_and_the_task(loader, tmp_path, task, content):
    path = tmp_path / "own.pth"
    if content == "another task":
        path = bundled("restorer" if task != "restorer" else "upscaler")
    elif content == "another network":
        torch.save(torch.nn.Conv2d(3, 8, 3).state_dict(), path)
    elif content == "text":
        path.write_text("no weights")
    with pytest.raises(WeightsError) as caught:
        load(loader, task, path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    if content.startswith("another"):
        assert task in message


def test_without_its_companion_a_model_ignores_denoise_and_says_so_if_it_was_named(tmp_path, caplog):
    """By its name the model has a second network for `denoise`; a file alone has none."""
    name = "realesr-general-x4v3"
    path = weights_file(tmp_path / "own.pth", name)
    by_path = Loader("cpu", "fp32").upscaler(path)
    assert not caplog.text
    by_name = Loader("cpu", "fp32", {name: path}).upscaler(name)
    full = by_path(PICTURE, (60, 80), Settings(denoise=1))
    assert "realesr-general-wdn-x4v3 is not installed, so the option denoise has no effect" in caplog.text
    for upscaler in (by_path, by_name):
        np.testing.assert_array_equal(upscaler(PICTURE, (60, 80), Settings(denoise=0.5)), full)


def test_default_may_be_a_model_without_its_companion(tmp_path):
    name = "realesr-general-x4v3"
    path = weights_file(tmp_path / "own.pth", name)
    assert Loader("cpu", "fp32", {name: path}).upscaler(None).name == name


def test_a_network_gets_the_device_and_precision_asked_for_and_the_lowest_it_is_safe_in(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("facemend.loader.choose", lambda *given: asked.append(given) or CPU)
    name = "realesr-animevideov3"
    Loader("mps", "fp16").upscaler(weights_file(tmp_path / "own.pth", name))
    assert asked[-1] == ("mps", "fp16", MODELS[name].safe_precision) == ("mps", "fp16", "fp16")


@pytest.mark.parametrize(("device", "precision"), [("banana", "auto"), ("cpu", "half")])
def test_device_and_precision_are_checked_even_if_no_network_is_loaded(device, precision):
    with pytest.raises(OptionError, match="banana|half"):
        Loader(device, precision)


def test_functions_are_wrapped(loader):
    def double(pixels):
        return pixels.repeat(2, axis=0).repeat(2, axis=1)

    restorer, upscaler = loader.restorer(identity), loader.upscaler(double)
    assert isinstance(restorer, FunctionRestorer)
    assert isinstance(upscaler, FunctionUpscaler)
    assert (restorer.name, upscaler.name) == ("identity", "double")
    np.testing.assert_array_equal(upscaler(PICTURE, (60, 80)), double(PICTURE))


@pytest.mark.parametrize("task", ["restorer", "detector", "parser"])
def test_none_is_no_stage(loader, task):
    assert load(loader, task, "none") is None


def test_lanczos_is_the_upscaler_without_a_network(loader):
    assert isinstance(loader.upscaler("lanczos"), LanczosUpscaler)


@pytest.mark.parametrize("task", ["restorer", "upscaler", "detector", "parser"])
def test_an_unknown_name_lists_the_known_ones(loader, task):
    with pytest.raises(OptionError, match=f"^{task} is 'gfpgan'") as caught:
        load(loader, task, "gfpgan")
    assert caught.value.name == task
    for model in MODELS.values():
        if model.task == task:
            assert model.public_name in str(caught.value)
    assert str(caught.value).endswith("or a file that ends in .pth, .pt, .ckpt or .safetensors")


def test_default_is_the_preferred_installed_model(loader):
    assert [load(loader, task, None).name for task in BUNDLED] == ["lite"] * 3
    assert loader.parser(None) is None


def test_default_without_installed_models_needs_no_network(loader, monkeypatch, tmp_path):
    monkeypatch.setattr(installed, "PACKAGE", tmp_path)
    assert loader.restorer(None) is None
    assert loader.detector(None) is None
    assert isinstance(loader.upscaler(None), LanczosUpscaler)


def test_default_prefers_the_models_that_files_are_given_for(tmp_path):
    """`realesr-animevideov3` is never chosen by itself."""
    path = weights_file(tmp_path / "own.pth", "realesr-animevideov3")
    assert Loader("cpu", weights={"realesr-animevideov3": path}).upscaler(None).name == "realesr-animevideov3"


def test_files_for_models_that_were_not_loaded_are_refused(tmp_path):
    path = weights_file(tmp_path / "own.pth", "realesr-animevideov3")
    loader = Loader("cpu", weights={"realesr-animevideov3": path, "parsenet": tmp_path / "other.pth"})
    loader.upscaler("realesr-animevideov3")
    with pytest.raises(
        OptionError, match="^weights is 'parsenet', .* models that are used; name the model too"
    ) as caught:
        loader.check_all_used()
    assert caught.value.name == "weights"
    assert "animevideo" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("gfpgan-v1.4", False),
        ("retinaface-mobile0.25", False),
        ("lite", False),
        ("own.pth", True),
        ("own.safetensors", True),
        ("folder/own", True),
    ],
)
def test_paths_are_told_from_names(wanted, expected):
    assert is_path(wanted) is expected


def test_every_name_is_a_name():
    assert not any(is_path(model.public_name) for model in MODELS.values())
