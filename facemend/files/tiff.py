"""TIFF files: their metadata as EXIF, and the writer (TIFF 6.0)."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files.decoders import decoding, quiet
from facemend.files.exif import (
    BYTE,
    BYTE_ORDERS,
    EXIF,
    GPS,
    HEIGHT,
    INTEROPERABILITY,
    LONG,
    MAKER_NOTE,
    MOST_FIELDS,
    SHORT,
    SIZES,
    UNDEFINED,
    WIDTH,
    Block,
    empty,
)
from facemend.records import Metadata, Pixels

# Tags
NEW_SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, STRIP, SAMPLES, ROWS, STRIP_BYTES = 254, 258, 259, 262, 273, 277, 278, 279
DNG_VERSION = 50706
PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, IPTC, PHOTOSHOP = 284, 338, 339, 700, 33723, 34377

PREMULTIPLIED, NOT_PREMULTIPLIED = 1, 2  # values of ExtraSamples that mean alpha
UNSIGNED = 1  # a value of SampleFormat
MOST_BITS = 16  # of a sample
UNREAD = {34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}  # Compression that Pillow does not read
REDUCED = 1  # a bit of NewSubfileType
# Tags that describe how the pixels are stored, or hold blocks that are carried apart (XMP, IPTC, Photoshop, ICC)
STORAGE = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 297, 301, 317, 318, 319, 320}
STORAGE |= {321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 347, 512, 513, 514, 515}
RAW = {33421, 33422, *range(50706, 53000)}  # of the mosaic, and of DNG
STORAGE |= {517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724}
MOST_PAGES = 500  # that are looked at
LONGEST_VALUE = 1 << 24  # bytes; longer ones are not metadata
LONGEST_IN_PLACE = 60_000  # bytes from the start of a file whose values keep their offsets; a JPEG holds 65,527


@dataclass(frozen=True, slots=True)
class Value:
    """A field of a directory with its value; `at` is the value's offset in the file where it has more than 4 bytes."""

    tag: int
    kind: int
    count: int
    data: bytes
    at: int


class Directory(NamedTuple):
    """A directory of a file, and the offset of the next one, 0 at the end."""

    start: int
    values: dict[int, Value]
    following: int


class Reader:
    """Reads the directories of a TIFF file. A BigTIFF has none here.

    Args:
        stream: the file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.order: str = BYTE_ORDERS.get(self._read(0, 4), "")

    def first_directory(self) -> Directory | None:
        """The first directory; None where the file has none."""
        start = self._number(4) if self.order else 0
        return self.directory(start) if start else None

    def pages(self) -> Iterator[tuple[int, Directory]]:
        """Yield the pages that are not reduced copies of others, each with its number in the file from 0 on."""
        start, seen = self._number(4) if self.order else 0, set[int]()
        while start and start not in seen and len(seen) < MOST_PAGES:
            seen.add(start)
            directory = self.directory(start)
            if not self.first(directory, NEW_SUBFILE) & REDUCED:
                yield len(seen) - 1, directory
            start = directory.following

    def directory(self, start: int) -> Directory:
        """The directory at an offset, as far as the file has it."""
        size = 12 * min(self._number(start, "H"), MOST_FIELDS)
        rows = self._read(start + 2, size)
        values: dict[int, Value] = {}
        left = self._stream.seek(0, io.SEEK_END)  # values that lie over each other could need any amount of memory
        for tag, kind, count, place in struct.iter_unpack(f"{self.order}HHI4s", rows[: len(rows) // 12 * 12]):
            length = SIZES.get(kind, 0) * count
            at = struct.unpack(f"{self.order}I", place)[0] if length > 4 else 0
            data = self._read(at, length) if at and length <= min(LONGEST_VALUE, left) else place[:length]
            if 0 < len(data) == length and tag not in values:
                values[tag] = Value(tag, kind, count, data, at)
                left -= length
        return Directory(start, values, self._number(start + 2 + size))

    def first(self, directory: Directory, tag: int) -> int:
        """The first number of a SHORT or LONG value; 0 where there is none."""
        return next(self.numbers(directory, tag), 0)

    def numbers(self, directory: Directory, tag: int) -> Iterator[int]:
        """Yield the numbers of a SHORT or LONG value; none where there is no such value."""
        value = directory.values.get(tag)
        code = {SHORT: "H", LONG: "I", 13: "I"}.get(value.kind) if value else None
        if value and code:
            yield from (number for (number,) in struct.iter_unpack(self.order + code, value.data))

    def _number(self, at: int, code: str = "I") -> int:
        size = struct.calcsize(f"={code}")
        data = self._read(at, size)
        return int(struct.unpack(self.order + code, data)[0]) if len(data) == size else 0

    def _read(self, at: int, size: int) -> bytes:
        self._stream.seek(at)
        return self._stream.read(size)


def check(stream: BinaryIO) -> None:
    """Refuse kinds of samples and compression that are not read.

    Raises:
        DecodeError: the file has such pixels.
    """
    reader = Reader(stream)
    _, page = next(reader.pages(), (0, None))
    if page is None:  # a BigTIFF, or damaged
        return
    remedy = "save it with unsigned 8 or 16 bits"
    if set(reader.numbers(page, SAMPLE_FORMAT)) - {UNSIGNED}:
        raise DecodeError("its samples are not unsigned numbers", remedy)
    if max(reader.numbers(page, BITS), default=1) > MOST_BITS:
        raise DecodeError(f"its samples have more than {MOST_BITS} bits", remedy)
    if compression := UNREAD.get(reader.first(page, COMPRESSION)):
        raise DecodeError(f"its pixels are compressed with {compression}", "save it with LZW compression")


def seek_picture(image: TiffImagePlugin.TiffImageFile, stream: BinaryIO) -> bool:
    """Go to the first page that is not a reduced copy.

    Args:
        image: a TIFF that Pillow has opened.
        stream: its file.

    Returns:
        Whether there are more such pages.

    Raises:
        DecodeError: the file is damaged.
    """
    pages = Reader(stream).pages()
    number, _ = next(pages, (0, None))
    several = next(pages, None) is not None
    with quiet(), decoding():
        image.seek(number)
    return several


def is_dng(stream: BinaryIO) -> bool:
    """Whether a file is a raw file in Adobe's format, whose first page may be a reduced copy."""
    first = Reader(stream).first_directory()
    return first is not None and DNG_VERSION in first.values


