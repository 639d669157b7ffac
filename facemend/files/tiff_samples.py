"""The samples of TIFF files with 16 bits and any number of channels, interleaved or in planes, read by Pillow.

Pillow decodes every compression, but 16 bits only of grey pictures. So the directory is rewritten: to a grey picture
for each plane, or to one that is as many times wider as there are interleaved channels.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files import tiff
from facemend.files.decoders import decoding
from facemend.files.exif import HEIGHT, LONG, ORIENTATION, SHORT, WIDTH, Block, fields
from facemend.files.metadata import TURNS
from facemend.records import Pixels

PREDICTOR, TILE_WIDTH, TILE_OFFSETS, TILE_BYTES = 317, 322, 324, 325
DIFFERENCES = 2  # a Predictor: each value is stored as its difference from the one to the left
IN_PLANES = 2  # a PlanarConfiguration
MOST_CHANNELS = 8
# Tags that the rewritten directory keeps; 266 is FillOrder, 323 TileLength
KEPT = {WIDTH, HEIGHT, tiff.COMPRESSION, tiff.STRIP, tiff.ROWS, tiff.STRIP_BYTES, 266, TILE_WIDTH, 323}
KEPT |= {TILE_OFFSETS, TILE_BYTES}


def read(data: bytes, start: int) -> Pixels:
    """Return (H, W, C) uint16, upright.

    Args:
        data: the file, a classic TIFF.
        start: the offset of the picture's directory.

    Raises:
        DecodeError: it is damaged.
    """
    order = "<" if data[:1] == b"I" else ">"
    try:
        block = Block(data[:4] + struct.pack(f"{order}I", start) + data[8:])
    except ValueError as error:
        raise DecodeError("damaged (its directory cannot be read)", "use a complete copy") from error
    channels, width = _first(block, tiff.SAMPLES), _first(block, WIDTH)
    if not 1 <= channels <= MOST_CHANNELS or width * channels >= 2**31:
        raise DecodeError("damaged (its directory contradicts itself)", "use a complete copy")
    across = _first(block, TILE_WIDTH) or width
    if _first(block, tiff.PLANES) == IN_PLANES:
        samples = np.stack([_grey(plane, width) for plane in _planes(block, channels)], axis=-1)
    else:
        wide = block.main_entries() | {WIDTH: block.entry(LONG, 1, struct.pack(f"{order}I", width * channels))}
        if TILE_WIDTH in wide:
            wide[TILE_WIDTH] = block.entry(LONG, 1, struct.pack(f"{order}I", across * channels))
        samples = _grey(_rewritten(block, wide), width * channels)
        samples = samples.reshape(samples.shape[0], width, channels)
    if _first(block, PREDICTOR) == DIFFERENCES:
        for left in range(0, width, across):
            part = samples[:, left : left + across]
            np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    mirror, quarters = TURNS.get(_first(block, ORIENTATION), (False, 0))
    return np.rot90(np.fliplr(samples) if mirror else samples, quarters)


def _planes(block: Block, channels: int) -> Iterator[bytes]:
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
        yield _rewritten(block, entries)


def _rewritten(block: Block, entries: dict[int, bytes]) -> bytes:
    """The file as one of a grey picture of 16 bits."""
    kept = {tag: entry for tag, entry in entries.items() if tag in KEPT}
    for tag, value in ((tiff.BITS, 16), (tiff.SAMPLES, 1), (tiff.PHOTOMETRIC, 1), (tiff.PLANES, 1)):
        kept[tag] = block.entry(SHORT, 1, struct.pack(f"{block.order}H", value))
    block.replace_main(kept)
    return bytes(block.data)


def _grey(data: bytes, width: int) -> Pixels:
    with decoding():
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        image.load()
    pixels = np.asarray(image).astype(np.uint16)
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
