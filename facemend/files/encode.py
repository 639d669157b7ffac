"""Picture -> bytes and files."""

import io
import os
import secrets
from numbers import Integral
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facemend.errors import OptionError, OutputError
from facemend.files import deep
from facemend.records import EXIF_PREFIX, NO_UNIT, PER_CENTIMETRE, RESOLUTION_TAGS, Picture, Pixels

PNG_LEVEL = 2  # a quarter of the usual level's time, for photos up to an eighth larger; text is as small
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff"}  # what encode can write
FORMATS = {suffix: name for name, suffix in SUFFIXES.items()} | {".jpeg": "jpeg", ".tif": "tiff"}
AUTO = {"jpeg": "jpeg", "webp": "webp", "tiff": "tiff", "heif": "jpeg", "avif": "jpeg"}  # input -> output, else png
LONGEST_SIDE = {"jpeg": 65500, "webp": 16383}  # px, limits of libjpeg and libwebp
HIGHEST_DPI = 65535  # of a JPEG
LONGEST_EXIF = 65533  # bytes in a JPEG segment, prefix included


def output_format(picture: Picture, requested: str = "auto", size: tuple[int, int] | None = None) -> str:
    """The format to write: as asked, or that of the input where it can hold the result.

    Args:
        picture: the result, or the input it will be made of.
        requested: "auto", or a key of `SUFFIXES`; "jpg" is "jpeg".
        size: (height, width) of the result in px, where `picture` has another.

    Raises:
        OptionError: a format this package does not write, or one that cannot hold the result.
    """
    size = size or (picture.pixels.shape[0], picture.pixels.shape[1])
    if requested == "auto":
        kind = AUTO.get(picture.format, "png")
        return "png" if _alternatives(picture, size, kind) else kind
    kind = "jpeg" if requested == "jpg" else requested
    if kind not in SUFFIXES:
        raise OptionError("format", requested, ("auto", *SUFFIXES))
    if alternatives := _alternatives(picture, size, kind):
        raise OptionError("format", kind, alternatives)
    return kind


def suffix_format(path: Path) -> str:
    """The format a file name asks for.

    Raises:
        OptionError: its suffix is that of no format this package writes.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError("the output's suffix", path.suffix, tuple(FORMATS))
    return FORMATS[path.suffix.lower()]


def _alternatives(picture: Picture, size: tuple[int, int], kind: str) -> str:
    """The formats that hold a result which this one cannot; "" if it can."""
    if picture.pixels.dtype == np.uint16 and kind not in ("png", "tiff"):
        return "png or tiff for a picture with 16 bits per channel"
    if picture.alpha is not None and kind == "jpeg":
        return "png, webp or tiff for a picture with transparency"
    longest = LONGEST_SIDE.get(kind)
    if longest and max(size) > longest:
        return f"png or tiff for a picture with a side over {longest} pixels"
    return ""


def encode(picture: Picture, format: str, quality: int = 95) -> bytes:  # noqa: A002
    """Write a picture.

    EXIF is kept, with the resolution, unless it is too long for a JPEG. There is no colour profile: without one, pixels
    are taken as sRGB.

    Args:
        picture: what to write. A grey one gets one channel.
        format: as for `output_format`.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        OptionError: an unknown format, one that cannot hold this picture, or a bad quality.
    """
    kind = output_format(picture, format)
    if not isinstance(quality, Integral) or not 1 <= quality <= 100:
        raise OptionError("quality", quality, "a whole number from 1 to 100")
    samples = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)[..., None] if picture.grey else picture.pixels
    if picture.alpha is not None:
        samples = np.dstack((samples, picture.alpha))
    if samples.dtype == np.uint8:
        return _encode8(samples, kind, quality, picture.exif)
    if kind == "tiff":
        return deep.tiff(samples, picture.exif)
    return deep.png(samples, picture.exif, _dpi(picture.exif) if picture.exif else None)


def _encode8(samples: Pixels, kind: str, quality: int, exif: bytes | None) -> bytes:
    options: dict[str, object] = {}
    if kind == "jpeg":
        options = {"quality": quality, "subsampling": "4:4:4" if quality >= 90 else "4:2:0"}
        if exif and len(EXIF_PREFIX + exif) > LONGEST_EXIF:
            exif = None
    elif kind == "webp":
        options = {"quality": quality}
    elif kind == "png":
        options = {"compress_level": PNG_LEVEL}
    if exif:
        options["exif"] = EXIF_PREFIX + exif
        if kind in ("jpeg", "png") and (dpi := _dpi(exif)):  # a TIFF has its resolution in the same tags
            options["dpi"] = dpi
    stream = io.BytesIO()
    Image.fromarray(np.squeeze(samples, 2) if samples.shape[2] == 1 else samples).save(stream, kind, **options)
    return stream.getvalue()


def _dpi(exif: bytes) -> tuple[float, float] | None:
    """Pixels per inch across and down, for readers that look outside EXIF; None where it has none that make sense."""
    tags = Image.Exif()
    tags.load(exif)
    across, down, unit = (tags.get(tag, 0) for tag in RESOLUTION_TAGS)
    try:
        inch = 2.54 if unit == PER_CENTIMETRE else 1
        dpi = float(across) * inch, float(down) * inch
    except (TypeError, ValueError):
        return None
    return dpi if unit != NO_UNIT and all(1 <= value <= HIGHEST_DPI for value in dpi) else None


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
        part.unlink(missing_ok=True)
