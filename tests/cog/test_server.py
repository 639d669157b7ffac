"""The predictor run by Cog's own server."""

import base64
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from facemend import Pipeline
from facemend.weights.models import MODELS
from tests.cog.serving import (
    PATIENCE,
    ROOT,
    STAND_IN,
    TERMINAL,
    Handler,
    data_url,
    failure,
    hooks,
    listening,
    opened,
    png,
    serving,
    until_terminal,
)
from tests.cog.soak import good_calls, look, soak
from tests.cog.stand_in import COLOURS, TILE_SECONDS
from tests.files import rare
from tests.pictures import smooth

pytestmark = pytest.mark.slow

SLOW = {"face_enhance": False, "upscaler": "realesrnet-x4plus"}  # sleeps in each tile
PHOTO = smooth(64, 80)
OLD = ROOT / "examples" / "old.jpg"


def photo(kind="png", **options):
    stream = BytesIO()
    Image.fromarray(PHOTO).save(stream, kind, **options)
    return stream.getvalue()


def test_the_server_reports_setup_and_version(server):
    assert server.health()["setup"]["status"] == "succeeded"
    assert server.client.get("/").json()["cog_version"] == "0.23.1"


@pytest.mark.parametrize("scale", [1, 1.5, 2, 8])
def test_a_synchronous_call_returns_the_result(server, scale):
    answer = server.predict(image=data_url(photo()), face_enhance=False, upscale=scale)
    assert answer["status"] == "succeeded"
    assert opened(answer["output"]).size == (round(80 * scale), round(64 * scale))
    assert answer["metrics"]["restorer"] == "none"


def test_metrics_and_progress_are_returned(server, face):
    answer = server.predict(image=face, aligned=True)
    metrics = answer["metrics"]
    assert (metrics["faces_detected"], metrics["faces_restored"]) == (1, 1)
    (reported,) = metrics["faces"]
    assert reported["box"] == [0, 0, 95, 95]
    assert (reported["restored"], reported["net"], reported["share"], reported["reason"]) == (
        True,
        "gfpgan-v1.4",
        1,
        "",
    )
    assert reported["net_reason"] == "heavily blurred, but there is no other restorer for it"
    assert (metrics["width"], metrics["height"]) == opened(answer["output"]).size == (192, 192)
    assert "seed" not in metrics
    assert (metrics["restorer"], metrics["upscaler"]) == ("gfpgan-v1.4", "realesrgan-x4plus")
    stages = {"decode", "detect", "align", "restore", "upscale", "paste", "total", "encode"}
    assert metrics["seconds"].keys() == stages
    assert answer["logs"].endswith("\n")
    assert re.fullmatch(
        r" 40%\|.+?\| 40/100 restore\n 99%\|.+?\| 99/100 paste\n100%\|.+?\| 100/100 encode\n", answer["logs"]
    )


@pytest.mark.parametrize(
    ("options", "size", "restorer", "upscaler"),
    [
        ({"scale": 4}, 384, "gfpgan-v1.4", "realesrgan-x4plus"),
        ({"upscaling": 3}, 288, "gfpgan-v1.4", "realesrgan-x4plus"),
        ({"version": "v1.3", "scale": 1}, 96, "gfpgan-v1.3", "realesrgan-x4plus"),
        ({"background_enhance": False}, 192, "gfpgan-v1.4", "lanczos"),
        ({"background_enhance": True, "face_upsample": True}, 192, "gfpgan-v1.4", "realesrgan-x4plus"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_inputs_of_other_models_mean_what_they_mean_there(server, face, options, size, restorer, upscaler):
    answer = server.predict(image=face, aligned=True, **options)
    assert opened(answer["output"]).size == (size, size)
    assert (answer["metrics"]["restorer"], answer["metrics"]["upscaler"]) == (restorer, upscaler)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 4, "upscale": 2}, "^FacemendError: scale is 4, but must be left out where upscale is 2$"),
        ({"codeformer_fidelity": 0.7}, "^FacemendError: model is 'codeformer', but must be one this server has"),
        ({"codeformer_fidelity": 0.7, "model": "auto"}, "^FacemendError: codeformer_fidelity .* model is 'auto'$"),
    ],
    ids=str,
)
def test_an_input_of_another_model_is_never_silently_ignored(server, face, options, message):
    assert re.search(message, failure(server.predict(image=face, aligned=True, **options)))


