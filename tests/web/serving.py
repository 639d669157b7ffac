"""The server of the page in a thread of this process, a stand-in for its networks, and a client."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx

from facemend.pipeline import Pipeline
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler, lanczos
from facemend.web import app
from facemend.web.desk import Desk
from facemend.web.guard import HEADER, Guard
from facemend.web.serve import Server
from tests.pictures import detector, face_at, identity, similarity

PATIENCE = 60  # seconds; this machine may be busy
LIMIT = 3_000_000  # bytes of an upload
TILES = 50  # of each picture that `Tiles` enlarges
FACE = face_at(similarity(3, 0, -80, -60))


class Tiles:
    """An upscaler that waits before each tile until it is let go on."""

    name = "tiles"

    def __init__(self):
        self.gate = threading.Semaphore(0)
        self.done = 0

    def __call__(self, pixels, size, settings, progress=None):
        for tile in range(TILES):
            assert self.gate.acquire(timeout=PATIENCE)
            self.done += 1
            if progress:
                progress(tile + 1, TILES)
        return lanczos(pixels, size)


class StandIn:
    """Networks that find one given face, or those given, and change nothing.

    With the upscaler "lanczos", they wait at each tile for `tiles.gate`.
    """

    def __init__(self, faces=(FACE,)):
        self.tiles = Tiles()
        self.faces = faces
        self.detector = "drawn"
        self.repairer = None

    def finder(self):
        return self.pipeline()

    def pipeline(self, restorer="auto", upscaler="auto", scale=0, repair=False):
        finder = detector(*self.faces)
        finder.name = self.detector
        return Pipeline(
            detector=finder,
            restorer=FunctionRestorer(identity),
            upscaler=self.tiles if upscaler == "lanczos" else LanczosUpscaler(),
            repairer=self.repairer,
        )


class Client:
    """Talks to the server as the page does."""

    def __init__(self, url):
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, headers={HEADER: "1"})

    @contextmanager
    def asking(self, path, **content):
        """A request and the iterator of its events; leaving it closes the connection."""
        with self.http.stream("POST", path, **content) as answer:
            if answer.status_code != 200:
                answer.read()
            assert answer.status_code == 200, answer.text
            yield events(answer.iter_lines())

    def ask(self, path, **content):
        """The kind and the data of the last event."""
        with self.asking(path, **content) as told:
            return list(told)[-1]

    def upload(self, data):
        kind, photo = self.ask("/photos", content=data)
        assert kind == "done", photo
        return photo

    def restore(self, photo, **options):
        kind, result = self.ask(f"/photos/{photo['key']}/restore", json=options)
        assert kind == "done", result
        return result

    def download(self, result):
        return self.http.get(f"/results/{result['key']}").content


def events(lines):
    kind = None
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def until(true, patience=PATIENCE):
    """Wait until something is true."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def serving(networks, host="127.0.0.1", max_upload=LIMIT):
    """A server; yields its client and its guard."""
    desks = Desk(), Desk()
    guard = Guard(app.make(networks, *desks, max_upload), host)
    server = Server(guard, desks)
    with socket.create_server((host, 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
        try:
            until(lambda: server.started)
            yield client, guard
        finally:
            client.http.close()
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()
