"""Files, bytes, PIL images and arrays to `Picture`."""

import contextlib
import io
import pkgutil
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
from PIL import Image, ImageFile, TiffImagePlugin

from facemend.errors import DecodeError, FacemendError, MemoryLimitError, Remedy, TooLargeError
from facemend.files import colour, deep, formats, jpeg, metadata
from facemend.records import DEFAULT_SETTINGS, Picture, Pixels, Settings

Source = str | Path | bytes | Image.Image | Pixels

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
_WARNINGS = threading.Lock()  # their filters and OpenCV's log level belong to the whole process


def decode(source: Source, settings: Settings = DEFAULT_SETTINGS, name: str = "") -> Picture:
    """Read a picture, upright and in sRGB.

    The format is recognised by the file's content. Of an animated or multi-page file only the first picture is read.

    Args:
        source: a file, its bytes, a PIL image, or an (H, W), (H, W, 3) RGB or (H, W, 4) RGBA array of
            uint8 or uint16.
        settings: its limits on the input and on the output it would get are checked before any pixel is decoded.
        name: what error messages call the source, instead of its path.

    Raises:
        DecodeError: not a picture, a damaged one, or a kind that is not supported.
        TooLargeError: more pixels than a limit.
        MemoryLimitError: not enough memory to decode it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, settings)
    if isinstance(source, Image.Image):
        with _refused(name or "the picture", settings):
            return _picture(source, settings, formats.FORMATS.get((source.format or "").lower()))
    if isinstance(source, (bytes, bytearray, memoryview)):
        with _refused(name or "the picture", settings):
            return _from_stream(io.BytesIO(source), settings)
    if not isinstance(source, (str, Path)):
        raise DecodeError(
            f"cannot read an object of type {type(source).__name__}; give a path, bytes, a PIL image or an array"
        )
    with _refused(name or str(source), settings):
        if Path(source).is_fifo():  # it may never end, and cannot be read twice
            raise DecodeError("it is a pipe; save its content as a file first")
        with Path(source).open("rb") as stream:
            return _from_stream(stream, settings)


@contextlib.contextmanager
def _refused(name: str, settings: Settings) -> Iterator[None]:
    """Turn whatever a decoder raises into one error that names the picture."""
    try:
        yield
    except DecodeError as error:
        raise DecodeError(f"cannot read {name}: {error}") from error
    except FacemendError:
        raise
    except MemoryError as error:
        raise MemoryLimitError(
            f"not enough memory to read {name}; close other programs or use a smaller picture"
        ) from error
    except Image.DecompressionBombError as error:  # Pillow looks at WebP and GIF before their size is known here
        pixels, limit = map(int, re.findall(r"\d+", str(error)))
        option = "PIL.Image.MAX_IMAGE_PIXELS"
        if pixels > settings.max_input_mp * 1e6:
            limit, option = round(settings.max_input_mp * 1e6), "max_input_mp"
        raise TooLargeError("the input", pixels, limit, Remedy("raise {}", option)) from error
    except DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise DecodeError(f"cannot open {name}: {error.strerror}; check the path") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(
            f"cannot read {name}: damaged, cut short or unsupported ({reason}); use a whole file"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Do not show the decoders' warnings about odd headers and large pictures."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def _from_stream(stream: BinaryIO, settings: Settings) -> Picture:
    head = stream.read(formats.HEAD)
    if not head:
        raise DecodeError(f"it is empty; give a {formats.READABLE} file")
    row = formats.recognise(head)
    if row is None:
        raise DecodeError(f"its format is unknown (it starts with {head[:8]!r}); give a {formats.READABLE} file")
    stream.seek(0)
    # The one reader of this format. Image.open would also try every other plugin, and warn about large pictures.
    reader: type[ImageFile.ImageFile] = pkgutil.resolve_name(row.reader)
    with _quiet():
        image = reader(stream)
    return _picture(image, settings, row, stream)


def _picture(
    image: Image.Image, settings: Settings, row: formats.Format | None, stream: BinaryIO | None = None
) -> Picture:
    """Decode an image; `stream` is its file, if it comes from one."""
    _check_size(image.width, image.height, settings)
    layout = deep.layout(image) if stream is not None else ""
    grey = image.mode in GREY_MODES or layout == "LA"
    name = row.name if row else ""
    if name == "jpeg" and stream is not None:
        stream.seek(0)
        jpeg.check(stream.read())
    with _quiet():
        several = getattr(image, "is_animated", False)
    with _quiet() if isinstance(image, TiffImagePlugin.TiffImageFile) else contextlib.nullcontext():
        image.load()
    orientation, exif = 1, None
    with _quiet():  # after loading, which rotates a TIFF, and finds the EXIF block at the end of a PNG
        with contextlib.suppress(*DECODER_ERRORS):  # with a damaged EXIF block, the picture is still good
            orientation = metadata.orientation(image)
        with contextlib.suppress(*DECODER_ERRORS):
            exif = metadata.read_exif(image)
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
    alpha = alpha if alpha is None else _upright(alpha, orientation)
    return _assemble(_upright(colours, orientation), alpha, grey, exif, name, several)


def _from_array(array: Pixels, settings: Settings) -> Picture:
    shape = array.shape
    if array.dtype not in (np.uint8, np.uint16) or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise DecodeError(
            f"cannot use an array of shape {shape} and type {array.dtype}; "
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
    colours: Pixels,
    alpha: Pixels | None,
    grey: bool,
    exif: bytes | None = None,
    format: str = "",  # noqa: A002
    several: bool = False,
) -> Picture:
    if colours.ndim == 2:
        colours = np.repeat(colours[..., None], 3, axis=2)
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        colours = _filled(colours, alpha)
    return Picture(np.ascontiguousarray(colours), alpha, grey, exif, format, several)


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


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    mirror, quarters = metadata.TURNS.get(orientation, (False, 0))
    return np.rot90(np.fliplr(pixels) if mirror else pixels, quarters)


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
