"""Read JPEG XL files, by pillow-jxl-plugin."""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from facemend.errors import DecodeError
from facemend.files import metadata
from facemend.files.decoders import decoding
from facemend.files.samples import CheckSize, Samples

CODESTREAM, CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL "  # how files begin
START = 18  # bytes of a codestream that tell its size
CODESTREAM_BOXES = {b"jxlc": 0, b"jxlp": 4}  # kind -> bytes before the codestream: those of the number of a part
RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width over height


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Read the picture; of an animation the first one.

    Raises:
        DecodeError: it is damaged.
    """
    from pillow_jxl.JpegXLImagePlugin import JXLImageFile

    data = stream.read()
    header = _header(data)
    check_size(header.height, header.width)  # before the decoder allocates memory
    with decoding():
        file = JXLImageFile(io.BytesIO(data))
    check_size(file.height, file.width)  # the decoder's own reading, in case it differs
    with decoding():
        file.load()  # type: ignore[no-untyped-call]
        image: Image.Image = file
        alpha = np.asarray(image.getchannel("A")) if image.mode in ("RGBA", "LA") else None
        if image.mode not in ("L", "I;16"):
            image = image.convert("L" if image.mode == "LA" else "RGB")
    colours = np.asarray(image)
    reduced = header.bits > 8 and colours.dtype == np.uint8
    lost = [f"8 of {header.bits} bits (pillow-jxl-plugin reads no more)"] if reduced else []
    if any(kind == b"xml " or (kind == b"brob" and data.startswith(b"xml ", start)) for kind, start, _ in _boxes(data)):
        lost.append("XMP (pillow-jxl-plugin reads none)")
    described = metadata.of_image(file)
    orientation = metadata.orientation(described) if file.jpeg else 1  # only what was made from a JPEG is not turned
    return Samples(colours, alpha, file.info.get("icc_profile"), described, tuple(lost), orientation)


class Header(NamedTuple):
    """What the start of a codestream says: the size in px, and the bits of a channel, 0 where they are not known."""

    width: int
    height: int
    bits: int


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream: of the file, or of the boxes that hold it, whole or in parts of any length."""
    if data.startswith(CODESTREAM):
        return data[:START]
    boxes = ((start + CODESTREAM_BOXES[kind], end) for kind, start, end in _boxes(data) if kind in CODESTREAM_BOXES)
    return b"".join(data[start : min(end, start + START)] for start, end in boxes)[:START]


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of a container (ISO/IEC 18181-2): their kinds, and where their contents begin and end."""
    position = 0 if data.startswith(CONTAINER) else len(data)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if length == 1:  # a long box
            header, length = 16, int.from_bytes(data[position + 8 : position + 16], "big")
        is_last = length < header  # a box to the end of the file, or a damaged one
        yield kind, position + header, len(data) if is_last else position + length
        if is_last:
            break
        position += length


def _header(data: bytes) -> Header:
    """Read the start of the codestream (ISO/IEC 18181-1, D.2 and D.3)."""
    codestream = _codestream(data)
    if not codestream.startswith(CODESTREAM):
        raise DecodeError("damaged (it has no codestream)", "use a complete copy")
    bits = int.from_bytes(codestream[len(CODESTREAM) :], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side(small)
    over, under = RATIOS[take(3)]
    width = height * over // under if over else side(small)
    if take(1):  # all fields have their defaults
        return Header(width, height, 8)
    if take(1) or take(1):  # more fields, or floating-point samples
        return Header(width, height, 0)
    choice = take(2)
    return Header(width, height, (8, 10, 12)[choice] if choice < 3 else take(6) + 1)
