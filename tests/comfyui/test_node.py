import ast
import asyncio
import gc
import inspect
import json
import os
import shutil
import socket
import tomllib
import weakref

import numpy as np
import pytest
import torch

from facemend.errors import FacemendError
from facemend.pipeline import Pipeline
from facemend.records import Settings, Tiling
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler, NetUpscaler
from tests.comfyui.conftest import FOLDER
from tests.comfyui.stand_in import InterruptProcessingException
from tests.conftest import WEIGHTS
from tests.pictures import CPU, TILING, Repeat, detector, face_at, identity, similarity, smooth

FACE = similarity(1.5, 8, -90, -120)  # a face of about 170 px in the middle of a 400 px picture
VALUES = {
    "model": "auto",
    "upscaler": "auto",
    "scale": 2.0,
    "strength": 1.0,
    "fidelity": 0.5,
    "faces": "all",
    "seed": -1,
}


def batch(*arrays):
    """An IMAGE of uint16 pictures."""
    return torch.from_numpy(np.stack(arrays).astype(np.float32) / 65535)


@pytest.fixture
def execute(comfy):
    def run(image, **values):
        return comfy.node.FacemendRestore.execute(image, **(VALUES | values)).args

    return run


@pytest.fixture
def drawn(comfy, monkeypatch):
    """Every picture has one given face, and its restorer changes nothing."""

    def use(restorer=identity, upscaler=None):
        made = Pipeline(
            detector=detector(face_at(FACE)),
            restorer=FunctionRestorer(restorer),
            upscaler=upscaler or LanczosUpscaler(),
        )
        monkeypatch.setattr(comfy.networks.NETWORKS, "pipeline", lambda restorer, upscaler: made)
        return made

    return use


def test_comfyui_gets_the_node(comfy):
    extension = asyncio.run(comfy.extension.comfy_entrypoint())
    (node,) = asyncio.run(extension.get_node_list())
    schema = node.define_schema()
    assert [field.id for field in schema.inputs] == ["image", *VALUES]
    assert {field.id: field.default for field in schema.inputs[1:]} == VALUES
    assert len(schema.outputs) == 3
    assert [*inspect.signature(node.execute).parameters] == ["image", *VALUES]
    assert [*inspect.signature(node.validate_inputs).parameters] == [*VALUES]


def test_lists_have_what_is_installed_and_the_files_in_comfyuis_folders(comfy):
    for task, folder in (("restorer", "facerestore_models"), ("upscaler", "upscale_models")):
        (comfy.models_dir / folder).mkdir(parents=True)
        shutil.copy(WEIGHTS / f"lite-{task}.safetensors", comfy.models_dir / folder / f"mine-{task}.safetensors")
        (comfy.models_dir / folder / "face.onnx").touch()
    options = {field.id: field.options for field in comfy.node.FacemendRestore.define_schema().inputs[1:3]}
    assert options == {
        "model": ["auto", "lite", "none", "mine-restorer.safetensors"],
        "upscaler": ["auto", "lite", "lanczos", "mine-upscaler.safetensors"],
    }


def test_files_of_comfyuis_give_what_the_models_give(comfy, execute):
    for task, folder in (("restorer", "facerestore_models"), ("upscaler", "upscale_models")):
        (comfy.models_dir / folder).mkdir(parents=True)
        shutil.copy(WEIGHTS / f"lite-{task}.safetensors", comfy.models_dir / folder / f"mine-{task}.safetensors")
    image = batch(smooth(48, 40, np.uint16))
    files = {"model": "mine-restorer.safetensors", "upscaler": "mine-upscaler.safetensors"}
    own, _, report = execute(image, **files)
    assert json.loads(report)[0]["restorer"] == "mine-restorer"
    assert torch.equal(own, execute(image, model="lite", upscaler="lite")[0])


