"""Read Radiance HDR files: Ward, Real Pixels, Graphics Gems II, 1991.

OpenCV would read them from a file that it writes into the folder of temporary files.
"""

import re
from typing import BinaryIO

import numpy as np

from facemend.errors import DecodeError
from facemend.files.decoders import decoding
from facemend.files.samples import CheckSize, Samples
from facemend.records import Pixels

SIZE = re.compile(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n")  # the only order of rows that is in use
HEADER = 1 << 16  # bytes that it can have
XYZ = b"FORMAT=32-bit_rle_xyze"
PLANES = b"\2\2"  # begins a row whose channels follow one another; its width is next
WIDTHS = range(8, 1 << 15)  # of such rows
REPEATED = 128  # what is added to the length of a run of one value
MOST_BITS = 32  # of the length of other runs
REPEAT = b"\1\1\1"  # begins a px that stands for the one before
BIAS = 128 + 8  # of the exponent, for mantissas from 0 to 255


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Read the picture.

    Raises:
        DecodeError: it is damaged.
    """
    data = stream.read()
    size = SIZE.search(data[:HEADER])
    if size is None:
        raise DecodeError("its size is not given, or its rows are in a rare order", "save it again")
    if XYZ in data[: size.start()]:
        raise DecodeError("its colours are XYZ", "save it as RGB")
    height, width = int(size[1]), int(size[2])
    check_size(height, width)
    light, rgbe = np.empty((height, width, 3), np.float32), np.empty((width, 4), np.uint8)
    start = size.end()
    with decoding():
        for row in light:  # converted one by one, so that nothing else needs as much memory
            in_planes = width in WIDTHS and data[start : start + 4] == PLANES + width.to_bytes(2, "big")
            start = _read_planes(data, start + 4, rgbe) if in_planes else _read_pixels(data, start, rgbe)
            np.ldexp(rgbe[:, :3].astype(np.float32), rgbe[:, 3:].astype(np.int32) - BIAS, out=row)
    return Samples(light)


def _read_planes(data: bytes, start: int, row: Pixels) -> int:
    """Read a row of (W, 4), channel by channel. Returns the offset of the next row."""
    for channel in row.T:
        values = bytearray()  # with arrays, short runs would take several times as long
        while len(values) < len(channel):
            is_repeated = data[start] > REPEATED
            count = data[start] - REPEATED * is_repeated
            stored = 1 if is_repeated else count
            if not 0 < count <= len(channel) - len(values):
                raise ValueError("a run is longer than its row")
            run = data[start + 1 : start + 1 + stored]
            values += run * count if is_repeated else run
            start += 1 + stored
        channel[:] = values
    return start


def _read_pixels(data: bytes, start: int, row: Pixels) -> int:
    """Read a row of (W, 4), px by px. (1, 1, 1, N) repeats the last one N times, and after such a px, 256 N times."""
    x = shift = 0
    while x < len(row):
        stop = _repeat(data, start, start + 4 * min(len(row) - x, (len(data) - start) // 4))
        if stop > start:
            values = np.frombuffer(data[start:stop], np.uint8).reshape(-1, 4)
            count, shift = len(values), 0
        else:
            count, values, stop = data[start + 3] << shift, row[x - 1], start + 4
            shift += 8
            if not x or count > len(row) - x or shift > MOST_BITS:
                raise ValueError("a run is longer than its row")
        row[x : x + count] = values
        x += count
        start = stop
    return start


def _repeat(data: bytes, start: int, stop: int) -> int:
    """The offset of the first px (1, 1, 1, N) of those between two offsets; the second one where there is none."""
    at = data.find(REPEAT, start, stop)
    while at >= 0 and (at - start) % 4:
        at = data.find(REPEAT, at + 1, stop)
    return stop if at < 0 else at