@pytest.mark.parametrize("name", ["img", "image_url"])
def test_a_picture_under_another_name_is_asked_for(server, face, name):
    answer = server.call(**{name: face})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][-1] == "image"


def test_whole_numbers_may_be_written_as_floats(server):
    body = {"image": data_url(photo("jpeg")), "face_enhance": False}
    answer = server.predict(**body, seed=7.0, output_quality=95.0, upscale=2.0)
    assert answer["metrics"]["seed"] == 7
    assert isinstance(answer["metrics"]["seed"], int)
    assert answer["output"] == server.predict(**body, seed=7, output_quality=95)["output"]


@pytest.mark.parametrize(
    "spell", [lambda url: url.replace("data", "DATA"), lambda url: f" {url}\n", lambda url: url[22:]]
)
def test_a_picture_may_be_base64_or_a_url_in_another_spelling(server, spell):
    answer = server.predict(image=spell(data_url(photo())), face_enhance=False)
    assert opened(answer["output"]).size == (160, 128)


@pytest.mark.parametrize("as_url", [False, True])
def test_a_raw_file_of_a_camera_is_developed(server, as_url):
    """It begins as a TIFF, and has no name that tells it from one."""
    pytest.importorskip("rawpy", reason="rawpy is not installed, see docs/CONTRIBUTING.md")
    url = data_url(rare.nef(200, 150), "application/octet-stream")
    answer = server.predict(image=url if as_url else url.partition(",")[2], face_enhance=False, upscale=1)
    assert min(opened(answer["output"]).size) > 100
    assert "the raw data (it is developed)" in answer["logs"]


@pytest.mark.parametrize("stripped", [False, True])
def test_strip_metadata_leaves_out_exif(server, stripped):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    image = data_url(photo("jpeg", exif=exif), "image/jpeg")
    output = server.predict(image=image, face_enhance=False, strip_metadata=stripped)["output"]
    assert opened(output).getexif().get(0x010F) == (None if stripped else "a camera")


def test_what_cannot_be_kept_is_in_the_log(server):
    answer = server.predict(image=data_url(photo("jpeg", exif=b"Exif\0\0no block"), "image/jpeg"), face_enhance=False)
    assert answer["status"] == "succeeded"
    assert "\nnot kept: EXIF (damaged: it does not begin as an EXIF block)\n" in answer["logs"]


@pytest.mark.parametrize(
    ("wanted", "given", "kind"),
    [
        ("auto", "png", "PNG"),
        ("auto", "jpeg", "JPEG"),
        ("auto", "webp", "WEBP"),
        ("png", "jpeg", "PNG"),
        ("jpg", "png", "JPEG"),
        ("webp", "png", "WEBP"),
    ],
)
def test_output_format_is_that_of_the_option_or_the_input(server, wanted, given, kind):
    answer = server.predict(image=data_url(photo(given)), face_enhance=False, output_format=wanted)
    assert answer["output"].startswith(f"data:image/{kind.lower()};base64,")
    assert opened(answer["output"]).format == kind


def test_output_quality_changes_the_size(server):
    sizes = [
        len(
            server.predict(image=data_url(photo()), face_enhance=False, output_format="jpg", output_quality=q)["output"]
        )
        for q in (20, 95)
    ]
    assert sizes[0] < sizes[1] / 2


def test_strength_mixes_the_restored_face(server, face):
    whole, half, none = (
        np.asarray(opened(server.predict(image=face, aligned=True, strength=strength)["output"]), int)[96, 96]
        for strength in (1, 0.5, 0)
    )
    assert abs(whole - COLOURS["gfpgan-v1.4"]).max() <= 1
    assert abs(half - (whole + none) / 2).max() <= 2
    assert abs(none - whole).max() > 20


def test_alternating_models_are_not_confused(server, face):
    for turn in range(20):
        model = ("gfpgan-v1.4", "gfpgan-v1.3")[turn % 2]
        upscaler = ("lanczos", "realesrgan-x4plus", "realesrnet-x4plus")[turn % 3]
        answer = server.predict(image=face, aligned=True, model=model, upscaler=upscaler)
        assert opened(answer["output"]).getpixel((96, 96)) == COLOURS[model]
        assert (answer["metrics"]["restorer"], answer["metrics"]["upscaler"]) == (model, upscaler)


