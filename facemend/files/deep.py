"""Read PNG and HEIC files with 16, 12 or 10 bits per channel, and write such PNG files.

Pillow reduces them to 8 bits, except grey without alpha, and can write none of them.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pillow_heif
from PIL import Image, PngImagePlugin, TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files import tiff
from facemend.files.decoders import decoding
from facemend.files.png import SIGNATURE, chunk, chunks
from facemend.records import Pixels, to_dtype

ROWS_AT_ONCE = 64  # of a PNG compressed together, so that the copies need little memory
PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey + alpha, RGB, RGBA


def layout(image: Image.Image) -> str:
    """Return the channels of a picture that Pillow would reduce to 8 bits.

    Args:
        image: opened; a PNG must not be loaded.

    Returns:
        "RGB" (with or without alpha), "LA" or "L" if the picture must be read with `read`, else "".
    """
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        return {"RGB;16B": "RGB", "RGBA;16B": "RGB", "LA;16B": "LA"}.get(str(image.tile[0].args), "")
    if isinstance(image, pillow_heif.HeifImageFile) and image.info.get("bit_depth", 8) > 8:
        return {"RGB": "RGB", "RGBA": "RGB"}.get(image.mode, image.mode)
    return ""


def is_reduced(image: Image.Image) -> bool:
    """Whether Pillow has reduced a loaded image to 8 bits. Of a PNG only the file shows it, which may be gone."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return not image.mode.startswith("I;16") and image.tag_v2.get(tiff.BITS, (8,))[0] == 16
    path = Path(getattr(image, "filename", "") or ".")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(26)
    return head[:8] == SIGNATURE and head[24:25] == b"\x10" and head[25:26] != b"\0"


def read(stream: BinaryIO, image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Read a picture whose `layout` is not empty.

    Args:
        stream: the file.
        image: the same file. A PNG has been loaded by Pillow, which refuses damaged and truncated pictures. OpenCV
            would return them half empty.

    Returns:
        (H, W, 3) RGB or (H, W) grey; and (H, W) alpha or None; uint16.

    Raises:
        DecodeError: it is damaged, or of a kind that is not supported.
    """
    stream.seek(0)
    data = stream.read()
    if isinstance(image, pillow_heif.HeifImageFile):
        return _of_heif(data)
    return _by_opencv(_only_pixels(data))


def _by_opencv(data: bytes) -> tuple[Pixels, Pixels | None]:
    with decoding():
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DecodeError("damaged or unsupported (OpenCV cannot read it)", "use a complete copy")
    return pixels[..., 2::-1], pixels[..., 3] if pixels.shape[2] == 4 else None


def _of_heif(data: bytes) -> tuple[Pixels, Pixels | None]:
    with decoding():
        file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
        image = file[file.primary_index]
        pixels = np.asarray(image)
    bits = int(image.mode.partition(";")[2] or 16)
    pixels = to_dtype(pixels * (65535 / (2**bits - 1)), np.uint16)
    if pixels.ndim == 2:
        return pixels, None
    colours = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    return colours, pixels[..., -1] if pixels.shape[2] in (2, 4) else None


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
    if tags.get(tiff.BITS) == (12,):
        pixels = pixels * 16 + (pixels >> 8)
    if tags.get(tiff.PHOTOMETRIC) == 0:  # white is zero
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
