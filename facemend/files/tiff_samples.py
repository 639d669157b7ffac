"""Read TIFF files whose samples Pillow does not read: those of 16 bits, and channels besides the colours.

Pillow decodes every compression, but not every number of channels, and 16 bits only of grey pictures. So the directory
is rewritten: to a grey picture for each plane, or to one that is as many times wider as there are interleaved channels.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files import metadata, spaces, tiff
from facemend.files.decoders import decoding
from facemend.files.directories import Directory, Reader
from facemend.files.exif import HEIGHT, LONG, SHORT, WIDTH, Block, fields
from facemend.files.samples import CheckSize, Samples
from facemend.records import ONLY_FIRST, Pixels, peak, to_dtype

PREDICTOR, TILE_WIDTH, TILE_OFFSETS, TILE_BYTES = 317, 322, 324, 325
PROFILE = 34675
DIFFERENCES = 2  # a Predictor: each value is stored as its difference from the one to the left
IN_PLANES = 2  # a PlanarConfiguration
JPEGS = (6, 7)  # values of Compression whose samples are no numbers
MOST_CHANNELS = 8
# Tags that the rewritten directory keeps; 266 is FillOrder, 323 TileLength
KEPT = {WIDTH, HEIGHT, tiff.COMPRESSION, tiff.STRIP, tiff.ROWS, tiff.STRIP_BYTES, 266, TILE_WIDTH, 323}
KEPT |= {TILE_OFFSETS, TILE_BYTES}


def reads(reader: Reader, page: Directory) -> bool:
    """Whether `read` reads such a page: grey, RGB or CMYK with 16 bits, or with 8 bits where Pillow does not."""
    photometric = reader.first(page, tiff.PHOTOMETRIC)
    bits = set(reader.numbers(page, tiff.BITS))
    if photometric not in tiff.COLOURS or reader.first(page, tiff.COMPRESSION) in JPEGS:
        return False
    # Pillow does not invert a grey picture whose one channel is stored as a plane.
    rare = reader.first(page, tiff.SAMPLES) > tiff.COLOURS[photometric] or photometric == tiff.WHITE_IS_ZERO
    return bits == {16} or (bits == {8} and rare)


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Read the first page that is not a reduced copy.

    Args:
        stream: a classic TIFF, of which `reads` is true.
        check_size: is called before any pixel is read.

    Raises:
        DecodeError: it is damaged.
    """
    reader = Reader(stream)
    page = reader.first_page()
    check_size(reader.first(page, HEIGHT), reader.first(page, WIDTH))
    stream.seek(0)
    photometric = reader.first(page, tiff.PHOTOMETRIC)
    samples = _samples(stream.read(), page.start, np.dtype(f"u{reader.first(page, tiff.BITS) // 8}"))
    count = tiff.COLOURS[photometric]
    colours, white = samples[..., :count], peak(samples)
    if photometric == tiff.WHITE_IS_ZERO:
        colours = white - colours
    kinds = [*reader.numbers(page, tiff.EXTRA_SAMPLES)]
    alpha = samples[..., count] if tiff.has_alpha(kinds) and samples.shape[2] > count else None
    if alpha is not None and kinds[0] == tiff.PREMULTIPLIED:
        colours = to_dtype(colours / (np.maximum(alpha, 1)[..., None] / white), samples.dtype)
    described, orientation = metadata.of_tiff(stream)
    profile = page.values[PROFILE].data if PROFILE in page.values else None
    if profile is None and metadata.is_adobe_rgb(described):
        profile = spaces.of_adobe_rgb()
    lost = [ONLY_FIRST] if reader.has_several_pages() else []
    lost += tiff.other_channels(samples.shape[2] - count - (alpha is not None))
    colours = colours if count > 1 else colours[..., 0]
    return Samples(colours, alpha, profile, described, tuple(lost), orientation)


def _samples(data: bytes, start: int, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """Return (H, W, C) of the directory at an offset, as it is stored."""
    order = "<" if data[:1] == b"I" else ">"
    try:
        block = Block(data[:4] + struct.pack(f"{order}I", start) + data[8:])
    except ValueError as error:
        raise DecodeError("damaged (its directory cannot be read)", "use a complete copy") from error
    channels, width = _first(block, tiff.SAMPLES) or 1, _first(block, WIDTH)
    if not 1 <= channels <= MOST_CHANNELS or width * channels >= 2**31:
        raise DecodeError("damaged (its directory contradicts itself)", "use a complete copy")
    across = _first(block, TILE_WIDTH) or width
    if _first(block, tiff.PLANES) == IN_PLANES:
        samples = np.stack([_grey(plane, width, dtype) for plane in _planes(block, channels, dtype)], axis=-1)
    else:
        wide = block.main_entries() | {WIDTH: block.entry(LONG, 1, struct.pack(f"{order}I", width * channels))}
        if TILE_WIDTH in wide:
            wide[TILE_WIDTH] = block.entry(LONG, 1, struct.pack(f"{order}I", across * channels))
        samples = _grey(_rewritten(block, wide, dtype), width * channels, dtype)
        samples = samples.reshape(samples.shape[0], width, channels)
    if _first(block, PREDICTOR) == DIFFERENCES:
        for left in range(0, width, across):
            part = samples[:, left : left + across]
            np.cumsum(part, axis=1, dtype=dtype, out=part)
    return samples


def _planes(block: Block, channels: int, dtype: np.dtype[np.unsignedinteger]) -> Iterator[bytes]:
    """A file of one plane for each channel: its strips or tiles follow those of the channel before."""
    offsets, sizes = tiff.STRIP, tiff.STRIP_BYTES
    if fields(block.main, TILE_OFFSETS):
        offsets, sizes = TILE_OFFSETS, TILE_BYTES
    count = len(_numbers(block, offsets)) // channels
    for plane in range(channels):
        entries = block.main_entries()
        for tag in (offsets, sizes):
            numbers = _numbers(block, tag)[plane * count : (plane + 1) * count]
            entries[tag] = block.entry(LONG, len(numbers), struct.pack(f"{block.order}{len(numbers)}I", *numbers))
        yield _rewritten(block, entries, dtype)


def _rewritten(block: Block, entries: dict[int, bytes], dtype: np.dtype[np.unsignedinteger]) -> bytes:
    """The file as one of a grey picture."""
    kept = {tag: entry for tag, entry in entries.items() if tag in KEPT}
    for tag, value in ((tiff.BITS, 8 * dtype.itemsize), (tiff.SAMPLES, 1), (tiff.PHOTOMETRIC, 1), (tiff.PLANES, 1)):
        kept[tag] = block.entry(SHORT, 1, struct.pack(f"{block.order}H", value))
    block.replace_main(kept)
    return bytes(block.data)


def _grey(data: bytes, width: int, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    with decoding():
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        image.load()
    pixels = np.asarray(image).astype(dtype)
    if pixels.ndim != 2 or pixels.shape[1] != width:
        raise DecodeError("damaged (its directory contradicts itself)", "use a complete copy")
    return pixels


def _first(block: Block, tag: int) -> int:
    return next(iter(_numbers(block, tag)), 0)


def _numbers(block: Block, tag: int) -> list[int]:
    """The numbers of a SHORT or LONG field of the first directory; none where there is no such field."""
    for one in fields(block.main, tag)[:1]:
        code = {SHORT: "u2", LONG: "u4"}.get(one.kind)
        place = block.place(one)
        if code and place.stop <= len(block.data):
            return [int(n) for n in np.frombuffer(bytes(block.data[place.start : place.stop]), block.order + code)]
    return []
