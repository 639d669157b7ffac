"""The queue of examples/serving: HAProxy in front of two servers."""

import os
import shutil
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest

from tests.cog.serving import PATIENCE, ROOT, STAND_IN, data_url, free_port, opened, png, serving
from tests.pictures import smooth

pytestmark = pytest.mark.slow

FOLDER = ROOT / "examples" / "serving"
CLIENTS = 8
CALLS = 5  # of each client


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    options = {"FACEMEND_MODELS": "lanczos"}
    with serving(folders[0], STAND_IN, **options) as first, serving(folders[1], STAND_IN, **options) as second:
        yield first, second


@pytest.fixture(scope="module")
def queue(servers, tmp_path_factory):
    """A client of the queue."""
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not there: install it to test the queue")
    port = free_port()
    first, second = (f"127.0.0.1:{server.port}" for server in servers)
    environment = {"LISTEN": f"127.0.0.1:{port}", "FIRST": first, "SECOND": second, "PAUSE": FOLDER / "pause.lua"}
    log = tmp_path_factory.mktemp("haproxy") / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["haproxy", "-db", "-f", FOLDER / "haproxy.cfg"],
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client,
    ):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                client.get("/")
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
        yield client
        process.terminate()


def body(scale=2, **inputs):
    image = data_url(png(smooth(40, 60)))
    return {"input": {"image": image, "upscale": scale, "face_enhance": False, "upscaler": "lanczos", **inputs}}


def test_no_call_is_refused_and_none_is_overtaken(queue, servers):
    """Each call waits for the calls before it, and for those that are computed at the same time."""
    arrivals, answers = count(), count()

    def ask(client):
        places = []
        for _ in range(CALLS):
            arrived = next(arrivals)
            answer = queue.post("/predictions", json=body())
            places.append((arrived, next(answers)))
            assert answer.status_code == 200, answer.text
            assert opened(answer.json()["output"]).size == (120, 80)
        return places

    with ThreadPoolExecutor(CLIENTS) as pool:
        places = [place for found in pool.map(ask, range(CLIENTS)) for place in found]
    overtaken = Counter(
        arrived for arrived, answered in places for other, earlier in places if other > arrived and earlier < answered
    )
    assert max(overtaken.values(), default=0) < CLIENTS, "a client had more than one turn while another waited"


def test_both_servers_compute(queue, servers):
    slow = {"face_enhance": False, "upscaler": "realesrnet-x4plus", "image": data_url(png(smooth(500, 500)))}
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(queue.post, "/predictions", json={"input": slow}) for _ in range(2)]
        for server in servers:
            server.wait("BUSY")
        assert [call.result().json()["status"] for call in calls] == ["succeeded"] * 2


def test_a_call_that_asks_for_an_early_answer_stays_in_the_queue(queue):
    answer = queue.post("/predictions", json=body(), headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/shutdown"), ("GET", "/health-check"), ("PUT", "/predictions/x"), ("POST", "/predictions/x/cancel")],
)
def test_only_new_predictions_come_through(queue, servers, method, path):
    assert queue.request(method, path, json=body()).status_code == 404
    assert all(server.process.poll() is None for server in servers)


def test_a_server_that_ends_is_left_out(queue, servers):
    """Last, because it ends one of the servers."""
    servers[0].stop()
    for _ in range(2):
        assert queue.post("/predictions", json=body()).status_code == 200
