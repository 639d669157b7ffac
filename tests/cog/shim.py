"""A small substitute for Replicate's /v1 API in front of one Cog server, for the Python client.

The client polls predictions, uploads files and looks up versions, none of which Cog's server has. This server starts
predictions asynchronously, stores what the webhooks report, and holds uploaded files in memory.
"""

import email
import json
import re
import threading
import uuid
from contextlib import contextmanager

from tests.cog.serving import PATIENCE, TERMINAL, Handler, listening

VERSION = "0" * 64
MODEL = "me/facemend"
EPOCH = "1970-01-01T00:00:00Z"


class State:
    """Predictions and files by their ids."""

    def __init__(self, server):
        self.server = server
        self.url = ""
        self.predictions = {}
        self.files = {}
        self.seen = {}  # id -> every reported state
        self.changed = threading.Condition()

    def create(self, body, seconds):
        key = uuid.uuid4().hex
        urls = {"get": f"{self.url}/v1/predictions/{key}", "cancel": f"{self.url}/v1/predictions/{key}/cancel"}
        whole = {"id": key, "model": MODEL, "version": VERSION, "input": body["input"], "created_at": EPOCH}
        self.predictions[key] = {**whole, "status": "starting", "logs": "", "output": None, "error": None, "urls": urls}
        self.seen[key] = []
        answer = self.server.call(
            {"input": body["input"], "webhook": f"{self.url}/hook/{key}"},
            method="PUT",
            path=f"/predictions/{key}",
            headers={"Prefer": "respond-async"},
        )
        if answer.status_code == 422:
            return 422, answer.json()
        assert answer.status_code == 202, answer.text
        with self.changed:
            self.changed.wait_for(lambda: self.predictions[key]["status"] in TERMINAL, timeout=seconds)
        return 201, self.predictions[key]

    def told(self, key, event):
        with self.changed:
            kept = self.predictions[key]
            if kept["status"] in TERMINAL:  # webhooks arrive in any order; those after the final one are ignored
                return
            self.seen[key].append(event)
            kept.update({name: event[name] for name in ("status", "logs", "metrics", "error") if name in event})
            if event["status"] in TERMINAL:  # earlier webhooks have a list
                kept["output"] = event.get("output")
            self.changed.notify_all()

    def upload(self, head, body):
        message = email.message_from_bytes(f"Content-Type: {head}\r\n\r\n".encode() + body)
        part = next(p for p in message.get_payload() if p.get_param("name", header="content-disposition") == "content")
        key = f"{uuid.uuid4().hex}-{part.get_filename() or 'file'}"
        self.files[key] = part.get_payload(decode=True)
        return {
            "id": key,
            "name": part.get_filename(),
            "content_type": part.get_content_type(),
            "size": len(self.files[key]),
            "etag": "",
            "checksums": {},
            "metadata": {},
            "created_at": EPOCH,
            "expires_at": None,
            "urls": {"get": f"{self.url}/v1/files/{key}"},
        }


def _handler(state):
    class Shim(Handler):
        def do_GET(self):  # noqa: N802
            if kept := state.predictions.get(self.path.removeprefix("/v1/predictions/")):
                self.answer(200, kept)
            elif file := state.files.get(self.path.removeprefix("/v1/files/")):
                self.answer(200, file, "application/octet-stream")
            elif self.path == f"/v1/models/{MODEL}/versions/{VERSION}":
                document = state.server.client.get("/openapi.json").json()
                versions = {"id": VERSION, "created_at": EPOCH, "cog_version": "0.23.1", "openapi_schema": document}
                self.answer(200, versions)
            else:
                self.answer(404, {"detail": "not found"})

        def do_POST(self):  # noqa: N802
            body = self.read()
            if self.path.startswith("/hook/"):
                state.told(self.path.removeprefix("/hook/"), json.loads(body))
                self.answer(200)
            elif self.path == "/v1/files":
                self.answer(201, state.upload(self.headers["Content-Type"], body))
            elif self.path in ("/v1/predictions", f"/v1/models/{MODEL}/predictions"):
                wait = re.fullmatch(r"wait(?:=(\d+))?", self.headers.get("Prefer", ""))
                seconds = 0 if not wait else int(wait[1] or PATIENCE)
                self.answer(*state.create(json.loads(body), seconds))
            elif cancel := re.fullmatch(r"/v1/predictions/(\w+)/cancel", self.path):
                state.server.client.post(f"/predictions/{cancel[1]}/cancel")
                self.answer(200, state.predictions[cancel[1]])
            else:
                self.answer(404, {"detail": "not found"})

    return Shim


@contextmanager
def replicate_api(server):
    """Serve /v1 in front of a server; yields the state, whose `url` is the address."""
    state = State(server)
    with listening(_handler(state)) as state.url:
        yield state
