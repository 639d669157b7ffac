"""Files, bytes, PIL images and arrays -> Picture."""

import contextlib
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from facemend.errors import DecodeError, FacemendError, MemoryLimitError, TooLargeError
from facemend.files import colour, deep, jpeg
from facemend.records import EXIF_PREFIX, PER_INCH, RESOLUTION_TAGS, Picture, Pixels, Settings

DEFAULTS = Settings()
Source = str | Path | bytes | Image.Image | Pixels

# Named one by one: Image.open would also run whatever other plugins are registered, and warn about large pictures.
READERS: dict[str, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "heif": pillow_heif.HeifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}
SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"BM": "bmp",
    b"GIF8": "gif",
}
READABLE = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF"

# What decoders raise on damaged files.
DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    cv2.error,
    struct.error,
    zlib.error,
)

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
# EXIF orientation -> (mirror left-right first, then quarter turns counter-clockwise)
TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
# TIFF tags that describe how the pixels are stored, or hold blocks that are not EXIF (XMP, IPTC, Photoshop, ICC)
STORAGE_TAGS = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 317, 318, 319, 320}
STORAGE_TAGS |= {322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675}

_WARNINGS = threading.Lock()  # their filters and OpenCV's log level belong to the whole process


def decode(source: Source, settings: Settings = DEFAULTS) -> Picture:
    """Read a picture, upright and in sRGB.

    The kind of file is told from its content. Only the first picture of an animated or multi-page file is read.

    Args:
        source: a file, its bytes, a PIL image, or an (H, W), (H, W, 3) RGB or (H, W, 4) RGBA array of
            uint8 or uint16.
        settings: its limits on the input and on the output it would get are checked before any pixel is decoded.

    Raises:
        DecodeError: no picture, a damaged one, or a kind that is not supported.
        TooLargeError: more pixels than a limit.
        MemoryLimitError: not enough memory to decode it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, settings)
    if isinstance(source, Image.Image):
        kind = (source.format or "").lower()
        with _refused("the picture", settings):
            return _picture(source, settings, kind if kind in READERS else "")
    if isinstance(source, (bytes, bytearray, memoryview)):
        with _refused("the picture", settings):
            return _from_stream(io.BytesIO(source), settings)
    if not isinstance(source, (str, Path)):
        raise DecodeError(f"cannot read a {type(source).__name__}: give a path, bytes, a PIL image or an array")
    with _refused(str(source), settings):
        if Path(source).is_fifo():  # may never end, and cannot be read twice
            raise DecodeError("it is a pipe; save what comes out of it as a file first")
        with Path(source).open("rb") as stream:
            return _from_stream(stream, settings)


@contextlib.contextmanager
def _refused(name: str, settings: Settings) -> Iterator[None]:
    """Turn whatever a decoder raises into one error that names the file."""
    try:
        yield
    except DecodeError as error:
        raise DecodeError(f"cannot read {name}: {error}") from error
    except FacemendError:
        raise
    except MemoryError as error:
        raise MemoryLimitError(
            f"not enough memory to read {name}: close other programs or use a smaller one"
        ) from error
    except Image.DecompressionBombError as error:  # Pillow looks at WebP and GIF before their size is known here
        pixels, limit = map(int, re.findall(r"\d+", str(error)))
        option = "PIL.Image.MAX_IMAGE_PIXELS"
        if pixels > settings.max_input_mp * 1e6:
            limit, option = round(settings.max_input_mp * 1e6), "--max-input-mp"
        raise TooLargeError("the input", pixels, limit, option) from error
    except DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise DecodeError(f"cannot open {name}: {error.strerror}; check the path") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(
            f"cannot read {name}: damaged, cut short or unsupported ({reason}); use a whole file"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the decoders' warnings about odd headers and large pictures from the screen."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def _from_stream(stream: BinaryIO, settings: Settings) -> Picture:
    head = stream.read(64)
    kind = _kind(head)
    if not head:
        raise DecodeError(f"it is empty; give a {READABLE} file")
    if not kind:
        raise DecodeError(f"it is no picture this program knows (it starts with {head[:8]!r}); give a {READABLE} file")
    stream.seek(0)
    with _quiet():
        image = READERS[kind](stream)
    return _picture(image, settings, kind, stream)


def _kind(head: bytes) -> str:
    """The format of a file that starts with these bytes, or ""."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        brands = head[8 : int.from_bytes(head[:4], "big")]
        return "avif" if b"avif" in brands or b"avis" in brands else "heif"
    return next((kind for magic, kind in SIGNATURES.items() if head.startswith(magic)), "")