@pytest.mark.parametrize("options", [{}, {"model": "auto", "upscaler": "auto"}], ids=["default", "auto"])
def test_the_best_loaded_models_are_the_default(server, face, options):
    metrics = server.predict(image=face, aligned=True, **options)["metrics"]
    assert (metrics["restorer"], metrics["upscaler"]) == ("gfpgan-v1.4", "realesrgan-x4plus")


@pytest.mark.parametrize("options", [{"model": "codeformer"}, {"upscaler": "realesrgan-x2plus"}])
def test_a_model_that_is_not_loaded_is_refused_by_name(server, face, options):
    (name,) = options.values()
    message = failure(server.predict(image=face, aligned=True, **options))
    assert re.search(rf"is '{name}', but must be one this server has: .*\w", message)


def test_face_enhance_false_restores_no_face(server, face):
    answer = server.predict(image=face, aligned=True, face_enhance=False, model="codeformer")
    assert answer["metrics"]["faces_restored"] == 0
    assert opened(answer["output"]).getpixel((96, 96)) != COLOURS["gfpgan-v1.4"]


def test_http_url_inputs_are_downloaded(server):
    class Files(Handler):
        def do_GET(self):  # noqa: N802
            more = {"Content-Length": "9999"} if self.path == "/cut.jpg" else {}
            self.answer(404 if self.path == "/other.jpg" else 200, photo("jpeg"), "image/jpeg", **more)
            self.close_connection = True

    with listening(Files) as url:
        assert "404" in failure(server.predict(image=f"{url}/other.jpg"))
        assert "IncompleteRead" in failure(server.predict(image=f"{url}/cut.jpg"))
        for spelled in (f" {url}/old.jpg ".replace("http", "HTTP"), f"{url}/old.jpg"):
            answer = server.predict(image=spelled, face_enhance=False)
            assert opened(answer["output"]).format == "JPEG"
    (left,) = server.files()  # the partial downloads are removed
    assert left.endswith(".jpg")


def test_all_invalid_inputs_are_listed_in_one_answer(server, face):
    answer = server.call(upscale=9, model="gfpgan", seed=-1, output_quality=0, fidelity="much", aligned=1)
    assert answer.status_code == 422
    details = {detail["loc"][-1]: detail["msg"] for detail in answer.json()["detail"]}
    assert details.keys() == {"image", "upscale", "model", "seed", "output_quality", "fidelity", "aligned"}
    assert details["upscale"] == "9 is greater than the maximum of 8"


def huge(side):
    """A small file with side x side black pixels."""
    stream = BytesIO()
    Image.new("1", (side, side)).save(stream, "png")
    return data_url(stream.getvalue())


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (lambda: data_url(b"no picture at all"), {}, "cannot read the image: its format is unknown"),
        (lambda: data_url(photo()[:-200]), {}, "cannot read the image: damaged, cut short"),
        (lambda: data_url(photo("jpeg")[:-200], "image/jpeg"), {}, "cannot read the image: damaged, cut short"),
        (lambda: "data:image/png;base64,", {}, "cannot read the image: it is empty"),
        (lambda: "data:image/png;base64,!!!!", {}, "cannot read the image: it is empty"),
        (lambda: "/etc/passwd", {}, "neither a URL nor the whole base64 of a picture"),
        (lambda: "predict.py", {}, "neither a URL nor the whole base64 of a picture"),
        (lambda: "file:///etc/passwd", {}, "neither a URL nor the whole base64 of a picture"),
        (lambda: "ftp://127.0.0.1/x.png", {}, "neither a URL nor the whole base64 of a picture"),
        (lambda: "http://127.0.0.1:9/x.png", {}, "Connection refused"),
        (lambda: "HTTP://127.0.0.1:9/x.png", {}, "image cannot be fetched: .*Connection refused.*; check the URL"),
        (lambda: "", {}, "image is empty; give"),
        (lambda: "x", {}, "FacemendError: image is neither a URL nor the whole base64 of a picture; give"),
        (
            lambda: huge(10100),
            {},
            "102.01 megapixels, over the limit of 100; use a smaller picture$",
        ),
        (lambda: huge(2600), {"upscale": 8}, "432.64 megapixels, over the limit of 400"),
        (lambda: data_url(photo()), {"aligned": True}, "an aligned face is square.*leave out aligned"),
        (lambda: data_url(png(smooth(64, 64))), {"aligned": True, "model": "restoreformer"}, "^FacemendError: Zero"),
        (lambda: data_url(png(np.zeros((9, 9, 4), np.uint8))), {"output_format": "jpg"}, "output_format is 'jpg'"),
    ],
    ids=lambda value: None if callable(value) else "",
)
def test_a_bad_input_fails_with_one_line_and_the_server_stays_ready(server, image, options, message):
    options = {"face_enhance": "aligned" in options, **options}
    assert re.search(message, failure(server.predict(image=image(), **options)))
    assert server.wait("READY")["status"] == "READY"  # on a busy machine a health check may take too long once
    assert server.predict(image=data_url(photo()), face_enhance=False)["status"] == "succeeded"


