"""TIFF files: their metadata as EXIF, and the writer (TIFF 6.0)."""

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files.decoders import decoding, quiet
from facemend.files.directories import Directory, Reader, rows
from facemend.files.exif import (
    BYTE,
    EXIF,
    GPS,
    HEIGHT,
    INTEROPERABILITY,
    LONG,
    MAKER_NOTE,
    MARKS,
    SHORT,
    UNDEFINED,
    WIDTH,
    Block,
    empty,
)
from facemend.records import ONLY_FIRST, Metadata, Pixels

# Tags
BITS, COMPRESSION, PHOTOMETRIC, STRIP, SAMPLES, ROWS, STRIP_BYTES = 258, 259, 262, 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT = 322, 323
SUB_DIRECTORIES, DNG_VERSION = 330, 50706
MOSAIC = 32803  # a value of PhotometricInterpretation: each px has one of the colours
MOST_RAW = 10  # directories of raw files that are looked at, and those below each of them
PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, IPTC, PHOTOSHOP = 284, 338, 339, 700, 33723, 34377

# What Photoshop adds: Adobe Photoshop TIFF Technical Notes, 2002
DOCUMENT, DOCUMENT_MARK = 37724, b"Adobe Photoshop Document Data Block\0"
LAYERS = (b"Layr", b"Lr16", b"Lr32")  # keys of its blocks of layers
MOST_BLOCKS = 100  # that are looked at
WIDE_BLOCK = b"8B64"  # begins a block with a length of 64 bits

PREMULTIPLIED, NOT_PREMULTIPLIED = 1, 2  # values of ExtraSamples that mean alpha
WHITE_IS_ZERO, RGB = 0, 2  # values of PhotometricInterpretation
COLOURS = {WHITE_IS_ZERO: 1, 1: 1, RGB: 3, 5: 4}  # PhotometricInterpretation -> channels of grey, RGB or CMYK
UNREAD_COLOURS = (4, 9)  # a mask, and ICC's L*a*b*
UNSIGNED = 1  # a value of SampleFormat
MOST_BITS = 16  # of a sample
# Samples of a tile, for all of which libtiff takes memory; one of more may have at most twice those of the picture
MOST_IN_TILE = 1 << 28
# Compression that Pillow does not read
UNREAD = {34712: "JPEG 2000", 34887: "LERC", 34933: "PNG", 50001: "WebP", 50002: "JPEG XL"}
# Tags that describe how the pixels are stored, or hold blocks that are carried apart (XMP, IPTC, Photoshop, ICC)
STORAGE = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 297, 301, 317, 318, 319, 320}
STORAGE |= {321, 322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 347, 512, 513, 514, 515}
RAW = {33421, 33422, *range(50706, 53000)}  # of the mosaic, and of DNG
STORAGE |= {517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724}
LONGEST_IN_PLACE = 60_000  # bytes from the start of a file whose values keep their offsets; a JPEG holds 65,527


def check(reader: Reader, page: Directory) -> None:
    """Refuse kinds of samples and compression that are not read, and tiles that need much more memory than the picture.

    Args:
        reader: of the file.
        page: the picture.

    Raises:
        DecodeError: the file has such pixels.
    """
    remedy = "save it with unsigned 8 or 16 bits"
    if set(reader.numbers(page, SAMPLE_FORMAT)) - {UNSIGNED}:
        raise DecodeError("its samples are not unsigned numbers", remedy)
    bits = max(reader.numbers(page, BITS), default=1)
    if bits > MOST_BITS:
        raise DecodeError(f"its samples have more than {MOST_BITS} bits", remedy)
    photometric, is_grey = reader.first(page, PHOTOMETRIC), reader.first(page, SAMPLES) <= 1
    colours_are_read = photometric in COLOURS if bits == MOST_BITS else photometric not in UNREAD_COLOURS
    if not colours_are_read or bits not in ((1, 2, 4, 8, 12, 16) if is_grey else (8, 16)):
        problem = f"its colours are not read (PhotometricInterpretation {photometric}, {bits} bits)"
        raise DecodeError(problem, "save it as RGB with 8 or 16 bits")
    if compression := UNREAD.get(reader.first(page, COMPRESSION)):
        raise DecodeError(f"its pixels are compressed with {compression}", "save it with LZW compression")
    height, width, down, across = (reader.first(page, tag) for tag in (HEIGHT, WIDTH, TILE_HEIGHT, TILE_WIDTH))
    channels = max(reader.first(page, SAMPLES), 1)
    if across * down * channels > max(MOST_IN_TILE, 2 * width * height * channels):
        problem = f"its tiles of {across} x {down} pixels are much larger than the picture"
        raise DecodeError(problem, "save it without tiles")


