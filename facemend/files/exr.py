"""Read OpenEXR files, by the package of the OpenEXR project."""

import contextlib
import io
import math
from typing import Any, BinaryIO

import numpy as np

from facemend.errors import DecodeError
from facemend.files.decoders import decoding, quiet
from facemend.files.samples import CheckSize, Samples
from facemend.files.spaces import to_srgb
from facemend.records import Reals, Size, to_dtype

UNREAD = "Exception raised reading pixel data"  # what the package prints, and goes on without the part
HIGHEST = 65504.0  # a half-precision number
# Numbers in all parts and channels together, as the package reads them all. A larger picture may have four channels.
MOST_VALUES = 400_000_000


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Read the first part of a file.

    Raises:
        DecodeError: it is damaged, or has other channels than RGB, RGBA, grey and grey with alpha.
    """
    import OpenEXR

    with decoding():
        headers = [part.header for part in OpenEXR.File(stream, header_only=True).parts]
        sizes = [_size(header) for header in headers]
        counts = [len(header["channels"]) for header in headers]
    check_size(*sizes[0])
    total = sum(math.prod(size) * count for size, count in zip(sizes, counts, strict=True))
    if total > max(MOST_VALUES, 4 * math.prod(sizes[0])):
        problem = f"it has {sum(counts)} channels, which are too large together"
        raise DecodeError(problem, "save it with R, G, B alone")
    stream.seek(0)
    printed = io.StringIO()
    with quiet(), decoding(), contextlib.redirect_stdout(printed):
        file = OpenEXR.File(stream)
        channels = {name: np.asarray(channel.pixels, np.float32) for name, channel in file.channels().items()}
        parts = len(file.parts)
    if UNREAD in printed.getvalue():
        raise DecodeError("damaged (a part cannot be read)", "use a complete copy")
    values = next((channels[name] for name in ("RGBA", "RGB", "Y") if name in channels), None)
    if values is None:
        raise DecodeError(f"its channels are {', '.join(channels)}", "save it with R, G, B")
    share, alpha = None, values[..., 3] if values.ndim == 3 and values.shape[2] == 4 else channels.get("A")
    grey = values.ndim == 2
    values = np.nan_to_num(values[..., None] if grey else values[..., :3], nan=0, posinf=HIGHEST, neginf=0)
    if alpha is not None:
        opaque = np.clip(np.nan_to_num(alpha), 0, 1)
        values /= np.maximum(opaque, np.float32(1e-6))[..., None]  # colours are premultiplied
        share = to_dtype(opaque * 65535, np.uint16)
        values[share == 0] = 0  # invisible, and may be of any brightness now
    lost = [f"{parts - 1} of its parts"] if parts > 1 else []
    others = len(channels.keys() - {"RGBA", "RGB", "Y", "A"})
    lost += [f"{others} of its channels (neither colours nor transparency)"] if others else []
    colours = values[..., 0] if grey else values @ _to_srgb(headers[0]).astype(np.float32).T
    return Samples(colours, share, lost=tuple(lost))


def _size(header: dict[str, Any]) -> Size:
    (left, top), (right, bottom) = header["dataWindow"]
    return int(bottom) - int(top) + 1, int(right) - int(left) + 1


def _to_srgb(header: dict[str, Any]) -> Reals:
    """The matrix (3, 3) from the file's linear RGB to that of sRGB, which is meant where the file does not say."""
    numbers = [float(number) for point in header.get("chromaticities", ()) for number in np.ravel(point)]
    if len(numbers) != 8:
        return np.eye(3)
    points = [(numbers[i], numbers[i + 1]) for i in (0, 2, 4, 6)]
    try:
        return to_srgb(points)
    except ValueError as error:
        raise DecodeError(f"damaged ({error})", "use a complete copy") from error
