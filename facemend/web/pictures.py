"""The pictures that the server keeps: photos sent to it, and results."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from facemend.draw import on_white
from facemend.files.encode import encode
from facemend.job import Encoded
from facemend.records import Face, Picture

VIEW_MP = 50  # megapixels of a view; browsers do not show much larger pictures
VIEW_SIDE = 16000  # px, for the same reason
VIEW_QUALITY = 90  # of its JPEG
THUMBNAIL = 160  # px, longest side


@dataclass(frozen=True)
class Photo:
    """A photo that was sent.

    Attributes:
        data: the bytes of its file.
        view: a JPEG of the upright picture in sRGB, which every browser can show.
        thumbnail: the same, small.
        faces: those found in it.
        detector: name of the network that found them.
    """

    data: bytes | bytearray
    view: bytes
    thumbnail: bytes
    faces: tuple[Face, ...]
    detector: str

    @property
    def nbytes(self) -> int:
        """How many bytes of memory it takes."""
        return len(self.data) + len(self.view) + len(self.thumbnail)


@dataclass(frozen=True)
class Restored:
    """A result.

    Attributes:
        data: the bytes of its file.
        view: a JPEG of it; the same object as `data` where that can be shown as it is.
        media_type: of `data`, such as "image/png".
    """

    data: bytes
    view: bytes
    media_type: str

    @property
    def nbytes(self) -> int:
        """How many bytes of memory it takes."""
        return len(self.data) + (0 if self.view is self.data else len(self.view))


def restored(encoded: Encoded) -> Restored:
    """A result to keep."""
    height, width = encoded.result.pixels.shape[:2]
    shown = encoded.format.name == "jpeg" and _shrinking(height, width) == 1
    shown_as = encoded.data if shown else view(encoded.result.picture)
    return Restored(encoded.data, shown_as, f"image/{encoded.format.name}")


def view(picture: Picture) -> bytes:
    """A JPEG of a picture, on white where it is transparent; smaller than the picture only if that is huge."""
    height, width = picture.pixels.shape[:2]
    return _jpeg(picture, _shrinking(height, width))


def thumbnail(picture: Picture) -> bytes:
    """A small JPEG of a picture."""
    return _jpeg(picture, min(1, THUMBNAIL / max(picture.pixels.shape[:2])))


def _shrinking(height: int, width: int) -> float:
    """Sides of a view / sides of the picture."""
    return float(min(1, (VIEW_MP * 1e6 / (height * width)) ** 0.5, VIEW_SIDE / max(height, width)))


def _jpeg(picture: Picture, factor: float) -> bytes:
    if factor < 1:
        height, width = picture.pixels.shape[:2]
        size = max(1, round(width * factor)), max(1, round(height * factor))
        pixels = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
        alpha = picture.alpha
        if alpha is not None:
            alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA))
        picture = replace(picture, pixels=pixels, alpha=alpha)
    return encode(Picture(on_white(picture)), "jpeg", VIEW_QUALITY)