def test_no_file_but_the_upload_of_the_call_is_read(server, face):
    server.predict(image=face, aligned=True)
    (left,) = server.files()
    own = (server.temp / left).parent
    (uploads,) = [path for path in own.iterdir() if path.is_dir()]
    places = [own / "old.png", server.temp / "old.png", uploads / ".." / "old.png", uploads / ".." / ".." / "old.png"]
    for path in [*places, uploads, uploads / "none.png", uploads / ("x" * 300), "x" * 5000, "nothing\0.png"]:
        for old in places[:2]:
            old.write_bytes(photo())
        assert "neither a URL nor the whole base64 of a picture" in failure(
            server.predict(image=str(path), face_enhance=False)
        )
    places[1].unlink()


def test_simultaneous_clients_each_get_their_own_picture(server):
    """The server accepts one call at a time; the other clients get 409 and repeat the call."""
    refused = []

    def ask(number):
        colour = (10 * number, 100, 200)
        image = data_url(png(np.full((50, 60 + number, 3), colour, np.uint8)))
        body = {"input": {"image": image, "face_enhance": False, "upscaler": "lanczos"}}
        with httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
            for _ in range(5):
                while (answer := client.post("/predictions", json=body)).status_code == 409:
                    refused.append(number)
                    time.sleep(0.01)
                picture = opened(answer.json()["output"])
                assert picture.size == (120 + 2 * number, 100)
                assert picture.getpixel((9, 9)) == colour

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert len(set(refused)) > 1


def test_a_request_of_20_mb_is_accepted(server):
    noise = np.random.default_rng(0).integers(0, 256, (2240, 2240, 3), np.uint8)
    url = data_url(png(noise))
    assert len(url) > 20e6
    answer = server.predict(image=url, face_enhance=False, upscale=1, upscaler="lanczos", output_format="jpg")
    assert opened(answer["output"]).size == (2240, 2240)


@pytest.mark.parametrize("filtered", [None, ["completed"], ["start", "completed"], ["logs"], ["output"]])
def test_webhooks_are_sent_for_the_chosen_events(server, face, filtered):
    with hooks() as (url, came):
        body = {"id": f"hooked-{time.time_ns()}", "webhook": url}
        if filtered:
            body["webhook_events_filter"] = filtered
        answer = server.call(body, headers={"Prefer": "respond-async"}, image=face, aligned=True)
        assert (answer.status_code, answer.json()) == (202, {"id": body["id"], "status": "starting"})
        if filtered is None or "completed" in filtered:
            events = until_terminal(came)
            assert events[-1]["status"] == "succeeded"
            assert opened(events[-1]["output"]).size == (192, 192)
            assert events[-1]["metrics"]["faces_restored"] == 1
            assert "40/100 restore\n" in events[-1]["logs"]
        else:
            events = [came.get(timeout=30)]
        time.sleep(0.2)  # webhooks may arrive after the final one
        while not came.empty():
            events.append(came.get())
    assert all(event["id"] == body["id"] for event in events)
    others = [event for event in events if event["status"] not in TERMINAL]
    kinds = {"output" if event.get("output") else "logs" if event["logs"] else "start" for event in others}
    assert kinds <= ({"start", "logs", "output"} if filtered is None else set(filtered) - {"completed"})
    if filtered is None:
        assert kinds >= {"start", "output"}
    for event in others:
        assert not event.get("output") or isinstance(event["output"], list)


def test_progress_is_sent_by_webhook_during_the_call(server, wide):
    with hooks() as (url, came):
        server.call({"webhook": url, "webhook_events_filter": ["logs", "completed"]}, image=wide, **SLOW)
        events = until_terminal(came)
    shares = [int(event["logs"].splitlines()[-1].split("%")[0]) for event in events]
    assert shares == sorted(shares)
    assert shares[0] < 100
    assert shares[-1] == 100


