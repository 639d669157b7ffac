"""The server of the page, without a browser."""

import http.client
import io
import threading
import time
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
from PIL import Image

from facemend.cli import main
from facemend.machine import process
from facemend.web import app
from facemend.web.networks import Networks
from tests.pictures import face_at, similarity, smooth
from tests.web.photos import OLD, jpeg, phone, two_faces
from tests.web.serving import FACE, HEADER, LIMIT, TILES, StandIn, serving

SLOW = {"upscaler": "lanczos"}  # waits at each tile


OTHER = face_at(similarity(3, 0, -300, -60))
PHOTO = jpeg(smooth(200, 220))


@pytest.fixture
def photo(server):
    return server.upload(PHOTO)


# What it answers


def test_a_photo_is_read_restored_and_downloaded(server, photo):
    assert photo["size"] == [220, 200]
    assert len(photo["faces"]) == 1
    result = server.restore(photo, scale=1.5, format="png")
    assert (result["size"], result["suffix"], result["restorer"]) == ([330, 300], ".png", "identity")
    assert result["faces"][0]["restored"]
    assert Image.open(io.BytesIO(server.download(result))).size == (330, 300)
    for path in (f"/photos/{photo['key']}/view", f"/results/{result['key']}/view"):
        answer = server.http.get(path)
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).format == "JPEG"


def test_progress_is_told_while_it_works(server, photo):
    server.networks.tiles.gate.release(TILES)
    with server.asking(f"/photos/{photo['key']}/restore", json=SLOW) as told:
        told = list(told)
    assert ("progress", {"stage": "upscale", "done": TILES, "total": TILES}) in told
    assert told[-1][0] == "done"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"hello", "cannot read this file: its format is unknown"),
        (b"", "cannot read this file: it is empty"),
        (PHOTO[: len(PHOTO) // 2], "cannot read this file: "),
    ],
)
def test_a_file_that_is_no_photo_is_explained(server, data, error):
    kind, told = server.ask("/photos", content=data)
    assert kind == "failed"
    assert told["error"].startswith(error)
    assert "\n" not in told["error"]


def test_options_are_called_as_on_the_page(server, photo, monkeypatch):
    monkeypatch.setattr(server.networks, "pipeline", Networks().pipeline)
    kind, told = server.ask(f"/photos/{photo['key']}/restore", json={"restorer": "nothing"})
    assert kind == "failed"
    assert told["error"].startswith("model is 'nothing', but must be one of auto, ")


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b'{"device": "cuda"}',
        b'{"scale": "2"}',
        b'{"faces": 3}',
        b'{"faces": 0}',
        b'{"faces": {}}',
        b"[" * 60000,
        b'{"format": "bmp"}',
        b'{"format": []}',
        b'{"scale": NaN}',
        b'{"\\ud800": 1}',
    ],
)
def test_other_options_are_refused(server, photo, body):
    assert server.http.post(f"/photos/{photo['key']}/restore", content=body).status_code == 400


def test_an_unexpected_failure_is_told_and_logged(server, photo, monkeypatch, caplog):
    monkeypatch.setattr(server.networks, "pipeline", lambda *_: 1 / 0)
    kind, told = server.ask(f"/photos/{photo['key']}/restore", json={})
    assert kind == "failed"
    assert told["error"] == "unexpected ZeroDivisionError: division by zero; the server's terminal says more"
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_memory_is_given_back_after_each_job_and_the_server_does_not_wait_for_it(server, photo, monkeypatch, outcome):
    threads = []
    monkeypatch.setattr(process, "give_back_memory", lambda: threads.append(threading.current_thread()))
    faces = [0] if outcome == "done" else [7]
    kind, _ = server.ask(f"/photos/{photo['key']}/restore", json={"faces": faces})
    assert kind == outcome
    (thread,) = threads
    assert thread.name.startswith("AnyIO worker")


def test_the_page_answers_at_once_while_it_computes(server, photo):
    with server.asking(f"/photos/{photo['key']}/restore", json=SLOW) as told:
        server.networks.tiles.gate.release()
        next(told)
        start = time.monotonic()
        assert server.http.get("/").status_code == 200
        assert time.monotonic() - start < 5  # it would wait for the gate for a minute
        assert server.networks.tiles.done < TILES
        server.networks.tiles.gate.release(TILES)


# Who is answered


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[evil]", "10.0.0.1"]
)
def test_a_foreign_host_is_refused(server, host):
    answer = server.http.get("/", headers={"Host": host})
    assert answer.status_code in ((400, 403) if not host else (403,))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "ftp://{}"]
)
def test_a_foreign_origin_is_refused(server, origin):
    origin = origin.format(server.http.base_url.netloc.decode())
    assert server.http.post("/photos", content=PHOTO, headers={"Origin": origin}).status_code == 403
    assert server.http.get("/options", headers={"Origin": origin}).status_code == 403


