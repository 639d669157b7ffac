"""The work that the server does for the page, each in one call of a thread."""

from typing import Any

from facemend.errors import OptionError
from facemend.files import formats
from facemend.files.decode import decode
from facemend.job import run_in_memory
from facemend.machine import process
from facemend.records import Progress, Settings
from facemend.web import pictures
from facemend.web.networks import AUTO, Networks, missing
from facemend.web.pictures import Photo
from facemend.web.store import Store
from facemend.weights.download import fetch
from facemend.weights.installed import download_folder
from facemend.weights.models import Model

SETTINGS = {"scale", "strength", "fidelity", "repair"}  # that the page offers
READ = Settings(scale=1)  # how photos are read: their size is checked, not yet that of the result


def read(data: bytearray, networks: Networks, store: Store, progress: Progress) -> dict[str, Any]:
    """Read a photo, find its faces, and keep it.

    Args:
        data: the bytes of its file.
        networks: what finds faces.
        store: where the photo goes.
        progress: as for `Pipeline.run`.

    Returns:
        Its `key` in the store, its `size` [width, height] in px, the boxes of its `faces`, and whether there are
        `several` pictures in the file.

    Raises:
        InputError: the file cannot be read, or is too large.
    """
    picture = decode(data, READ, "this file")
    progress("detect", 0, 1)
    finder = networks.finder()
    faces = finder.find(picture, READ)
    name = finder.detector.name if finder.detector else ""
    photo = Photo(data, pictures.view(picture), pictures.thumbnail(picture), faces, name)
    height, width = picture.pixels.shape[:2]
    process.give_back_memory()
    return {
        "key": store.add(photo),
        "size": [width, height],
        "faces": [[round(value, 1) for value in face.box] for face in faces],
        "several": picture.several,
    }


class Restoration:
    """The work of restoring one photo.

    Args:
        photo: what to restore.
        networks: what computes.
        store: where the result goes.
        restorer: as for `Networks.pipeline`.
        upscaler: the same.
        format: as for `run_in_memory`.
        faces: indices of the faces to restore; None for all.
        settings: the others of the page, those in `SETTINGS`.

    Raises:
        TypeError: an unknown option.
        OptionError: a value that an option cannot have.
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
        if unknown := settings.keys() - SETTINGS:
            raise TypeError(f"{', '.join(sorted(unknown))} is not known")
        if format not in formats.CHOICES:
            raise OptionError("format", format, formats.CHOICES)
        self._photo, self._networks, self._store = photo, networks, store
        self._restorer, self._upscaler, self._format = restorer, upscaler, format
        self._all = faces is None
        chosen = "all" if faces is None else faces or "none"
        self._settings = Settings(**settings, faces=chosen)

    def __call__(self, progress: Progress) -> dict[str, Any]:
        """Restore the photo, keep the result, and return what the page says of it. Errors are those of a job."""
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


def download(model: Model, progress: Progress) -> dict[str, Any]:
    """Download a model, with the others that it needs; errors are those of `fetch`."""
    parts = missing(model)
    total, before = sum(part.size for part in parts), 0
    for part in parts:

        def tell(there: int, before: int = before) -> None:
            progress("download", before + there, total)

        fetch(part, download_folder(), tell)
        before += part.size
    return {"name": model.name}
