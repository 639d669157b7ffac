"""The code in the pages, run as it stands except for addresses and names of models."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
import torch
from PIL import Image

from facemend.cli import main
from facemend.weights.models import MODELS
from tests.cog.serving import (
    PATIENCE,
    ROOT,
    STAND_IN,
    Handler,
    data_url,
    free_port,
    hooks,
    listening,
    png,
    serving,
    until_terminal,
)
from tests.cog.shim import MODEL, VERSION, replicate_api
from tests.pictures import smooth

pytestmark = pytest.mark.slow

OLD = (ROOT / "examples" / "old.jpg").read_bytes()
SLOW = {"face_enhance": False, "upscale": 4}
BLOCKS = {  # (page, the first 40 characters without a comment): the block
    (page.name, text.splitlines()[0].partition("  #")[0].strip()[:40]): text
    for page in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/*.md")))
    for text in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
}
CALL = "curl -sS localhost:5000/predictions -H '"
RUN = {
    "command line": [("README.md", "facemend restore old.jpg"), ("command-line.md", "facemend restore old.jpg")],
    "package": [
        ("README.md", "from facemend import Pipeline, Settings"),
        ("python.md", "from facemend import Pipeline, Settings"),
        ("python.md", "settings = Settings(scale=2)"),
        ("python.md", "from threading import Event"),
        ("python.md", "from facemend.machine import process"),
    ],
    "make serve": [("README.md", "FACEMEND_MODELS=lite make serve")],
    "curl": [("container.md", CALL)],
    "webhook": [("container.md", "curl -sS -X PUT localhost:5000/predictio")],
    "clients": [
        ("container.md", "import base64"),
        ("container.md", 'import { readFile, writeFile } from "nod'),
    ],
    "replicate": [("container.md", "from pathlib import Path")],
    "fault": [("supervision.md", CALL)],
}
NOT_RUN = {
    ("CONTRIBUTING.md", "make test"): "it is how these tests are started",
    ("CONTRIBUTING.md", "COMFYUI=~/ComfyUI .venv/bin/python -m py"): "it needs ComfyUI",
    ("CONTRIBUTING.md", "apt-get install libimage-exiftool-perl l"): "it installs programs",
    ("README.md", "make demo"): "it is how these tests are started",
    ("README.md", "make page"): "it opens a browser; tests/cli/test_web.py runs the command",
    ("README.md", "python3 -m venv ~/torch-cpu"): "it downloads PyTorch",
    ("page.md", "pip install '.[web]'"): "it installs packages",
    ("page.md", "$ facemend web --host 0.0.0.0 --port 800"): "an example of what is printed",
    ("container.md", "git clone . ../image && cd ../image"): "it needs Docker",
    ("container.md", "FACEMEND_MODELS=gfpgan-v1.4,realesrgan-x"): "settings, not code",
    ("container.md", "docker compose -f examples/serving/compo"): "it needs Docker",
    ("creative.md", "pip install '.[creative]'"): "it downloads models",
    (
        "creative.md",
        "from facemend import Pipeline",
    ): "it needs 3 GB of weights",
    ("creative.md", "script/weights realesrgan-x4plus retinaf"): "it needs Docker",
    ("scale.md", "facemend batch scans/ restored/"): "tests/batch and tests/cli/test_batch.py run the command",
    ("scale.md", "facemend batch s3://shop/photos/2019 s3:"): "it needs two machines",
    ("scale.md", "docker build -t facemend-ray examples/cl"): "it needs Docker",
    ("structure.md", "facemend/"): "a list of files",
    ("weights.md", "facemend models"): "it downloads models",
}


def block(name, number=0):
    return BLOCKS[RUN[name][number]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with old.jpg."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.jpg").write_bytes(OLD)
    return tmp_path


def size(path):
    with Image.open(path) as image:
        return image.size


def shell(text, folder):
    done = subprocess.run(["/bin/sh", "-ec", text], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def old_jpg_online():
    """Serves old.jpg in place of example.com; yields a function that changes a snippet."""

    class Photo(Handler):
        def do_GET(self):  # noqa: N802
            self.answer(200, OLD, "image/jpeg")

    with listening(Photo) as url:
        yield lambda text: text.replace("https://example.com/old.jpg", f"{url}/old.jpg")


def at(server, text):
    assert "localhost:5000" in text
    return text.replace("localhost:5000", f"127.0.0.1:{server.port}")


def test_every_block_is_run_or_named():
    assert sorted(BLOCKS) == sorted([*(key for keys in RUN.values() for key in keys), *NOT_RUN])


def test_commands(folder):
    (folder / "scans" / "album").mkdir(parents=True)
    old = Image.open(BytesIO(OLD)).convert("RGB")
    for name in ("scans/one.jpg", "scans/album/two.jpg"):
        old.save(folder / name)
    group = Image.new("RGB", (480, 160))
    for place in range(3):
        group.paste(old.resize((160, 160)), (160 * place, 0))
    group.save(folder / "group.jpg")
    old.resize((512, 512)).save(folder / "face.png")
    torch.save(MODELS["realesr-animevideov3"].net().state_dict(), folder / "file.pth")
    lines = [line for number in range(len(RUN["command line"])) for line in block("command line", number).splitlines()]
    for program, *arguments in dict.fromkeys(tuple(shlex.split(line, comments=True)) for line in lines):
        assert program == "facemend"
        if arguments[0] == "download":
            assert set(arguments[1:]) <= MODELS.keys()
            continue
        if arguments == ["web"]:  # it runs until it is stopped; tests/cli/test_web.py has it
            continue
        for path in folder.glob("*_restored*"):
            path.unlink()  # every line is an example of its own
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0, arguments
        if arguments[0] == "compare":
            assert min(size(folder / "old_restored_sheet.png")) > 1000
        else:
            beside = "old.jpg" in arguments and "-o" not in arguments
            assert not beside or size(folder / "old_restored.jpg") == (640, 640)
    assert len(list((folder / "restored").rglob("*.jpg"))) == 2


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 4), (4, 5)], ids=["README", "page", "process"])
def test_the_package(folder, first, last):
    """The blocks of a page belong together."""
    (folder / "group.jpg").write_bytes(OLD)
    text = "\n".join(block("package", number) for number in range(first, last))
    text = text.replace("gfpgan-v1.4", "lite").replace("realesrgan-x4plus", "lite")
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, env=environment()
    )
    assert done.returncode == 0, done.stderr
    if "new.png" in text:
        assert size(folder / "new.png") == (640, 640)


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def test_a_server_of_a_checkout(folder):
    current = subprocess.run(["make", "--question", ".venv/ready"], cwd=ROOT, capture_output=True, timeout=PATIENCE)
    if current.returncode:
        pytest.skip("there is no current .venv: run `make .venv/ready`")
    serve, _, call = block("make serve").partition("\n")
    port = free_port()
    with (folder / "log").open("wb") as log, old_jpg_online() as online:
        running = subprocess.Popen(
            ["/bin/sh", "-c", serve],
            cwd=ROOT,
            env=environment(PORT=str(port), FACEMEND_PULSE=str(folder / "pulse")),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            text = f"until curl -sS localhost:{port}/health-check | grep READY; do sleep 0.1; done 2> /dev/null\n{call}"
            assert '"status":"succeeded"' in shell(online(text.replace("localhost:5000", f"localhost:{port}")), folder)
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait(PATIENCE)


def test_curl(lite, folder):
    with old_jpg_online() as online:
        assert '"status":"succeeded"' in shell(online(at(lite, block("curl"))), folder)


def test_an_asynchronous_call_with_a_webhook(lite, folder):
    start, _, cancel = block("webhook").rpartition("curl")
    with old_jpg_online() as online, hooks() as (url, came):
        text = online(at(lite, start)).replace("https://example.com/hook", url)
        assert '"status":"starting"' in shell(text, folder)
        assert until_terminal(came)[-1]["status"] == "succeeded"
        shell(at(lite, f"curl{cancel}"), folder)


@pytest.fixture(params=["python", "javascript"])
def client(request, lite, folder):
    """A function that runs the snippet of a client against a server."""
    if request.param == "python":
        command, text = [sys.executable, "-"], block("clients", 0)
    else:
        for path in request.getfixturevalue("javascript").iterdir():
            (folder / path.name).symlink_to(path)
        command, text = ["node", "--input-type=module", "-"], block("clients", 1)
    options = {"cwd": folder, "capture_output": True, "text": True, "timeout": PATIENCE}
    return lambda change=str: subprocess.run(command, input=change(at(lite, text)), **options)


def test_a_client_writes_the_result(folder, client):
    done = client()
    assert done.returncode == 0, done.stderr
    assert size(folder / "new.jpg") == (640, 640)


def test_a_client_waits_while_the_server_computes_another_picture(lite, folder, client):
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lite.predict, image=data_url(png(smooth(400, 600))), **SLOW)
        lite.wait("BUSY")
        done = client()
        assert other.result()["status"] == "succeeded"
    assert done.returncode == 0, done.stderr
    assert size(folder / "new.jpg") == (640, 640)


def test_a_client_says_why_a_call_failed_and_writes_nothing(folder, client):
    (folder / "old.jpg").write_bytes(b"no picture, but long enough")
    done = client()
    assert done.returncode == 1
    assert re.search("Prediction failed: .*image", done.stderr)
    assert "KeyError" not in done.stderr
    assert not (folder / "new.jpg").exists()


def test_a_client_says_that_an_input_is_refused(folder, client):
    done = client(lambda text: re.sub(r'(upscale"?: )2', r"\g<1>9", text))
    assert done.returncode == 1
    assert "9 is greater than the maximum of 8" in done.stderr
    assert not (folder / "new.jpg").exists()


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_the_client_of_replicate(lite, folder, fails):
    if fails:
        (folder / "old.jpg").write_bytes(b"no picture")
    with replicate_api(lite) as api:
        text = block("replicate").replace("owner/facemend:VERSION", f"{MODEL}:{VERSION}")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", text],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment(REPLICATE_BASE_URL=api.url, REPLICATE_API_TOKEN="none"),
        )
    assert (done.returncode != 0) == fails, done.stderr
    assert (folder / "new.jpg").exists() != fails
    assert not fails or "cannot read the image" in done.stderr


def test_the_fault_of_cog_is_reproduced(tmp_path):
    """When this fails, Cog has mended it: adapt docs/supervision.md."""
    with serving(tmp_path, STAND_IN, FACEMEND_MODELS="lanczos") as server:
        said = shell(at(server, block("fault")), tmp_path)
    assert "File name too long" in said
    assert '"status":"BUSY"' in said
