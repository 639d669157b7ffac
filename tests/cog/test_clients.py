"""Replicate's official clients against Cog's own server."""

import io
import json
import subprocess

import pytest
from PIL import Image

from tests.cog.serving import opened, png
from tests.cog.shim import MODEL, VERSION, replicate_api
from tests.cog.stand_in import COLOURS
from tests.pictures import smooth

pytestmark = pytest.mark.slow

RED = COLOURS["gfpgan-v1.4"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    path.write_bytes(png(smooth(96, 96, seed=1)))
    return path


def middle(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (192, 192)
        return image.getpixel((96, 96))


@pytest.fixture
def api(server):
    with replicate_api(server) as state:
        yield state


@pytest.fixture
def client(api):
    import replicate

    client = replicate.Client(api_token="none", base_url=api.url)
    yield client
    client._client.close()  # it has no close of its own


@pytest.mark.parametrize("reference", [f"{MODEL}:{VERSION}", MODEL], ids=["version", "model"])
@pytest.mark.parametrize("given", ["upload", "base64"])
def test_the_python_client_sends_and_receives_files(client, photo, tmp_path, reference, given):
    options = {"file_encoding_strategy": "base64"} if given == "base64" else {}
    with photo.open("rb") as image:
        output = client.run(reference, input={"image": image, "aligned": True}, **options)
    (tmp_path / "restored.png").write_bytes(output.read())
    assert middle((tmp_path / "restored.png").read_bytes()) == RED


def test_the_python_client_reads_progress_and_metrics(client, face):
    prediction = client.predictions.create(version=VERSION, input={"image": face, "aligned": True})
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.metrics["restorer"] == "gfpgan-v1.4"
    assert (prediction.progress.percentage, prediction.progress.current, prediction.progress.total) == (1, 100, 100)
    assert opened(prediction.output).size == (192, 192)


def test_the_python_client_raises_its_own_errors(client, tmp_path):
    from replicate.exceptions import ModelError, ReplicateError

    with pytest.raises(ModelError, match="neither a URL nor the whole base64"):
        client.run(f"{MODEL}:{VERSION}", input={"image": "/etc/passwd"})
    with pytest.raises(ReplicateError):
        client.run(f"{MODEL}:{VERSION}", input={"image": "/etc/passwd", "upscale": 99})


def test_the_python_client_cancels(client, wide):
    prediction = client.predictions.create(
        version=VERSION, input={"image": wide, "face_enhance": False, "upscaler": "realesrnet-x4plus"}
    )
    while not prediction.logs:  # before Python 3.12, a cancel while Cog fetches the inputs may hang the worker
        prediction.reload()
    prediction.cancel()
    prediction.wait()
    assert prediction.status == "canceled"


@pytest.mark.parametrize("kind", ["url", "blob"])
def test_the_javascript_client_sends_and_receives_files(api, javascript, photo, tmp_path, kind):
    """Data URLs are sent to the server itself; files are uploaded, for which the client needs /v1."""
    output = tmp_path / "restored.png"
    base = api.server.url if kind == "url" else f"{api.url}/v1"
    run = subprocess.run(
        ["node", "client.mjs", base, photo, output, kind], cwd=javascript, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert middle(output.read_bytes()) == RED
    assert "40/100 restore" in seen["logs"]
    assert seen["statuses"][-1] == "succeeded"
    assert len(seen["sizes"]) == 2
    assert "Prediction failed" in seen["failed"]
    assert "neither a URL nor the whole base64" in seen["failed"]
    assert "ApiError" in seen["refused"]
    assert "422" in seen["refused"]