def _picture(image: Image.Image, settings: Settings, kind: str = "", stream: BinaryIO | None = None) -> Picture:
    _check_size(image.width, image.height, settings)
    layout = deep.layout(image) if stream is not None else ""
    grey = image.mode in GREY_MODES or layout == "LA"
    if kind == "jpeg" and stream is not None:
        stream.seek(0)
        jpeg.check(stream.read())
    with _quiet():
        several = getattr(image, "is_animated", False)
    with _quiet() if isinstance(image, TiffImagePlugin.TiffImageFile) else contextlib.nullcontext():
        image.load()
    with _quiet():  # after loading, which turns a TIFF, and finds the EXIF block at the end of a PNG
        turn = _orientation(image)
        exif = _exif(image)
    profile = image.info.get("icc_profile")
    if stream is not None and layout:
        with _quiet():
            colours, alpha = deep.read(stream, image)
    elif image.mode.startswith("I;16"):
        colours, alpha = deep.grey(image)
    else:
        colours, alpha = _samples(image, profile)
    if colours.dtype == np.uint16:
        colours = colour.deep_to_srgb(colours, profile)
    alpha = alpha if alpha is None else _turned(alpha, turn)
    return _assemble(_turned(colours, turn), alpha, grey, exif, kind, several)


def _from_array(array: Pixels, settings: Settings) -> Picture:
    shape = array.shape
    if array.dtype not in (np.uint8, np.uint16) or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise DecodeError(
            f"cannot use an array of shape {shape} and type {array.dtype}: "
            "give (height, width), (height, width, 3) RGB or (height, width, 4) RGBA of uint8 or uint16"
        )
    _check_size(shape[1], shape[0], settings)
    if len(shape) == 2:
        return _assemble(array, None, grey=True)
    return _assemble(array[..., :3], array[..., 3] if shape[2] == 4 else None, grey=False)


def _check_size(width: int, height: int, settings: Settings) -> None:
    if width < 1 or height < 1:
        raise DecodeError(f"a picture of {width} x {height} pixels is empty; give another")
    settings.check_size(height, width)


def _assemble(
    colours: Pixels, alpha: Pixels | None, grey: bool, exif: bytes | None = None, kind: str = "", several: bool = False
) -> Picture:
    if colours.ndim == 2:
        colours = np.repeat(colours[..., None], 3, axis=2)
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        colours = _filled(colours, alpha)
    return Picture(np.ascontiguousarray(colours), alpha, grey, exif, kind, several)


def _filled(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Give each fully transparent pixel the colour of the nearest visible one.

    What is stored there is arbitrary, mostly black, and would bleed into the visible edge when filtered or resized.
    """
    hidden = alpha == 0
    if hidden.all() or not hidden.any():
        return pixels
    _, labels = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros((labels.max() + 1, 3), pixels.dtype)  # label of a visible pixel -> its colour
    source[labels[~hidden]] = pixels[~hidden]
    filled: Pixels = pixels.copy()
    filled[hidden] = source[labels[hidden]]
    return filled


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DECODER_ERRORS:  # a damaged EXIF block says nothing, and the picture is still good
        return 1
    return orientation if orientation in TURNS else 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    mirror, quarters = TURNS.get(orientation, (False, 0))
    return np.rot90(np.fliplr(pixels) if mirror else pixels, quarters)


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF block without orientation and thumbnail, with the resolution; None if it is damaged or says nothing."""
    try:
        kept = Image.Exif()
        kept.load(image.getexif().tobytes())  # a copy, so a caller's image stays as it is
        for tag in STORAGE_TAGS & kept.keys():
            del kept[tag]
        # Scanners write the resolution outside EXIF. Elsewhere it is from there, or made up by Pillow.
        if RESOLUTION_TAGS[0] not in kept and (image.format in ("PNG", "BMP") or image.info.get("jfif_unit")):
            across, down = image.info.get("dpi", (0, 0))
            if across > 0 and down > 0:
                kept.update(zip(RESOLUTION_TAGS, (across, down, PER_INCH), strict=True))
        return kept.tobytes().removeprefix(EXIF_PREFIX) if len(kept) else None
    except DECODER_ERRORS:
        return None


def _samples(image: Image.Image, profile: bytes | None) -> tuple[Pixels, Pixels | None]:
    """The values of a loaded 8-bit image in sRGB: (H, W) if grey, else (H, W, 3); and alpha."""
    if image.mode in ("I", "F"):
        raise DecodeError(f"pixels of mode {image.mode} (32 bits) have no defined white; save it with 8 or 16 bits")
    alpha = None
    if image.has_transparency_data:
        if image.mode not in ("LA", "RGBA"):  # converting copies
            image = image.convert("LA" if image.mode in GREY_MODES else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("L" if image.mode == "LA" else "RGB")
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.asarray(colour.to_srgb(image, profile)), alpha
