"""What the start of a file says, without decoding its pixels."""

import pkgutil
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import ImageFile, TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files import bigtiff, exif, formats, metadata, tiff
from facemend.files.decoders import decoding, quiet
from facemend.records import Size


class Header(NamedTuple):
    """What the header of a file says.

    Attributes:
        size: height and width in px of the upright picture.
        taken: when the photo was taken, as EXIF has it; "" where it does not say.
    """

    size: Size
    taken: str


def read(path: Path) -> Header:
    """Read the header of a picture.

    Raises:
        DecodeError: it is not a picture, its header is damaged, or its reader has to decode the pixels.
        OSError: it cannot be opened.
    """
    if path.is_fifo():  # it may never end
        raise DecodeError(f"{path} is a pipe")
    with path.open("rb") as stream:
        row = formats.recognise(stream.read(formats.HEAD), path.suffix.lower())
        reader = pkgutil.resolve_name(row.reader) if row else None
        if not isinstance(reader, type):
            raise DecodeError(f"the size of {path} is not known without decoding")
        source = bigtiff.classic(stream) if row and row.name == "tiff" else stream
        source.seek(0)
        with quiet(), decoding():
            image: ImageFile.ImageFile = reader(source)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            tiff.seek_picture(image, source)
        with quiet(), decoding():
            tags = image.getexif()
            turned = tags.get(exif.ORIENTATION) in metadata.TURNED
            taken = str(tags.get_ifd(exif.EXIF).get(exif.TAKEN, ""))
    swapped = turned and not isinstance(image, TiffImagePlugin.TiffImageFile)  # which Pillow has turned already
    return Header((image.width, image.height) if swapped else (image.height, image.width), taken)


def announced_size(head: bytes, name: str) -> Size | None:
    """Height and width in px of a WebP or GIF: Pillow refuses large ones by a limit of its own when it opens them."""
    if name == "gif" and len(head) >= 10:
        width, height = struct.unpack_from("<HH", head, 6)
        return height, width
    if name != "webp" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":  # WebP container specification
        return int.from_bytes(head[27:30], "little") + 1, int.from_bytes(head[24:27], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return int.from_bytes(head[28:30], "little") & 0x3FFF, int.from_bytes(head[26:28], "little") & 0x3FFF


def avif_bits(stream: BinaryIO) -> int:
    """The bits of a channel of an AVIF, as its AV1 configuration box has them (AV1-ISOBMFF, 2.3)."""
    stream.seek(0)
    _, found, configuration = stream.read().partition(b"av1C")
    flags = configuration[2] if len(configuration) > 2 else 0
    high, twelve = flags & 0x40, flags & 0x20
    return (12 if twelve else 10) if found and high else 8


def is_lossless(stream: BinaryIO) -> bool:
    """Whether the pixels of a WebP, or of its first frame, are compressed without loss."""
    stream.seek(0)
    data = stream.read()
    found = re.search(rb"VP8[ L]", data[12:])
    return found is not None and found[0] == b"VP8L"
