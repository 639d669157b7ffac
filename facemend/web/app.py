"""The addresses of the server, and what each does."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from facemend.errors import InputError, OptionError
from facemend.files import formats
from facemend.files.decode import decode
from facemend.job import run_in_memory
from facemend.machine import process
from facemend.records import DEFAULT_SETTINGS, Progress, Settings
from facemend.web import pictures
from facemend.web.desk import Desk, Endpoint, Work, spelled
from facemend.web.networks import AUTO, LICENCES, WITHOUT, Networks, missing, offered
from facemend.web.pictures import Photo, Restored
from facemend.web.store import Store
from facemend.weights.download import fetch
from facemend.weights.installed import download_folder
from facemend.weights.models import MODELS, Model

PAGE = Path(__file__).parent / "page"
FILES = {  # the page; what else is in the folder is not sent
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
KEPT = 512 * 2**20  # bytes of photos and results
LONGEST_OPTIONS = 64 * 2**10  # bytes
NAMES = {"scale", "strength", "fidelity", "repair"}  # of settings that the page offers
RECEIVED = 2  # times the limit of a body that is received at most
READ = Settings(scale=1)  # how photos are read: their size is checked, not yet that of the result

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
        return partial(_read, data, networks, store)

    async def restore(request: Request) -> Work:
        photo = _kept(store, request, Photo)
        try:
            options = json.loads(await _body(request, LONGEST_OPTIONS))
            work = _Restoration(photo, networks, store, **options)
        except (ValueError, TypeError, RecursionError) as error:  # no JSON, or other options than there are
            raise HTTPException(400, f"these are not the options of a restoration: {error}") from error
        except InputError as error:
            raise HTTPException(400, error.message(spelled)) from error
        return work

    async def download(request: Request) -> Work:
        model = MODELS.get(request.path_params["name"])
        if model is None or model.bundled:
            raise HTTPException(404, "there is no such model to download")
        return partial(_download, model)

    def view(request: Request) -> Response:
        return Response(_kept(store, request, Photo).view, media_type="image/jpeg")

    def thumbnail(request: Request) -> Response:
        return Response(_kept(store, request, Photo).thumbnail, media_type="image/jpeg")

    def result(request: Request) -> Response:
        kept = _kept(store, request, Restored)
        return Response(kept.data, media_type=kept.media_type)

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


async def _body(request: Request, limit: int) -> bytearray:
    """The body of a request; 413 if it is over the limit.

    What is a little over the limit is still received, but not kept: a client sees the answer only after it has sent
    everything.
    """
    problem = HTTPException(413, f"this is over the limit of {limit / 1e6:g} MB", {"Connection": "close"})
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > RECEIVED * limit:
        raise problem
    body, size = bytearray(), 0
    async for part in request.stream():
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
        "defaults": {name: getattr(DEFAULT_SETTINGS, name) for name in sorted(NAMES)},
        "max_upload": max_upload,
    }


def _without(task: str) -> dict[str, Any]:
    return {"name": WITHOUT[task], "licence": LICENCES["yes"], "installed": True, "bytes": 0, "fidelity": False}


def _read(data: bytearray, networks: Networks, store: Store, progress: Progress) -> dict[str, Any]:
    """Read a photo, find its faces, and keep it."""
    picture = decode(data, READ, "this file")
    progress("detect", 0, 1)
    pipeline = networks.pipeline()
    faces = pipeline.find(picture, READ)
    name = pipeline.detector.name if pipeline.detector else ""
    photo = Photo(data, pictures.view(picture), pictures.thumbnail(picture), faces, name)
    height, width = picture.pixels.shape[:2]
    process.give_back_memory()
    return {
        "key": store.add(photo),
        "size": [width, height],
        "faces": [[round(value, 1) for value in face.box] for face in faces],
        "several": picture.several,
    }


class _Restoration:
    """The work of restoring one photo.

    Args:
        photo: what to restore.
        networks: what computes.
        store: where the result goes.
        restorer: as for `Networks.pipeline`.
        upscaler: the same.
        format: as for `run_in_memory`.
        faces: indices of the faces to restore; None for all.
        settings: the others of the page.
    """

    def __init__(
        self,
        photo: Photo,
        networks: Networks,
        store: Store,
        *,
        restorer: str = AUTO,
        upscaler: str = AUTO,
        format: str = "auto",  # noqa: A002
        faces: list[int] | None = None,
        **settings: Any,
    ) -> None:
        if unknown := settings.keys() - NAMES:
            raise TypeError(f"{', '.join(sorted(unknown))} is not known")
        if format not in formats.CHOICES:
            raise OptionError("format", format, formats.CHOICES)
        self._photo, self._networks, self._store = photo, networks, store
        self._restorer, self._upscaler, self._format = restorer, upscaler, format
        self._all = faces is None
        chosen = "all" if faces is None else faces or "none"
        self._settings = Settings(**settings, faces=chosen)

    def __call__(self, progress: Progress) -> dict[str, Any]:
        settings = self._settings
        progress("load", 0, 1)
        pipeline = self._networks.pipeline(self._restorer, self._upscaler, settings.scale, settings.repair)
        # The same as looking for them again, as the command line does, unless repairing shows more of them.
        same = not settings.repair and pipeline.detector and pipeline.detector.name == self._photo.detector
        faces = self._photo.faces if same or not self._all else None
        done = run_in_memory(
            self._photo.data, pipeline, settings, name="this file", format=self._format, progress=progress, faces=faces
        )
        result = done.result
        height, width = result.pixels.shape[:2]
        restored = pictures.restored(done)
        process.give_back_memory()
        return {
            "key": self._store.add(restored),
            "size": [width, height],
            "bytes": len(done.data),
            "suffix": done.format.suffix,
            "format": done.format.title,
            "restorer": result.restorer,
            "upscaler": result.upscaler,
            "faces": [face.report() for face in result.faces],
            "repaired": result.repaired,
            "seconds": dict(result.seconds),
            "lost": done.lost,
        }


def _download(model: Model, progress: Progress) -> dict[str, Any]:
    """Download a model, with the others that it needs."""
    parts = missing(model)
    total, before = sum(part.size for part in parts), 0
    for part in parts:

        def tell(there: int, before: int = before) -> None:
            progress("download", before + there, total)

        fetch(part, download_folder(), tell)
        before += part.size
    return {"name": model.name}
