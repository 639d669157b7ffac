"""Cog's own server as a child process, and small HTTP servers for it to talk to."""

import base64
import itertools
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "cog" / "stand_in.py"
ARENAS = "1"  # of memory, as in cog.yaml
PATIENCE = 90  # seconds; this machine may be busy
TERMINAL = {"succeeded", "failed", "canceled"}


# Linux gives ports from 32768 on to connections, which could take one before its server listens; these are others.
# Processes with successive numbers, as the workers of pytest have, start 100 ports apart.
PORTS = itertools.count(20000 + os.getpid() % 127 * 100)


def free_port():
    for port in PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("there is always another port")


class Service:
    """A server that runs already; `temp` is its folder for temporary files."""

    def __init__(self, url, temp=Path("/tmp")):
        self.url, self.temp = url, temp
        self.port = int(url.rsplit(":", 1)[1])
        self.client = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False)

    def running(self):
        return True

    def health(self):
        return self.client.get("/health-check").json()

    def wait(self, *states, patience=PATIENCE):
        """The health report, once its status is one of `states`."""
        end = time.monotonic() + patience
        report = {}
        while time.monotonic() < end and self.running():
            try:
                report = self.health()
            except httpx.TransportError:
                report = {"status": "not listening"}
            if report["status"] in states:
                return report
            time.sleep(0.02)
        raise AssertionError(f"status {report} instead of {states}: {self.said()}")

    def call(self, prediction=None, *, method="POST", path="/predictions", headers=None, **inputs):
        """Send one request, again while the previous call is still being processed."""
        body = {"input": inputs, **(prediction or {})}
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.client.request(method, path, json=body, headers=headers)
            if answer.status_code != 409 or time.monotonic() > end:
                return answer
            time.sleep(0.01)

    def predict(self, **inputs):
        """The answer to a prediction, which must be accepted."""
        answer = self.call(**inputs)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def said(self):
        """The end of its log."""
        return ""

    def close(self):
        self.client.close()


class Server(Service):
    """A server that is started here.

    Args:
        folder: an empty folder for its working directory and temporary files.
        predictor: the file whose class Predictor it serves.
        options: more command-line options.
        schema: the name of the predictor's interface.
        environment: more environment variables.
    """

    def __init__(self, folder, predictor=ROOT / "predict.py", options=(), schema="openapi.json", **environment):
        super().__init__(f"http://127.0.0.1:{free_port()}", folder / "temp")
        self.temp.mkdir()
        (folder / ".cog").mkdir()
        # Without this file inputs are not validated.
        shutil.copy(ROOT / schema, folder / ".cog" / "openapi_schema.json")
        for path in {ROOT / "predict.py", ROOT / "predict_creative.py", ROOT / "healthy.py", predictor}:
            (folder / path.name).symlink_to(path)
        self.log, self.pulse = folder / "log", folder / "pulse"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1", *options],
                cwd=folder,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    # The server starts its worker as "python".
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "PYTHONPATH": str(ROOT),
                    "PORT": str(self.port),
                    "COG_PREDICT_TYPE_STUB": f"{predictor.name}:Predictor",
                    "TMPDIR": str(self.temp),
                    "FACEMEND_PULSE": str(self.pulse),
                    "MALLOC_ARENA_MAX": ARENAS,
                    "COG_LOG_LEVEL": "warn",
                    **environment,
                },
            )

    def running(self):
        return self.process.poll() is None

    def said(self):
        return self.log.read_text()[-2000:]

    def stop(self):
        self.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def files(self):
        """The files in its temp folder, as relative paths."""
        return sorted(str(path.relative_to(self.temp)) for path in self.temp.rglob("*") if path.is_file())


@contextmanager
def serving(folder, *arguments, wait=("READY",), **options):
    server = Server(folder, *arguments, **options)
    try:
        server.wait(*wait)
        yield server
    finally:
        server.stop()


@contextmanager
def listening(handler):
    """An HTTP server on this machine, with the given class of handlers; yields its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """Reads requests and answers them; logs nothing."""

    protocol_version = "HTTP/1.1"

    def read(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body=b"", kind="application/json", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextmanager
def hooks(refusals=0):
    """A receiver of webhooks; yields its URL and a queue of the bodies. It answers the first `refusals` with 500."""
    came = queue.Queue()
    left = [refusals]

    class Receiver(Handler):
        def do_POST(self):
            body = json.loads(self.read())
            left[0] -= 1
            if left[0] < 0:
                came.put(body)
            self.answer(500 if left[0] >= 0 else 200)

    with listening(Receiver) as url:
        yield url, came


def until_terminal(came):
    """Webhooks in order of arrival, up to the last one of the prediction."""
    events = []
    while not events or events[-1]["status"] not in TERMINAL:
        events.append(came.get(timeout=PATIENCE))
    return events


def failure(answer):
    """The error of a failed prediction, without the prefix of Cog; it must be one line without a traceback."""
    assert answer["status"] == "failed", answer
    assert "\n" not in answer["error"]
    assert "Traceback" not in str(answer)
    return answer["error"].removeprefix("Prediction failed: Prediction failed: ")


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(pixels):
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "png", compress_level=1)
    return stream.getvalue()


def opened(url):
    """The picture in a data URL."""
    head, _, data = url.partition(",")
    assert head.startswith("data:image/")
    image = Image.open(BytesIO(base64.b64decode(data)))
    image.load()
    return image
