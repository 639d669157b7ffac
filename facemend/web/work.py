"""The work that the server does for the page, each in one call of a thread."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from facemend.errors import OptionError
from facemend.files import formats
from facemend.files.decode import decode
from facemend.job import Encoded, run_in_memory
from facemend.loader import AUTO
from facemend.pipeline import Pipeline
from facemend.records import ONLY_FIRST, Face, Progress, Settings
from facemend.web import pictures
from facemend.web.desk import SETTINGS
from facemend.web.networks import Networks, missing
from facemend.web.pictures import Photo
from facemend.web.store import Store
from facemend.weights.download import fetch
from facemend.weights.installed import download_folder
from facemend.weights.models import Model

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
    return {
        "key": store.add(photo),
        "size": [width, height],
        "faces": [[round(value, 1) for value in face.box] for face in faces],
        "several": ONLY_FIRST in picture.lost,
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
            raise TypeError(f"{', '.join(map(repr, sorted(unknown)))} is not known")
        if format not in formats.CHOICES:
            raise OptionError("format", format, formats.CHOICES)
        self._photo, self._networks, self._store = photo, networks, store
        self._restorer, self._upscaler, self._format = restorer, upscaler, format
        chosen = "all" if faces is None else "none" if faces == [] else faces
        self._settings = Settings(**settings, faces=chosen)

    def __call__(self, progress: Progress) -> dict[str, Any]:
        """Restore the photo, keep the result, and return what the page says of it. Errors are those of a job."""
        settings = self._settings
        progress("load", 0, 1)
        pipeline = self._networks.pipeline(self._restorer, self._upscaler, settings.scale, settings.repair)
        done = self._run(pipeline, progress)
        restored = pictures.restored(done)
        return {
            **done.result.report(),
            "key": self._store.add(restored),
            "bytes": len(done.data),
            "suffix": done.format.suffix,
            "format": done.format.title,
            "lost": done.lost,
        }

    def _run(self, pipeline: Pipeline, progress: Progress) -> Encoded:
        """Restore the photo as the command line does: that looks for faces, and after a repair may find others.

        If it does, the numbers of the faces that the user has seen mean others there, and those seen are restored.
        """
        photo, settings = self._photo, self._settings
        run = partial(
            run_in_memory, photo.data, pipeline, settings, name="this file", format=self._format, progress=progress
        )
        would_find_the_same = not settings.repair and pipeline.detector and pipeline.detector.name == photo.detector
        if would_find_the_same or settings.faces == "none":
            return run(faces=photo.faces)
        try:
            done = run()
        except OptionError as error:
            if error.name != "faces":  # of which there are fewer
                raise
        else:
            if settings.faces == "all" or _same(done.result.faces, photo.faces):
                return done
        return run(faces=photo.faces)


def _same(faces: Sequence[Face], others: Sequence[Face]) -> bool:
    """Whether faces are the same in the same order: the nose of each is in the box of the other."""

    def holds(face: Face, other: Face) -> bool:
        (x0, y0, x1, y1), (x, y) = face.box, other.landmarks.nose
        return x0 <= x <= x1 and y0 <= y <= y1

    pairs = list(zip(faces, others, strict=False))
    return len(faces) == len(others) and all(holds(one, other) and holds(other, one) for one, other in pairs)


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