def test_webhooks_are_repeated_until_they_are_accepted(server):
    with hooks(refusals=2) as (url, came):
        body = {"webhook": url, "webhook_events_filter": ["completed"]}
        server.call(body, headers={"Prefer": "respond-async"}, image=data_url(b"no picture"))
        (event,) = until_terminal(came)
    assert "its format is unknown" in failure(event)


def test_put_is_idempotent_during_the_call(server, wide):
    with hooks() as (url, came):
        body = {"webhook": url, "webhook_events_filter": ["start", "completed"]}
        for status in ("starting", "processing", "processing"):
            answer = server.call(
                body, method="PUT", path="/predictions/once", headers={"Prefer": "respond-async"}, image=wide, **SLOW
            )
            assert answer.status_code == 202
            assert answer.json()["status"] in (status, "starting")
        events = until_terminal(came)
        time.sleep(0.2)
        assert came.empty()
    assert [event["status"] for event in events] == ["processing", "succeeded"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_cancel_takes_effect_between_tiles(server, wide, mode):
    tiles = 12
    options = {"image": wide, **SLOW}
    with hooks() as (url, came), ThreadPoolExecutor(1) as pool:
        key = f"cancel-{mode}"
        headers = {"Prefer": "respond-async"} if mode == "async" else None
        call = pool.submit(server.call, {"id": key, "webhook": url}, headers=headers, **options)
        while came.get(timeout=30)["logs"].count(" upscale\n") < 2:  # during the call
            pass
        asked = time.monotonic()
        assert server.client.post(f"/predictions/{key}/cancel").status_code == 200
        last = until_terminal(came)[-1]
        took = time.monotonic() - asked
        answer = call.result().json()
    assert last["status"] == "canceled"
    assert took < tiles * TILE_SECONDS / 2
    if mode == "sync":
        assert answer["status"] == "canceled"
    assert server.client.post(f"/predictions/{key}/cancel").status_code == 404


def test_a_disconnected_caller_frees_the_slot(server, wide):
    with pytest.raises(Exception, match="timed out"):
        server.client.post("/predictions", json={"input": {"image": wide, **SLOW}}, timeout=0.4)
    start = time.monotonic()
    assert server.predict(image=data_url(photo()), face_enhance=False)["status"] == "succeeded"
    assert time.monotonic() - start < 8 * TILE_SECONDS


def test_results_are_uploaded_to_the_upload_url(tmp_path):
    came = []

    class Storage(Handler):
        def do_PUT(self):  # noqa: N802
            came.append((self.path, self.headers["Content-Type"], self.read()))
            self.answer(500 if "fail" in self.headers["X-Prediction-Id"] else 200)

    with listening(Storage) as url:
        options = ("--upload-url", f"{url}/results/")
        with serving(tmp_path, STAND_IN, options, FACEMEND_MODELS="lanczos") as server:
            answer, other = (
                server.call({"id": key}, image=data_url(photo("jpeg")), face_enhance=False).json()
                for key in ("fine", "other")
            )
            refused = server.call({"id": "fail"}, image=data_url(photo("jpeg")), face_enhance=False).json()
    path, kind, data = came[0]
    assert answer["output"] == url + path
    assert other["output"] == url + came[1][0] != answer["output"]  # no call replaces or guesses another's result
    assert re.fullmatch(r"/results/[0-9a-f]{32}\.jpg", path)
    assert kind == "image/jpeg"
    assert Image.open(BytesIO(data)).size == (160, 128)
    assert "upload returned status 500" in failure(refused)


def test_sigterm_lets_a_sync_call_finish(tmp_path, wide):
    with (
        serving(tmp_path, STAND_IN, FACEMEND_MODELS="lanczos") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        call = pool.submit(server.call, image=wide, **SLOW)
        server.wait("BUSY")
        server.process.send_signal(signal.SIGTERM)
        assert call.result().json()["status"] == "succeeded"
        assert server.process.wait(PATIENCE) == 0


def test_sigterm_ends_an_async_call(tmp_path, wide):
    with serving(tmp_path, STAND_IN, FACEMEND_MODELS="lanczos") as server:
        server.call(headers={"Prefer": "respond-async"}, image=wide, **SLOW)
        server.wait("BUSY")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0


def test_setup_names_every_missing_file_with_its_url_and_folder(tmp_path):
    wanted = ("gfpgan-v1.4", "retinaface-r50", "realesr-general-x4v3")
    parts = [part for name in wanted for part in MODELS[name].parts()]
    folder = tmp_path / "empty"
    options = {"FACEMEND_MODELS": ",".join(wanted), "FACEMEND_WEIGHTS": str(folder)}
    with serving(tmp_path, wait=("SETUP_FAILED",), **options) as server:
        (line,) = [line for line in server.health()["setup"]["logs"].splitlines() if line.strip()]
        assert server.client.post("/predictions", json={"input": {}}).status_code == 503
    assert len(parts) == 4
    for part in parts:
        assert part.file in line
        assert part.urls[0] in line
    assert str(folder) in line


@pytest.mark.parametrize(
    ("models", "message"),
    [("gfpgan", "FACEMEND_MODELS is 'gfpgan'.*gfpgan-v1.4"), ("gfpgan-v1.4", "needs a detector.*retinaface-r50")],
)
def test_setup_refuses_invalid_lists_of_models(tmp_path, models, message):
    with serving(tmp_path, wait=("SETUP_FAILED",), FACEMEND_MODELS=models) as server:
        assert re.search(message, server.health()["setup"]["logs"])


def test_setup_names_a_pulse_that_cannot_be_written(tmp_path):
    options = {"FACEMEND_MODELS": "lanczos", "FACEMEND_PULSE": str(tmp_path / "none" / "pulse")}
    with serving(tmp_path, wait=("SETUP_FAILED",), **options) as server:
        assert str(tmp_path / "none" / "pulse") in server.health()["setup"]["logs"]


@pytest.mark.weights
def test_a_server_without_a_restorer_refuses_to_restore_and_enlarges(tmp_path, shared):
    """Asking for a restorer by name is an error. A call of nothing but a picture does what the server can."""
    options = {"FACEMEND_MODELS": "realesr-animevideov3,retinaface-mobile0.25"}
    with serving(tmp_path, FACEMEND_WEIGHTS=str(shared / "weights"), **options) as server:
        image = data_url((shared / "data" / "old_photos" / "000007.jpg").read_bytes(), "image/jpeg")
        assert "it has none" in failure(server.predict(image=image, model="gfpgan-v1.4"))
        answer = server.predict(image=image)
        assert (answer["metrics"]["restorer"], answer["metrics"]["upscaler"]) == ("none", "realesr-animevideov3")
        assert opened(answer["output"]).size[0] == 2 * Image.open(BytesIO(base64.b64decode(image[23:]))).size[0]


def test_lite_restores_without_a_download(lite):
    image = data_url(OLD.read_bytes(), "image/jpeg")
    for options in ({}, {"model": "lite", "upscaler": "lite"}, {"model": "auto", "upscaler": "auto"}):
        answer = lite.predict(image=image, **options)
        assert answer["status"] == "succeeded", answer
        assert (answer["metrics"]["restorer"], answer["metrics"]["upscaler"]) == ("lite", "lite")
        assert answer["metrics"]["faces_restored"] >= 1
    assert "one this server has: auto, lite" in failure(lite.predict(image=image, model="gfpgan-v1.4"))


def test_another_process_makes_the_same_bytes_with_the_same_number_of_threads(lite, tmp_path):
    """Another number of threads changes the order of sums, and thereby some values by one level."""
    answer = lite.predict(image=data_url(OLD.read_bytes(), "image/jpeg"), model="lite", upscaler="lite")
    served = base64.b64decode(answer["output"].partition(",")[2])
    pipeline = Pipeline.load(restorer="lite", upscaler="lite", detector="lite", parser="none")
    before = torch.get_num_threads()
    results = {}
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results[threads] = pipeline.run(OLD)
    finally:
        torch.set_num_threads(before)
    assert results[1].faces
    assert results[1].save(tmp_path / "result.jpg").read_bytes() == served
    assert abs(results[1].pixels.astype(int) - results[2].pixels).max() <= 1


def test_repeated_calls_leave_neither_files_nor_handles(lite):
    """Each answer is checked. `make soak` makes enough calls to detect a memory leak."""
    before = look(lite, 0)
    (after,) = soak(lite, 2 * len(good_calls()))
    assert after.handles <= before.handles
    assert after.files <= 1


def test_the_health_check_answers_during_a_call(server, wide):
    thread = threading.Thread(target=server.predict, kwargs={"image": wide, **SLOW})
    thread.start()
    try:
        assert server.wait("BUSY")["status"] == "BUSY"
    finally:
        thread.join()