def test_the_result_is_that_of_the_pipeline_with_16_bits(drawn, execute):
    pipeline = drawn()
    picture = smooth(400, 420, np.uint16, cell=60)
    image, mask, report = execute(batch(picture))
    result = pipeline.run(picture, Settings())
    assert image.dtype == mask.dtype == torch.float32
    assert image.shape == (1, 800, 840, 3)
    np.testing.assert_array_equal(np.rint(image[0].numpy() * 65535), result.pixels)
    (said,) = json.loads(report)
    assert said["size"] == [840, 800]
    assert said["faces"] == [face.report() for face in result.faces]
    assert said["seconds"]["total"] > 0


def test_nothing_is_quantised_on_the_way(execute):
    image = torch.linspace(0, 1, 64 * 64 * 3).reshape(1, 64, 64, 3)
    result, _, _ = execute(image, model="none", upscaler="lanczos", scale=1.0, faces="none")
    assert (result - image).abs().max() <= 0.5 / 65535 + 1e-7


def test_values_outside_the_range_are_clamped(execute):
    image = torch.tensor([-0.5, 0.25, 1.5]).expand(1, 8, 8, 3)
    result, _, _ = execute(image, model="none", upscaler="lanczos", scale=1.0, faces="none")
    np.testing.assert_allclose(result[0, 0, 0], [0, 0.25, 1], atol=1e-5)


def test_the_mask_is_on_the_face(drawn, execute):
    drawn()
    _, mask, _ = execute(batch(smooth(400, 420, np.uint16)), scale=1.5)
    assert mask.shape == (1, 600, 630)
    for x, y in face_at(FACE).landmarks:
        assert mask[0, round(y * 1.5), round(x * 1.5)] == 1
    ys, xs = np.nonzero(mask[0].numpy())
    x0, y0, x1, y1 = (value * 1.5 for value in face_at(FACE).box)  # of the landmarks: a third of the face's height
    assert x0 - (x1 - x0) < xs.min() < x0 < x1 < xs.max() < x1 + (x1 - x0)
    assert y0 - 2 * (y1 - y0) < ys.min() < y0 < y1 < ys.max() < y1 + 2 * (y1 - y0)


def test_a_batch_is_one_tensor_with_each_picture_in_its_place(drawn, execute):
    pipeline = drawn()
    pictures = [smooth(400, 420, np.uint16, seed) for seed in range(4)]
    image, mask, report = execute(batch(*pictures), scale=1.0)
    assert image.shape == (4, 400, 420, 3)
    assert mask.shape == (4, 400, 420)
    assert len(json.loads(report)) == 4
    for given, picture in zip(image, pictures, strict=True):
        np.testing.assert_array_equal(np.rint(given.numpy() * 65535), pipeline.run(picture, Settings(scale=1)).pixels)


def test_transparency_is_kept_and_grey_becomes_rgb(execute):
    values = {"model": "none", "upscaler": "lanczos", "faces": "none"}
    transparent = torch.rand(2, 16, 16, 4, generator=torch.Generator().manual_seed(0))
    transparent[..., 3] = torch.linspace(0, 1, 16)
    result, _, _ = execute(transparent, scale=1.0, **values)
    assert result.shape == (2, 16, 16, 4)
    np.testing.assert_allclose(result[..., 3], transparent[..., 3], atol=1e-5)
    result, _, _ = execute(torch.full((1, 16, 16, 1), 0.5), **values)
    assert result.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(result, 0.5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"scale": 9.0}, "scale is 9.0, but must be a number from 1 to 8"),
        ({"scale": float("nan")}, "scale is nan, but must be a number from 1 to 8"),
        ({"strength": -0.1}, "strength is -0.1, but must be a number from 0 to 1"),
        ({"fidelity": 2.0}, "fidelity is 2.0, but must be a number from 0 to 1"),
        ({"model": "gone.pth"}, "model is 'gone.pth', but must be one of auto, lite, none"),
        ({"upscaler": "x8"}, "upscaler is 'x8', but must be one of auto, lite, lanczos"),
        ({"faces": "eyes"}, "faces is 'eyes', but must be one of all, center, largest, none, numbers such as 0,2"),
        ({"faces": "0,-1"}, "faces is '0,-1', but must be one of all, center, largest, none, numbers such as 0,2"),
        ({"seed": -2}, "seed is -2, but must be a whole number from -1 to 2**53 - 1"),
        ({"seed": 2**53}, f"seed is {2**53}, but must be a whole number from -1 to 2**53 - 1"),
    ],
)
def test_bad_values_are_refused_before_execution_and_in_it(comfy, execute, values, line):
    for call in (comfy.node.FacemendRestore.validate_inputs, lambda **given: execute(torch.zeros(1, 8, 8, 3), **given)):
        with pytest.raises(FacemendError) as caught:
            call(**(VALUES | values))
        assert str(caught.value).startswith(line)


