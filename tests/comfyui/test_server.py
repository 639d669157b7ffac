"""The node in ComfyUI itself, over HTTP. COMFYUI names ComfyUI's folder; `.venv` in it has ComfyUI's requirements."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from facemend.pipeline import Pipeline
from facemend.records import Settings, converted
from tests.cog.serving import free_port
from tests.comfyui.conftest import FOLDER

ROOT = FOLDER.parent
COMFYUI = os.environ.get("COMFYUI", "")
PATIENCE = 180  # seconds for the slowest step
# PyPI's torchvision cannot be imported with a torch for the CPU alone, unless the operators it registers are defined.
START = """
import runpy, sys, torch
if sys.argv[1] == "define":
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
sys.argv = ["main.py", *sys.argv[2:]]
sys.path.insert(0, "")
runpy.run_path("main.py", run_name="__main__")
"""

pytestmark = [pytest.mark.skipif(not COMFYUI, reason="set COMFYUI to ComfyUI's folder"), pytest.mark.slow]


def python():
    own = Path(COMFYUI) / ".venv" / "bin" / "python"
    return str(own if own.exists() else sys.executable)


def wait_for(answer):
    """What `answer` returns, once it returns something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := answer():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"nothing for {PATIENCE} s")


class Server:
    """ComfyUI with the node, and folders of its own."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("input", "output", "models/facerestore_models", "custom_nodes"):
            (folder / name).mkdir(parents=True)
        (folder / "custom_nodes" / "facemend-node").symlink_to(FOLDER)
        shutil.copy(ROOT / "examples" / "old.jpg", folder / "input")
        shutil.copy(
            ROOT / "weights" / "lite-restorer.safetensors", folder / "models/facerestore_models/mine.safetensors"
        )
        port = free_port()
        torchvision = subprocess.run([python(), "-c", "import torchvision"], capture_output=True, check=False)
        options = ["--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(folder)]
        environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(ROOT), "FACEMEND_WEIGHTS": str(folder)}
        self.log = folder / "log.txt"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [python(), "-c", START, "define" if torchvision.returncode else "", *options],
                cwd=COMFYUI, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)

    def ready(self):
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        try:
            return self.http.get("/system_stats").is_success
        except httpx.TransportError:
            return False

    def stop(self):
        self.http.close()
        self._process.terminate()
        self._process.wait(PATIENCE)

    def start(self, prompt):
        answer = self.http.post("/prompt", json={"prompt": prompt})
        assert answer.is_success, answer.text
        return answer.json()["prompt_id"]

    def finished(self, identity):
        return wait_for(lambda: self.http.get(f"/history/{identity}").json().get(identity))

    def run(self, prompt):
        """Execute; return the pictures that "Save Image" saved, and what "Preview Any" showed."""
        done = self.finished(self.start(prompt))
        assert done["status"]["status_str"] == "success", done["status"]
        kinds = {prompt[number]["class_type"]: output for number, output in done["outputs"].items()}
        pictures = [self.http.get("/view", params=image).content for image in kinds["SaveImage"]["images"]]
        pictures = [np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures]
        return pictures, json.loads(kinds["PreviewAny"]["text"][0]) if "PreviewAny" in kinds else None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("comfyui"))
    try:
        wait_for(running.ready)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def photo():
    """The picture in the folder of inputs, as ComfyUI loads it."""
    with Image.open(ROOT / "examples" / "old.jpg") as image:
        return np.asarray(image.convert("RGB"))


def example(name, **values):
    """The prompt of an example workflow for the picture; `values` are given to the node."""
    workflow = json.loads((FOLDER / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    sources = {number: (str(node), slot) for number, node, slot, *_ in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        widgets = [field["name"] for field in node["inputs"] if "widget" in field]
        given = dict(zip(widgets, node.get("widgets_values", []), strict=False))
        given |= {field["name"]: [*sources[field["link"]]] for field in node["inputs"] if field["link"]}
        given |= {"image": "old.jpg"} if node["type"] == "LoadImage" else {}
        given |= values if node["type"] == "FacemendRestore" else {}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": given}
    return prompt


def repeated(prompt, amount):
    """The prompt with the picture repeated in a batch."""
    (load,) = (number for number, node in prompt.items() if node["class_type"] == "LoadImage")
    (restore,) = (node for node in prompt.values() if node["class_type"] == "FacemendRestore")
    restore["inputs"]["image"] = ["batch", 0]
    batch = {"class_type": "RepeatImageBatch", "inputs": {"image": [load, 0], "amount": amount}}
    return prompt | {"batch": batch}


def expected(photo, restorer, settings):
    pipeline = Pipeline.load(restorer=restorer, upscaler="lite", device="cpu")
    return converted(pipeline.run(converted(photo, np.uint16), settings).pixels, np.uint8)


@pytest.mark.parametrize(
    ("name", "restorer", "settings"),
    [("restore", "lite", Settings(scale=2)), ("upscale", "none", Settings(scale=4, faces="none"))],
)
def test_an_example_workflow_equals_the_pipeline(server, photo, name, restorer, settings):
    (picture,), report = server.run(example(name))
    difference = np.abs(picture.astype(int) - expected(photo, restorer, settings))
    assert difference.max() <= 1
    assert report is None or report[0]["faces"][0]["restored"]


def test_a_batch_of_four(server, photo):
    pictures, report = server.run(repeated(example("restore", scale=1.5), 4))
    assert len(pictures) == len(report) == 4
    wanted = expected(photo, "lite", Settings(scale=1.5))
    assert all(np.abs(picture.astype(int) - wanted).max() <= 1 for picture in pictures)


def test_an_interrupt_ends_the_execution_and_the_next_one_works(server):
    started = server.start(repeated(example("upscale", scale=8), 16))
    wait_for(lambda: server.http.get("/queue").json()["queue_running"])
    time.sleep(1)  # ComfyUI forgets an interrupt that comes before the node starts
    begin = time.monotonic()
    server.http.post("/interrupt", json={})
    done = server.finished(started)
    assert "execution_interrupted" in [name for name, _ in done["status"]["messages"]]
    assert time.monotonic() - begin < PATIENCE / 6
    (picture,), _ = server.run(example("restore", scale=1.25))
    assert picture.shape == (400, 400, 3)


def test_unloading_the_models_drops_the_networks_and_the_next_execution_works(server):
    server.run(example("restore", scale=1.1))
    server.http.post("/free", json={"unload_models": True})
    before = server.log.read_text().count("Requested to load Facemend")
    time.sleep(1)  # ComfyUI unloads them in the thread that executes, which a new prompt could keep busy
    server.run(example("restore", scale=1.2))
    assert server.log.read_text().count("Requested to load Facemend") == before + 1


def test_a_file_in_comfyuis_folder_is_offered_and_used(server):
    inputs = server.http.get("/object_info/FacemendRestore").json()["FacemendRestore"]["input"]["required"]
    assert inputs["model"][1]["options"] == ["auto", "lite", "none", "mine.safetensors"]
    _, report = server.run(example("restore", model="mine.safetensors"))
    assert report[0]["restorer"] == "mine"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"scale": 9}, "scale is 9.0, but must be a number from 1 to 8"),
        ({"model": "gone.pth"}, "model is 'gone.pth', but must be one of auto, lite, none, mine.safetensors"),
    ],
)
def test_a_bad_value_is_refused_before_execution_and_said_once(server, values, line):
    answer = server.http.post("/prompt", json={"prompt": example("restore", **values)})
    assert answer.status_code == 400
    (node,) = answer.json()["node_errors"].values()
    assert [error["details"] for error in node["errors"]] == [line]


def test_installing_the_node_changes_no_installed_version():
    listed = subprocess.run([python(), "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    there = {package["name"].lower().replace("_", "-") for package in json.loads(listed.stdout)} - {"facemend"}
    command = [python(), "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", str(ROOT)]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    added = {package["metadata"]["name"].lower().replace("_", "-") for package in report["install"]}
    assert "facemend" in added
    assert not added & there
