"""Read PNG and TIFF files with 16 bits per channel, and write such PNG files.

Pillow reduces 16-bit RGB, and 16-bit grey with alpha, to 8 bits and can write neither.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files.decoders import decoding
from facemend.files.png import SIGNATURE, chunk, chunks
from facemend.files.tiff import BITS, EXTRA_SAMPLES, PHOTOMETRIC, PLANES
from facemend.records import Pixels, to_dtype

ROWS_AT_ONCE = 64  # of a PNG compressed together, so that the copies need little memory
PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey + alpha, RGB, RGBA


def layout(image: Image.Image) -> str:
    """Return the channels of a 16-bit picture that Pillow would reduce to 8 bits.

    Args:
        image: opened, but not loaded.

    Returns:
        "RGB" (with or without alpha) or "LA" if the picture must be read with `read`, else "".
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return "RGB" if image.mode in ("RGB", "RGBA") and image.tag_v2[BITS][0] == 16 else ""
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        return {"RGB;16B": "RGB", "RGBA;16B": "RGB", "LA;16B": "LA"}.get(str(image.tile[0].args), "")
    return ""


def is_reduced(image: Image.Image) -> bool:
    """Whether Pillow has reduced a loaded PNG to 8 bits; it only shows in the file, which must still be there."""
    path = Path(getattr(image, "filename", "") or ".")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(26)
    return head[:8] == SIGNATURE and head[24:25] == b"\x10" and head[25:26] != b"\0"


def read(stream: BinaryIO, image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Read the first picture of a file. The orientation of a TIFF is applied, as Pillow does too.

    Args:
        stream: the file.
        image: the same file, loaded by Pillow, which refuses damaged and truncated pictures. OpenCV would return them
            half empty.

    Returns:
        (H, W, 3) RGB and (H, W) alpha or None, uint16.

    Raises:
        DecodeError: the file stores its colour planes separately, a chunk is longer than the file, or OpenCV cannot
            read it.
    """
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(PLANES) == 2:
        raise DecodeError(
            "it is a 16-bit TIFF with separate colour planes, which is not supported",
            "save it with interleaved channels",
        )
    premultiplied = tags.get(EXTRA_SAMPLES) == (1,)
    stream.seek(0)
    data = stream.read()
    if isinstance(image, PngImagePlugin.PngImageFile):
        data = _only_pixels(data)
    with decoding():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DecodeError("damaged or unsupported (OpenCV cannot read it)", "use a whole file")
    colours, alpha = pixels[..., 2::-1], pixels[..., 3] if pixels.shape[2] == 4 else None
    if premultiplied and alpha is not None:
        colours = to_dtype(colours / (np.maximum(alpha, 1)[..., None] / 65535), np.uint16)
    return colours, alpha


def _only_pixels(data: bytes) -> bytes:
    """Return a PNG that consists only of the chunks with the pixels.

    OpenCV allocates as many bytes as a chunk claims to have, and prints warnings about other chunks.

    Raises:
        DecodeError: a chunk is longer than the file.
    """
    kept = {kind: bytearray() for kind in (b"IHDR", b"tRNS", b"IDAT")}
    for kind, body in chunks(data):
        if kind in kept:
            kept[kind] += body
    return SIGNATURE + b"".join(chunk(kind, body) for kind, body in kept.items() if body) + chunk(b"IEND", b"")


def grey(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Return the pixels of a loaded 16-bit grey image, (H, W) uint16, and their alpha or None."""
    pixels = np.asarray(image).astype(np.uint16)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(BITS) == (12,):
        pixels = pixels * 16 + (pixels >> 8)
    if tags.get(PHOTOMETRIC) == 0:  # white is zero
        pixels = 65535 - pixels
    key = image.info.get("transparency")
    return pixels, None if key is None else np.where(pixels == key, 0, 65535).astype(np.uint16)


def png(
    samples: Pixels, exif: bytes | None, dpi: tuple[float, float] | None, extra: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Return the bytes of a PNG with the samples.

    Args:
        samples: (H, W, C) uint16: grey, grey + alpha, RGB or RGBA.
        exif: the EXIF block, if there is one.
        dpi: horizontal and vertical px per inch, if known.
        extra: more chunks, each with its kind and body.
    """
    height, width, channels = samples.shape
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)  # as small as the default, 7x faster
    above = np.zeros((1, width * channels * 2), np.uint8)
    compressed = []
    for top in range(0, height, ROWS_AT_ONCE):
        rows = samples[top : top + ROWS_AT_ONCE].astype(">u2").view(np.uint8).reshape(-1, above.shape[1])
        differences = np.diff(rows, axis=0, prepend=above)  # to the row above: filter 2
        compressed.append(deflate.compress(np.insert(differences, 0, 2, axis=1).tobytes()))
        above = rows[-1:]
    data = b"".join(compressed) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOUR_TYPES[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *([(b"eXIf", exif)] if exif else []), *extra]
    if dpi:
        horizontal, vertical = (round(value / 0.0254) for value in dpi)  # in px per metre
        parts.append((b"pHYs", struct.pack(">IIB", horizontal, vertical, 1)))
    parts += [(b"IDAT", data[start : start + 2**30]) for start in range(0, len(data), 2**30)]
    parts += [(b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(kind, body) for kind, body in parts)