def test_inputs_that_come_from_other_nodes_are_not_judged_before_execution(comfy):
    validate = comfy.node.FacemendRestore.validate_inputs
    assert validate() is True
    assert validate(**dict.fromkeys(VALUES)) is True
    assert validate(**VALUES | {"scale": None, "faces": "0,2", "seed": 7}) is True


@pytest.mark.parametrize(
    ("image", "values", "line"),
    [
        (torch.zeros(1, 8, 8, 2), {}, "image has 2 channels; give one with 1, 3 or 4"),
        (torch.full((1, 8, 8, 3), torch.nan), {}, "image holds NaN or infinity; check the node that made it"),
        (torch.zeros(1, 1, 1, 3).expand(1, 8000, 8000, 3), {"scale": 8.0}, "the output of 64000 x 64000 px has 4096 "),
        (torch.zeros(1, 8, 8, 3), {"faces": "3"}, "faces is '3', but no faces were found"),
        (torch.zeros(2, 8, 8, 3), {"faces": "3"}, "picture 1 of 2: faces is '3', but no faces were found"),
    ],
)
def test_pictures_that_cannot_be_done_are_refused_in_one_line(execute, image, values, line):
    with pytest.raises(FacemendError) as caught:
        execute(image, **values)
    assert str(caught.value).startswith(line)
    assert "max_output_mp" not in str(caught.value)


def test_the_bar_moves_over_all_pictures_and_never_back(comfy, drawn, execute):
    drawn(upscaler=NetUpscaler("repeat", Repeat(), CPU, TILING))
    execute(batch(*(smooth(400, 420, np.uint16, seed) for seed in range(2))))
    assert comfy.shown == sorted(comfy.shown)
    assert comfy.shown[-1] == 1
    assert 0.5 in comfy.shown


def test_an_interrupt_ends_within_a_tile_and_the_next_execution_works(comfy, drawn, execute):
    tiles = []

    class Pressed(Repeat):
        def forward(self, x):
            tiles.append(x.shape)
            comfy.management.interrupted = len(tiles) == 2
            return super().forward(x)

    small = Tiling(scale=4, step=4, bytes_per_pixel=2**40)  # tiles as small as they get
    drawn(upscaler=NetUpscaler("pressed", Pressed(), CPU, small))
    image = batch(smooth(400, 420, np.uint16))
    with pytest.raises(InterruptProcessingException):
        execute(image)
    assert len(tiles) == 2
    assert execute(image)[0].shape == (1, 800, 840, 3)
    assert len(tiles) > 4


def test_networks_stay_until_comfyui_unloads_them(comfy):
    networks = comfy.networks.Networks()
    first = networks.pipeline("lite", "lite")
    second = networks.pipeline("none", "lite")
    assert first.upscaler is second.upscaler
    assert first.detector is second.detector
    assert second.restorer is None
    assert len(comfy.management.current_loaded_models) == 1
    kept = weakref.ref(first.upscaler)
    del first, second
    assert kept() is not None
    gc.disable()  # ComfyUI frees a GPU's memory at once, without a collection
    try:
        comfy.management.unload_all_models()
        assert kept() is None
    finally:
        gc.enable()
    assert networks.pipeline("lite", "lite").upscaler.name == "lite"
    assert len(comfy.management.current_loaded_models) == 1


