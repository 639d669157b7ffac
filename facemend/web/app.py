"""The addresses of the server, and what each does."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio import fail_after
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from facemend.errors import InputError
from facemend.files import formats
from facemend.loader import WITHOUT
from facemend.records import DEFAULT_SETTINGS
from facemend.web import work
from facemend.web.desk import SETTINGS, Desk, Endpoint, Work, spelled
from facemend.web.networks import LICENCES, Networks, offered
from facemend.web.pictures import Photo, Restored
from facemend.web.store import Store
from facemend.weights.models import MODELS, Task

PAGE = Path(__file__).parent / "page"
FILES = {  # the page; what else is in the folder is not sent
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
KEPT = 512 * 2**20  # bytes of photos and results
LONGEST_OPTIONS = 64 * 2**10  # bytes
LONGEST_PAUSE = 30.0  # s between two parts of a body
SENT_AT_ONCE = 2**20  # bytes of a result
RECEIVED = 2  # times the limit of a body that is received at most

Item = TypeVar("Item", Photo, Restored)


def make(networks: Networks, desk: Desk, downloads: Desk, max_upload: int) -> Starlette:
    """Make the application.

    Args:
        networks: what computes.
        desk: where photos are read and restored.
        downloads: where models are downloaded.
        max_upload: the most bytes of a photo's file.
    """
    store = Store(KEPT)

    async def upload(request: Request) -> Work:
        data = await _body(request, max_upload)
        return partial(work.read, data, networks, store)

    async def restore(request: Request) -> Work:
        photo = _kept(store, request, Photo)
        try:
            options = json.loads(await _body(request, LONGEST_OPTIONS))
            return work.Restoration(photo, networks, store, **options)
        except (ValueError, TypeError, RecursionError) as error:  # no JSON, or other options than there are
            raise HTTPException(400, f"these are not the options of a restoration: {error}") from error
        except InputError as error:
            raise HTTPException(400, error.message(spelled)) from error

    async def download(request: Request) -> Work:
        model = MODELS.get(request.path_params["name"])
        if model is None or model.bundled:
            raise HTTPException(404, "there is no such model to download")
        return partial(work.download, model)

    def view(request: Request) -> Response:
        return Response(_kept(store, request, Photo).view, media_type="image/jpeg")

    def thumbnail(request: Request) -> Response:
        return Response(_kept(store, request, Photo).thumbnail, media_type="image/jpeg")

    def result(request: Request) -> Response:
        kept = _kept(store, request, Restored)
        headers = {"Content-Length": str(len(kept.data))}
        return StreamingResponse(_in_parts(kept.data), headers=headers, media_type=kept.media_type)

    def result_view(request: Request) -> Response:
        return Response(_kept(store, request, Restored).view, media_type="image/jpeg")

    def options(request: Request) -> Response:
        return JSONResponse(_options(max_upload))

    return Starlette(
        routes=[
            *(Route(path, _static(*file)) for path, file in FILES.items()),
            Route("/options", options),
            Route("/photos", Endpoint(desk, upload), methods=["POST"]),
            Route("/photos/{key}/restore", Endpoint(desk, restore), methods=["POST"]),
            Route("/photos/{key}/view", view),
            Route("/photos/{key}/thumbnail", thumbnail),
            Route("/results/{key}", result),
            Route("/results/{key}/view", result_view),
            Route("/models/{name}/download", Endpoint(downloads, download), methods=["POST"]),
        ]
    )


def _static(name: str, kind: str) -> Callable[[Request], Response]:
    data = (PAGE / name).read_bytes()
    return lambda request: Response(data, media_type=kind)


async def _in_parts(data: bytes) -> AsyncIterator[bytes]:
    """Yield parts of a file, each when the client has received the last one: the server holds no copy of the whole."""
    for start in range(0, len(data), SENT_AT_ONCE):
        yield data[start : start + SENT_AT_ONCE]


async def _body(request: Request, limit: int) -> bytearray:
    """The body of a request; 413 if it is over the limit, and 408 if it stops before its end.

    What is a little over the limit is still received, but not kept: a client sees the answer only after it has sent
    everything.
    """
    problem = HTTPException(413, f"this is over the limit of {limit / 1e6:g} MB", {"Connection": "close"})
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > RECEIVED * limit:
        raise problem
    body, size, stream = bytearray(), 0, request.stream()
    while True:
        try:
            with fail_after(LONGEST_PAUSE):
                part = await anext(stream, None)
        except TimeoutError as error:
            raise HTTPException(408, "the upload has stopped", {"Connection": "close"}) from error
        if part is None:
            break
        size += len(part)
        if size > RECEIVED * limit:
            raise problem
        if size <= limit:
            body += part
    if size > limit:
        raise problem
    return body


def _kept(store: Store, request: Request, kind: type[Item]) -> Item:
    item = store.get(request.path_params["key"])
    if not isinstance(item, kind):
        raise HTTPException(404, "this picture is not in memory any more")
    return item


def _options(max_upload: int) -> dict[str, Any]:
    """What the page offers."""
    detectors = offered("detector")
    return {
        "restorers": [*offered("restorer"), _without("restorer")],
        "upscalers": [*offered("upscaler"), _without("upscaler")],
        "detector": None if detectors[0]["installed"] else detectors[0],
        "formats": formats.CHOICES,
        "suffixes": list(formats.BY_SUFFIX),
        "defaults": {name: getattr(DEFAULT_SETTINGS, name) for name in sorted(SETTINGS)},
        "max_upload": max_upload,
    }


def _without(task: Task) -> dict[str, Any]:
    return {"name": WITHOUT[task], "licence": LICENCES["yes"], "installed": True, "bytes": 0, "fidelity": False}
