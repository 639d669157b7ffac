"""Read TIFF files whose samples Pillow does not read: those of 16 bits, and channels besides the colours.

Pillow decodes every compression, but not every number of channels, and 16 bits only of grey pictures. So the directory
is rewritten: to a grey picture for each plane, or to one that is as many times wider as there are interleaved channels.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import ImageFile, TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files import metadata, spaces, tiff
from facemend.files.decoders import decoding, quiet
from facemend.files.directories import Directory, Reader
from facemend.files.exif import HEIGHT, LONG, WIDTH, Block
from facemend.files.samples import MOST_CHANNELS, CheckSize, Samples
from facemend.records import Pixels, Size, peak, to_dtype

PREDICTOR, TILE_OFFSETS, TILE_BYTES = 317, 324, 325
PROFILE = 34675
DIFFERENCES = 2  # a Predictor: each value is stored as its difference from the one to the left
IN_PLANES = 2  # a PlanarConfiguration
PREDICTING = (5, 8, 32946, 34925, 50000)  # values of Compression with which a Predictor counts: LZW, Deflate, ...
JPEGS = (6, 7)  # values of Compression, whose pixels cannot be rewritten
# Tags that the rewritten directory keeps; 266 is FillOrder
KEPT = {tiff.COMPRESSION, tiff.STRIP, tiff.ROWS, tiff.STRIP_BYTES, 266, tiff.TILE_WIDTH, tiff.TILE_HEIGHT}
KEPT |= {TILE_OFFSETS, TILE_BYTES}


def reads(reader: Reader, page: Directory) -> bool:
    """Whether `read` reads such a page: grey, RGB or CMYK with 16 bits, or with 8 bits where Pillow does not."""
    photometric, channels = reader.first(page, tiff.PHOTOMETRIC), reader.first(page, tiff.SAMPLES)
    bits, in_planes = set(reader.numbers(page, tiff.BITS)), reader.first(page, tiff.PLANES) == IN_PLANES
    if photometric not in tiff.COLOURS or reader.first(page, tiff.COMPRESSION) in JPEGS:
        return False
    if bits != {8} or channels <= tiff.COLOURS[photometric]:
        # Pillow does not invert a grey picture in a plane.
        return bits == {16} or (bits == {8} and in_planes and photometric == tiff.WHITE_IS_ZERO)
    # Pillow reads RGB with one channel more, but not in planes, and not exactly where the colours are premultiplied.
    premultiplied = reader.first(page, tiff.EXTRA_SAMPLES) == tiff.PREMULTIPLIED
    return photometric != tiff.RGB or channels > 4 or in_planes or premultiplied


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
    samples = _samples(stream, reader, page)
    photometric = reader.first(page, tiff.PHOTOMETRIC)
    count, white = tiff.COLOURS[photometric], peak(samples)
    colours = samples[..., :count] if count > 1 else samples[..., 0]
    if photometric == tiff.WHITE_IS_ZERO:
        colours = white - colours
    kinds = [*reader.numbers(page, tiff.EXTRA_SAMPLES)]
    alpha = samples[..., count] if tiff.has_alpha(kinds) and samples.shape[2] > count else None
    if alpha is not None and kinds[0] == tiff.PREMULTIPLIED:
        shares = np.maximum(alpha, 1) / white
        colours = to_dtype(colours / (shares[..., None] if count > 1 else shares), samples.dtype)
    described, orientation = metadata.of_tiff(stream)
    profile = page.values[PROFILE].data if PROFILE in page.values else None
    if profile is None and metadata.is_adobe_rgb(described):
        profile = spaces.of_adobe_rgb()
    lost = tiff.besides(reader, page)
    lost += tiff.other_channels(samples.shape[2] - count - (alpha is not None))
    return Samples(colours, alpha, profile, described, tuple(lost), orientation)


def _samples(stream: BinaryIO, reader: Reader, page: Directory) -> Pixels:
    """Return (H, W, C) of a page, as it is stored."""
    channels, width = reader.first(page, tiff.SAMPLES) or 1, reader.first(page, WIDTH)
    if channels > MOST_CHANNELS:
        raise DecodeError(f"it has {channels} channels", f"save it with at most {MOST_CHANNELS}")
    if channels < tiff.COLOURS[reader.first(page, tiff.PHOTOMETRIC)] or width * channels >= 2**31:
        raise DecodeError("damaged (its directory contradicts itself)", "use a complete copy")
    stream.seek(0)
    data = stream.read()
    try:
        block = Block(data[:4] + struct.pack(f"{reader.order}I", page.start) + data[8:])
    except ValueError as error:
        raise DecodeError("damaged (its directory cannot be read)", "use a complete copy") from error
    across, dtype = reader.first(page, tiff.TILE_WIDTH) or width, np.dtype(f"u{reader.first(page, tiff.BITS) // 8}")
    height = reader.first(page, HEIGHT)
    if reader.first(page, tiff.PLANES) == IN_PLANES:
        planes = _planes(reader, page, channels)
        samples = np.stack([_grey(block, changed, (height, width), dtype) for changed in planes], axis=-1)
    else:
        wide = {tiff.TILE_WIDTH: [across * channels]} if tiff.TILE_WIDTH in page.values else {}
        samples = _grey(block, wide, (height, width * channels), dtype).reshape(height, width, channels)
    if reader.first(page, PREDICTOR) == DIFFERENCES and reader.first(page, tiff.COMPRESSION) in PREDICTING:
        for left in range(0, width, across):
            part = samples[:, left : left + across]
            np.cumsum(part, axis=1, dtype=dtype, out=part)
    return samples


def _planes(reader: Reader, page: Directory, channels: int) -> Iterator[dict[int, list[int]]]:
    """Yield the tags of each plane with their numbers: its strips or tiles follow those of the plane before."""
    tags = (TILE_OFFSETS, TILE_BYTES) if TILE_OFFSETS in page.values else (tiff.STRIP, tiff.STRIP_BYTES)
    numbers = {tag: [*reader.numbers(page, tag)] for tag in tags}
    count = len(numbers[tags[0]]) // channels
    for plane in range(channels):
        yield {tag: numbers[tag][plane * count : (plane + 1) * count] for tag in tags}


class _Wide(TiffImagePlugin.TiffImageFile):
    """A picture whose px are samples. Their number is not limited, as that of the real px was checked before."""

    def load_prepare(self) -> None:
        ImageFile.ImageFile.load_prepare(self)


def _grey(block: Block, changed: dict[int, list[int]], size: Size, dtype: np.dtype[np.unsignedinteger]) -> Pixels:
    """Read the file as one of a grey picture of this size (height, width), with some tags changed.

    The size is written too: of a damaged directory with several, Pillow might take another one than was checked.
    """
    entries = {tag: entry for tag, entry in block.main_entries().items() if tag in KEPT}
    grey = {HEIGHT: [size[0]], WIDTH: [size[1]], tiff.BITS: [8 * dtype.itemsize]}
    grey |= {tiff.SAMPLES: [1], tiff.PHOTOMETRIC: [1], tiff.PLANES: [1]}
    for tag, numbers in (changed | grey).items():
        entries[tag] = block.entry(LONG, len(numbers), struct.pack(f"{block.order}{len(numbers)}I", *numbers))
    block.replace_main(entries)
    with quiet(), decoding():
        image = _Wide(io.BytesIO(bytes(block.data)))
        image.load()
    return np.asarray(image).astype(dtype)