def test_networks_follow_comfyuis_device(comfy, monkeypatch):
    asked = []
    loader = comfy.networks.Loader
    monkeypatch.setattr(comfy.networks, "Loader", lambda device: asked.append(device) or loader("cpu"))
    networks = comfy.networks.Networks()
    first = networks.pipeline("lite", "lanczos")
    for device in ("cuda:1", "mps", "xpu:0"):
        comfy.management.device = torch.device(device)
        assert networks.pipeline("lite", "lanczos").restorer is not first.restorer
        assert comfy.management.current_loaded_models[0].load_device == torch.device(device)
    assert asked == ["cpu", "cuda:1", "mps", "cpu"]


def test_a_file_that_is_replaced_is_loaded_again(comfy):
    own = comfy.models_dir / "upscale_models" / "own.SAFETENSORS"
    own.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(WEIGHTS / "lite-upscaler.safetensors", own)
    fingerprint, networks = comfy.node.FacemendRestore.fingerprint_inputs, comfy.networks.NETWORKS
    values = VALUES | {"model": "none", "upscaler": own.name}
    before, loaded = fingerprint(image=None, **values), networks.pipeline("none", str(own)).upscaler
    assert fingerprint(image=None, **values) == before
    assert networks.pipeline("none", str(own)).upscaler is loaded
    os.utime(own, ns=(10**18, 10**18))
    assert fingerprint(image=None, **values) != before
    assert networks.pipeline("none", str(own)).upscaler is not loaded


def test_the_fingerprint_names_the_models_that_auto_stands_for(comfy):
    fingerprint = comfy.node.FacemendRestore.fingerprint_inputs
    assert fingerprint(image=None, **VALUES) == ["lite", "lite", "lite", "none"]
    assert fingerprint(image=None, **VALUES | {"model": "none", "upscaler": "lanczos", "scale": None})[:2] == [
        "none",
        "lanczos",
    ]


def test_loading_the_folder_uses_no_network(monkeypatch, request):
    def refused(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    comfy = request.getfixturevalue("comfy")
    assert comfy.node.FacemendRestore.define_schema().node_id == "FacemendRestore"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_the_rules_of_comfyuis_registry(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level
    }
    known = {"comfy", "comfy_api", "facemend", "folder_paths", "numpy", "torch"}
    assert imported - known <= {
        "collections",
        "contextlib",
        "functools",
        "inspect",
        "json",
        "pathlib",
        "threading",
        "typing",
    }
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}


def test_the_node_depends_on_facemend_alone():
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    package = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["project"]["dependencies"] == [f"facemend>={package['version']}"]
    assert (FOLDER / "requirements.txt").read_text(encoding="utf-8").split() == project["project"]["dependencies"]
    assert not project["project"]["name"].isidentifier()
    assert project["project"]["version"] == package["version"]
    assert project["project"]["requires-python"] == package["requires-python"]
    assert project["tool"]["comfy"]["DisplayName"]


@pytest.mark.parametrize("name", ["restore", "upscale"])
def test_the_values_of_an_example_workflow_are_allowed(comfy, name):
    workflow = json.loads((FOLDER / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    (node,) = (node for node in workflow["nodes"] if node["type"] == "FacemendRestore")
    names = [field["name"] for field in node["inputs"] if "widget" in field]
    assert names == [*VALUES]
    assert comfy.node.FacemendRestore.validate_inputs(**dict(zip(names, node["widgets_values"], strict=True))) is True
    outputs = comfy.node.FacemendRestore.define_schema().outputs
    assert [field["name"] for field in node["outputs"]] == [field.display_name for field in outputs]
