"""What Pillow does not report of a JPEG: too many scans, pixels that are missing, pictures of other viewpoints."""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from facemend.errors import DecodeError

MAX_SCANS = 50  # encoders write at most 24; each scan takes time for all pixels, even if it has few bytes
# A marker that cannot occur inside compressed pixels. Bytes FF before it may fill up space; a pattern that repeats FF
# would try each of them in turn, and the time would grow with the square of their number.
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
MP_ENTRIES = 0xB002  # tag of the list of pictures
DAMAGE = ("premature end", "bad Huffman code", "instead of RST")  # in warnings of libjpeg about damaged pixels
LEFT = re.compile(r"(\d+) extraneous bytes")  # in its warning about bytes that the decoder did not need
PADDING = 8  # of these bytes that may differ from the others where they are padding, and not pixels


class Marker(NamedTuple):
    """A marker.

    Attributes:
        start: where the bytes before it start, which belong to no segment.
        at: its place, before any bytes that fill up space.
        kind: its second byte.
    """

    start: int
    at: int
    kind: int


def check(data: bytes) -> None:
    """Refuse a JPEG with too many scans, or with pixels that are missing or damaged.

    Damage is found by decoding at an eighth of the size.

    Raises:
        DecodeError: the JPEG is refused.
    """
    if (scans := sum(marker.kind == START_OF_SCAN for marker in _markers(data))) > MAX_SCANS:
        raise DecodeError(f"it has {scans} scans, and more than {MAX_SCANS} take too long", "save it again as a JPEG")
    try:
        simplejpeg.decode_jpeg(data, "gray", min_factor=8)
    except ValueError as error:
        left = LEFT.search(str(error))
        if any(text in str(error) for text in DAMAGE) or (left and not _has_padding(data, int(left[1]))):
            raise DecodeError(f"it is damaged or truncated ({error})", "use a complete copy") from error


def has_viewpoints(image: JpegImageFile) -> bool:
    """Whether a file (CIPA DC-007, .mpo) has pictures of other viewpoints, and not just previews or a gain map."""
    try:
        entries = (image._getmp() or {}).get(MP_ENTRIES, [])
    except (SyntaxError, TypeError, IndexError, struct.error):
        return False  # the index is damaged; the first picture does not need it
    return any(entry["Attribute"]["MPType"].startswith("Multi-Frame") for entry in entries)


def _has_padding(data: bytes, count: int) -> bool:
    """Whether so many bytes of padding are somewhere before a marker: of one value, except a few."""
    if count <= PADDING:
        return True
    ends = (data[marker.at - count : marker.at] for marker in _markers(data) if marker.at - marker.start >= count)
    return any(end.count(end[count // 2]) >= count - PADDING for end in ends)


def _markers(data: bytes) -> Iterator[Marker]:
    """Yield the markers of a JPEG, up to the one that ends it."""
    start = 2
    while found := MARKER.search(data, start):
        before = data[start : found.start()].rstrip(b"\xff")
        yield Marker(start, start + len(before), found[1][0])
        if found[1][0] == END_OF_IMAGE:
            return
        start = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
