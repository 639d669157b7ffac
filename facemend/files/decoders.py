"""What all calls of decoders have in common: they raise anything on a damaged file, and warn about odd headers."""

import contextlib
import ctypes
import functools
import importlib.util
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
from PIL import Image

from facemend.errors import DecodeError, FacemendError, Remedy

# What decoders raise on damaged files.
ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,  # where a reader turns them into errors
    cv2.error,
    struct.error,
    zlib.error,
)
SILENT = 0  # log level of OpenCV
_OPENCV_LOG: Any = getattr(cv2.utils, "logging", cv2)  # versions before 4.13 have its functions in cv2
_WARNINGS = threading.Lock()  # their filters and OpenCV's log level belong to the whole process


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Report whatever a decoder raises as damage of the file.

    Only calls of decoders belong into the `with` block: the same exceptions from code of this package are its faults.

    Raises:
        DecodeError: the decoder raised an error.
    """
    try:
        yield
    except (FacemendError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # of a frame; the size of the whole is checked before
        remedy = Remedy("raise {}", "PIL.Image.MAX_IMAGE_PIXELS")
        raise DecodeError("it has more pixels than Pillow decodes", "use a smaller picture", remedy) from error
    except ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise
        # Only the first sentence: some decoders add advice for programmers.
        reason = " ".join(str(error).split()).split(". ")[0] or type(error).__name__
        raise DecodeError(f"damaged, cut short or unsupported ({reason})", "use a complete copy") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Do not show the decoders' warnings about odd headers and large pictures, their logs, and libtiff's own lines."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        level = _OPENCV_LOG.setLogLevel(SILENT)
        log = logging.getLogger("PIL")
        log_level = log.level
        log.setLevel(logging.CRITICAL)
        handlers = [(function, function(None)) for function in _libtiff_handlers()]
        try:
            yield
        finally:
            _OPENCV_LOG.setLogLevel(level)
            log.setLevel(log_level)
            for function, before in handlers:
                function(before)


@functools.cache
def _libtiff_handlers() -> tuple[Callable[[int | None], int | None], ...]:
    """The functions of Pillow's libtiff that set what it calls with errors and warnings, and return what was set.

    There are none where libtiff is a part of Pillow's own library, as on Windows.
    """
    functions: list[Callable[[int | None], int | None]] = []
    spec = importlib.util.find_spec("PIL._imaging")
    library = ctypes.CDLL(spec.origin) if spec else None
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            functions.append(function)
    return tuple(functions)