def has_alpha(extra_samples: Sequence[int]) -> bool:
    """Whether the first channel after the colours is transparency."""
    return extra_samples[:1] in ([PREMULTIPLIED], [NOT_PREMULTIPLIED])


def other_channels(count: int) -> list[str]:
    """What is lost with channels that are neither colours nor transparency, in words."""
    return [f"{count} of its channels (neither colours nor transparency)"] if count > 0 else []


def besides(reader: Reader, page: Directory) -> list[str]:
    """What a file has besides a page, in words."""
    return [ONLY_FIRST] * reader.has_several_pages() + ["layers"] * _has_layers(reader, page)


def _has_layers(reader: Reader, page: Directory) -> bool:
    """Whether Photoshop has stored layers beside the picture that they make."""
    value = page.values.get(DOCUMENT)
    at, length = (value.at, len(value.data)) if value else page.long.get(DOCUMENT, (0, 0))
    end, turn = at + length, -1 if reader.order == "<" else 1  # names are stored as numbers are
    if reader.read(at, len(DOCUMENT_MARK)) != DOCUMENT_MARK:
        return False
    at += len(DOCUMENT_MARK)
    for _ in range(MOST_BLOCKS):
        head = reader.read(at, 18)
        begin, key = head[:4][::turn], head[4:8][::turn]
        number = "Q" if begin == WIDE_BLOCK and key in LAYERS else "I"
        block = struct.Struct(f"{reader.order}{number}h")  # its length; of layers, their number follows
        if at + len(head) > end or len(head) < 8 + block.size or begin not in (b"8BIM", WIDE_BLOCK):
            break
        size, count = block.unpack_from(head, 8)
        if key in LAYERS:
            return size > 0 and not -1 <= count <= 1  # negative where there is transparency
        at += 8 + struct.calcsize(f"={number}") + size + -size % 4
    return False


def seek_picture(image: TiffImagePlugin.TiffImageFile, stream: BinaryIO) -> None:
    """Go to the first page that is not a reduced copy.

    Args:
        image: a TIFF that Pillow has opened.
        stream: its file.

    Raises:
        DecodeError: the file is damaged.
    """
    number, _ = next(Reader(stream).pages(), (0, 0))
    with quiet(), decoding():
        image.seek(number)


def is_raw(reader: Reader) -> bool:
    """Whether a file is a raw file of a camera. The first page of many is a reduced copy of the developed picture."""
    tags = PHOTOMETRIC, SUB_DIRECTORIES, DNG_VERSION
    for page in itertools.islice(reader.directories(tags), MOST_RAW):
        below = itertools.islice(reader.numbers(page, SUB_DIRECTORIES), MOST_RAW)
        every = page, *(reader.directory(start, tags) for start in below)
        if DNG_VERSION in page.values or any(reader.first(one, PHOTOMETRIC) == MOSAIC for one in every):
            return True
    return False


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
    stays = not reader.is_big and max(ends) < LONGEST_IN_PLACE  # the fields of a BigTIFF are longer
    data = bytearray(MARKS[reader.order] + bytes(4))

    def put(value: bytes, at: int | None) -> bytes:
        start = at if stays and at is not None else len(data) + len(data) % 2
        data.extend(bytes(max(0, start + len(value) - len(data))))
        data[start : start + len(value)] = value
        return struct.pack(f"{reader.order}I", start)

    places: dict[int, bytes] = {}  # tag that points to a directory -> its offset
    for tag, child in sorted(children, key=lambda one: -one[0]):  # the interoperability directory is inside EXIF's
        places[tag] = put(rows(reader.order, child.values, places, put), child.start)
    data[4:8] = put(rows(reader.order, main, places, put), None)
    moved = not stays and any(MAKER_NOTE in child.values for tag, child in children)
    return bytes(data), moved


def _children(reader: Reader, directory: Directory, tag: int) -> Iterator[Directory]:
    if start := reader.first(directory, tag):
        yield reader.directory(start)


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