def test_its_own_origin_is_answered(server):
    assert server.http.get("/options", headers={"Origin": server.url}).status_code == 200
    name = server.url.replace("127.0.0.1", "localhost")
    headers = {"Origin": name, "Host": name.removeprefix("http://")}
    assert server.http.get("/options", headers=headers).status_code == 200


def test_a_post_without_the_header_is_refused(server, photo):
    for path in ("/photos", f"/photos/{photo['key']}/restore", "/models/gfpgan-v1.4/download"):
        answer = httpx.post(server.url + path, content=PHOTO, trust_env=False)
        assert (answer.status_code, answer.text) == (403, f"the header {HEADER} is missing\n")


@pytest.mark.parametrize(
    "path",
    [
        "/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/page/../../app.py", "/index.html", "/app.py", "//etc/passwd",
        "/photos/..%2f..%2fetc%2fpasswd/view", "/photos/../../etc/passwd", "/results/%2fetc%2fpasswd", "/results/..",
        "/results/%00", "/photos//view", "/results/" + 32 * "0",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_not_found(server, path):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))  # sends the path as it is
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize("name", ["/etc/passwd", "weights/lite-restorer.safetensors", "x.pth", 5, [], None])
def test_a_model_is_no_path(lite, name):
    photo = lite.upload(PHOTO)
    for option in ("restorer", "upscaler"):
        kind, told = lite.ask(f"/photos/{photo['key']}/restore", json={option: name})
        assert kind == "failed"
        assert f" is {name!r}, but must be one of auto, " in told["error"]


@pytest.mark.parametrize("name", ["lite", "lite-restorer", "nothing", "..%2fx"])
def test_only_models_of_the_table_are_downloaded(server, name):
    assert server.http.post(f"/models/{name}/download").status_code == 404


def test_every_answer_forbids_other_sources(server):
    for path in ("/", "/page.js", "/nothing"):
        headers = server.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in httpx.get(server.url, headers={"Host": "x"}).headers["content-security-policy"]


def test_a_body_over_the_limit_is_refused(server):
    assert server.http.post("/photos", content=bytes(LIMIT + 1)).status_code == 413
    assert server.http.post("/photos", content=iter([bytes(LIMIT), b"x"])).status_code == 413  # chunked
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("POST", "/photos", b"", {HEADER: "1", "Content-Length": str(2 * LIMIT + 1)})
    assert connection.getresponse().status == 413
    connection.close()

    connection.putrequest("POST", "/photos")
    connection.putheader(HEADER, "1")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"%x\r\n" % (2 * LIMIT + 1) + bytes(2 * LIMIT + 1))  # and more would follow
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_that_stops_frees_its_place(server, monkeypatch):
    monkeypatch.setattr(app, "LONGEST_PAUSE", 0.2)
    for _ in range(5):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        connection.request("POST", "/photos", b"x", {HEADER: "1", "Content-Length": "1000"})
        assert connection.getresponse().status == 408
        connection.close()
    assert server.upload(PHOTO)


def test_a_fifth_job_is_refused_and_the_others_are_done(server, photo):
    path = f"/photos/{photo['key']}/restore"
    with ExitStack() as stack:
        jobs = [stack.enter_context(server.asking(path, json=SLOW)) for _ in range(4)]
        answer = server.http.post(path, json=SLOW)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "try again" in answer.text
        assert server.http.post("/photos", content=PHOTO).status_code == 503
        server.networks.tiles.gate.release(4 * TILES)
        assert [list(told)[-1][0] for told in jobs] == 4 * ["done"]
    assert server.upload(PHOTO)


def test_a_closed_page_ends_its_jobs_within_one_tile(server, photo):
    path, tiles = f"/photos/{photo['key']}/restore", server.networks.tiles
    with server.asking(path, json=SLOW) as told, server.asking(path, json=SLOW):
        tiles.gate.release(3)
        while next(told)[1] != {"stage": "upscale", "done": 3, "total": TILES}:
            pass
    time.sleep(0.5)  # the server notices in a few milliseconds; the tile at the gate takes longer
    tiles.gate.release(2 * TILES)
    server.restore(photo)  # after the first job has ended, and in place of the second
    assert tiles.done == 4


@pytest.fixture
def guarded():
    with serving(StandIn(), host="0.0.0.0") as (client, guard):
        yield client, guard.token