def is_big(data: bytes) -> bool:
    """Whether a file is a BigTIFF."""
    return data[2:4] in (b"+\0", b"\0+")


def exif(reader: Reader, page: Directory) -> tuple[bytes | None, bool]:
    """The fields of a page that do not describe how its pixels are stored, as an EXIF block.

    Types and values stay as they are. Where everything is near the start of the file, values also keep their offsets.

    Returns:
        The block, or None where there are no such fields; and whether a MakerNote had to move, which breaks the offsets
        that it may have inside.
    """
    children = [(EXIF, child) for child in _children(reader, page, EXIF)]
    children += [(INTEROPERABILITY, one) for _, child in children for one in _children(reader, child, INTEROPERABILITY)]
    children += [(GPS, child) for child in _children(reader, page, GPS)]
    without = STORAGE | (RAW if DNG_VERSION in page.values else set())
    main = {tag: value for tag, value in page.values.items() if tag not in without}
    if not main:
        return None, False
    ends = [child.start + 6 + 12 * len(child.values) for _, child in children]
    everything = [*main.values(), *(value for _, child in children for value in child.values.values())]
    ends += [value.at + len(value.data) for value in everything]
    stays = max(ends) < LONGEST_IN_PLACE
    data = bytearray(next(mark for mark, order in BYTE_ORDERS.items() if order == reader.order) + bytes(4))

    def put(value: bytes, at: int | None) -> bytes:
        start = at if stays and at is not None else len(data) + len(data) % 2
        data.extend(bytes(max(0, start + len(value) - len(data))))
        data[start : start + len(value)] = value
        return struct.pack(f"{reader.order}I", start)

    places: dict[int, bytes] = {}  # tag that points to a directory -> its offset
    for tag, child in sorted(children, key=lambda one: -one[0]):  # the interoperability directory is inside EXIF's
        places[tag] = put(_rows(reader.order, child.values, places, put), child.start)
    data[4:8] = put(_rows(reader.order, main, places, put), None)
    moved = not stays and any(MAKER_NOTE in child.values for tag, child in children)
    return bytes(data), moved


def _children(reader: Reader, directory: Directory, tag: int) -> Iterator[Directory]:
    if start := reader.first(directory, tag):
        yield reader.directory(start)


def _rows(
    order: str, values: dict[int, Value], places: dict[int, bytes], put: Callable[[bytes, int | None], bytes]
) -> bytes:
    """The bytes of a directory, whose longer values are put elsewhere first."""
    rows = b""
    for tag in sorted(values):
        kind, count, value, at = values[tag].kind, values[tag].count, values[tag].data, values[tag].at
        place = put(value, at) if len(value) > 4 else value.ljust(4, b"\0")
        if tag in places:
            kind, count, place = LONG, 1, places[tag]
        rows += struct.pack(f"{order}HHI", tag, kind, count) + place
    return struct.pack(f"{order}H", len(values)) + rows + bytes(4)


def encode(samples: Pixels, metadata: Metadata) -> bytes:
    """Return the bytes of a TIFF with the samples, uncompressed in one strip.

    The EXIF block becomes the start of the file, so all its values keep their offsets.

    Args:
        samples: (H, W, C) uint8 or uint16: grey, grey + alpha (with 16 bits written as RGBA), RGB or RGBA.
        metadata: its EXIF, XMP and IPTC are written.
    """
    if samples.shape[2] == 2 and samples.dtype == np.uint16:  # Pillow and others cannot read grey + alpha with 16 bits
        samples = samples[..., [0, 0, 0, 1]]
    height, width, channels = samples.shape
    block = Block(metadata.exif) if metadata.exif else empty()
    entries = block.valid_entries() if metadata.exif else {}
    entries = {tag: entry for tag, entry in entries.items() if tag not in STORAGE}

    def add(tag: int, kind: int, *numbers: int) -> None:
        code = "H" if kind == SHORT else "I"
        entries[tag] = block.entry(kind, len(numbers), struct.pack(f"{block.order}{len(numbers)}{code}", *numbers))

    add(WIDTH, LONG, width)
    add(HEIGHT, LONG, height)
    add(BITS, SHORT, *[8 * samples.itemsize] * channels)
    add(COMPRESSION, SHORT, 1)
    add(PHOTOMETRIC, SHORT, 2 if channels > 2 else 1)
    add(SAMPLES, SHORT, channels)
    add(ROWS, LONG, height)
    add(STRIP_BYTES, LONG, samples.nbytes)
    if channels in (2, 4):
        add(EXTRA_SAMPLES, SHORT, NOT_PREMULTIPLIED)
    if metadata.xmp:
        entries[XMP] = block.entry(BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.iptc:
        entries[IPTC] = block.entry(UNDEFINED, len(metadata.iptc), metadata.iptc)
    directory = len(block.data) + len(block.data) % 2
    add(STRIP, LONG, directory + 6 + 12 * (len(entries) + 1))
    block.replace_main(entries)
    return bytes(block.data) + samples.astype(samples.dtype.newbyteorder(block.order)).tobytes()
