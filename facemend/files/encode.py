"""Picture -> bytes, and bytes -> a file that appears whole or not at all."""

import io
import os
import pkgutil
import secrets
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facemend.errors import OutputError
from facemend.files import deep, formats, metadata
from facemend.records import Picture, Pixels

PNG_LEVEL = 2  # a quarter of the default level's time, for photos up to an eighth larger; text is as small
FULL_COLOUR_FROM = 90  # quality of a JPEG from which colour keeps its full resolution
LONGEST_EXIF = 65533  # bytes in a JPEG segment, prefix included


def encode(picture: Picture, format: str, quality: int = 95) -> bytes:  # noqa: A002
    """Write a picture.

    EXIF is kept, with the resolution, unless it is too long for a JPEG. There is no colour profile: without one, pixels
    are taken as sRGB.

    Args:
        picture: what to write. A grey one gets one channel.
        format: as `requested` of `formats.choose`.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        OptionError: an unknown format, one that cannot hold this picture, or a bad quality.
    """
    row = formats.choose(picture, format)
    formats.check_quality(quality)
    samples = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)[..., None] if picture.grey else picture.pixels
    if picture.alpha is not None:
        samples = np.dstack((samples, picture.alpha))
    data: bytes = pkgutil.resolve_name(row.writer)(samples, picture.exif, quality)
    return data


def write_jpeg(samples: Pixels, exif: bytes | None, quality: int) -> bytes:
    """A JPEG of (H, W, 1 or 3) uint8, without an EXIF block that is too long for it."""
    if exif and len(metadata.EXIF_PREFIX + exif) > LONGEST_EXIF:
        exif = None
    subsampling = "4:4:4" if quality >= FULL_COLOUR_FROM else "4:2:0"
    return _by_pillow("jpeg", samples, exif, metadata.dpi(exif), quality=quality, subsampling=subsampling)


def write_png(samples: Pixels, exif: bytes | None, quality: int) -> bytes:
    """A PNG of (H, W, 1 to 4) uint8 or uint16; it is lossless at any quality."""
    if samples.dtype == np.uint16:
        return deep.png(samples, exif, metadata.dpi(exif))
    return _by_pillow("png", samples, exif, metadata.dpi(exif), compress_level=PNG_LEVEL)


def write_webp(samples: Pixels, exif: bytes | None, quality: int) -> bytes:
    """A WebP of (H, W, 1 to 4) uint8."""
    return _by_pillow("webp", samples, exif, quality=quality)


def write_tiff(samples: Pixels, exif: bytes | None, quality: int) -> bytes:
    """A TIFF of (H, W, 1 to 4) uint8 or uint16; it is lossless at any quality, and has its resolution in its tags."""
    if samples.dtype == np.uint16:
        return deep.tiff(samples, exif)
    return _by_pillow("tiff", samples, exif)


def _by_pillow(
    name: str, samples: Pixels, exif: bytes | None, dpi: tuple[float, float] | None = None, **options: object
) -> bytes:
    if exif:
        options["exif"] = metadata.EXIF_PREFIX + exif
    if dpi:
        options["dpi"] = dpi
    stream = io.BytesIO()
    Image.fromarray(np.squeeze(samples, 2) if samples.shape[2] == 1 else samples).save(stream, name, **options)
    return stream.getvalue()


def write(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: under a hidden name in the same folder, then renamed.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    path = Path(path)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):  # the error above says what is wrong
            part.unlink()