def test_other_machines_need_the_token(guarded):
    client, token = guarded
    assert len(token) >= 22
    for path in ("/", "/options", "/?token=", "/?token=wrong"):
        assert client.http.get(path).status_code == 403
    name = f"facemend-{client.http.base_url.port}"  # two servers of one machine share their cookies
    assert client.http.get("/", headers={"Cookie": f"{name}=wrong"}).status_code == 403
    assert client.http.get(f"/?token={token}", headers={"Host": "evil.example"}).status_code == 403
    answer = client.http.get(f"/?token={token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert answer.headers["set-cookie"].startswith(f"{name}=")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert client.http.get("/").status_code == 200  # with the cookie
    assert client.upload(PHOTO)


# The same as the command line


def transparent():
    pixels = np.dstack((smooth(90, 120), np.linspace(0, 255, 120, dtype=np.uint8)[None].repeat(90, axis=0)))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options", "arguments"),
    [
        (OLD.read_bytes, {}, []),
        (OLD.read_bytes, {"repair": True, "strength": 0.6}, ["--repair", "--strength", "0.6"]),
        (
            OLD.read_bytes,
            {"scale": 1.5, "format": "webp", "restorer": "none", "upscaler": "lanczos"},
            ["--scale", "1.5", "--format", "webp", "--model", "none", "--upscaler", "lanczos"],
        ),
        (two_faces, {"faces": [1], "format": "png"}, ["--faces", "1", "--format", "png"]),
        (
            two_faces,
            {"faces": [1], "repair": True, "strength": 0.5, "scale": 1},
            ["--faces", "1", "--repair", "--strength", "0.5", "--scale", "1"],
        ),
        (two_faces, {"faces": []}, ["--faces", "none"]),
        (transparent, {"format": "tiff", "restorer": "lite"}, ["--format", "tiff", "--model", "lite"]),
        (phone, {"scale": 1, "upscaler": "lanczos"}, ["--scale", "1", "--upscaler", "lanczos"]),
    ],
    ids=["as-it-is", "repaired", "webp", "one-of-two", "one-repaired", "no-face", "transparent", "phone"],
)
def test_the_download_is_the_file_of_the_command_line(lite, tmp_path, make, options, arguments):
    source = tmp_path / "photo.x"
    source.write_bytes(make())
    photo = lite.upload(source.read_bytes())
    result = lite.restore(photo, **options)
    with pytest.raises(SystemExit) as exit_:
        main(["restore", str(source), "-o", f"{tmp_path}/out/", *arguments])
    assert not exit_.value.code
    (written,) = (tmp_path / "out").iterdir()
    assert written.suffix == result["suffix"]
    assert written.read_bytes() == lite.download(result)


@pytest.mark.parametrize(
    ("found_later", "restored"),
    [
        ((FACE, OTHER), [False, True]),  # the same
        ((OTHER,), [False, True]),  # there is no second one
        ((OTHER, FACE), [False, True]),
        ((FACE, FACE, OTHER), [False, True]),
    ],
)
def test_the_faces_that_were_chosen_are_restored_although_others_are_found(found_later, restored):
    networks = StandIn((FACE, OTHER))
    with serving(networks) as (client, _):
        photo = client.upload(PHOTO)
        networks.faces, networks.detector = found_later, "another"
        result = client.restore(photo, faces=[1])
        assert [face["restored"] for face in result["faces"]] == restored
        assert result["faces"][1]["box"] == pytest.approx(OTHER.box, abs=0.01)


def test_a_phones_photo_is_shown_upright(lite):
    photo = lite.upload(phone())
    assert photo["size"] == [900, 1200]
    assert len(photo["faces"]) == 1
    assert Image.open(io.BytesIO(lite.http.get(f"/photos/{photo['key']}/view").content)).size == (900, 1200)


# Memory


def test_photos_used_last_are_kept_and_the_others_forgotten(monkeypatch):
    monkeypatch.setattr(app, "KEPT", 150_000)
    with serving(StandIn()) as (client, _):
        first, second = client.upload(PHOTO), client.upload(PHOTO)
        views = [f"/photos/{photo['key']}/view" for photo in (first, second)]
        for _ in range(20):
            client.upload(PHOTO)
            assert client.http.get(views[0]).status_code == 200
        assert client.http.get(views[1]).status_code == 404
        assert client.http.post(f"/photos/{second['key']}/restore", json={}).status_code == 404
        assert client.restore(first)


def test_a_result_over_the_bound_says_what_to_do(monkeypatch):
    monkeypatch.setattr(app, "KEPT", 100_000)
    with serving(StandIn()) as (client, _):
        photo = client.upload(PHOTO)
        kind, told = client.ask(f"/photos/{photo['key']}/restore", json={"scale": 4, "format": "png"})
        assert kind == "failed"
        assert "too large to keep in memory; choose the format jpg" in told["error"]
