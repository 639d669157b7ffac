"""What Pillow does not report of a JPEG: too many scans, pixels that are missing, pictures of other viewpoints."""

import re
import struct
from collections.abc import Iterator, Sequence

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from facemend.errors import DecodeError

MAX_SCANS = 50  # encoders write at most 24; each scan takes time for all pixels, even if it has few bytes
MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")  # a marker that cannot occur inside compressed pixels
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
MP_ENTRIES = 0xB002  # tag of the list of pictures
DAMAGE = ("premature end", "bad Huffman code", "instead of RST")  # warnings of libjpeg
LEFT = re.compile(r"(\d+) extraneous bytes before marker 0x(..)")  # another one: damage, unless they are padding
PADDING = 8  # bytes; more of them are padding only if all of them are the same


def check(data: bytes) -> None:
    """Refuse a JPEG with too many scans, or with pixels that are missing or damaged.

    Damage is found by decoding at an eighth of the size.

    Raises:
        DecodeError: the JPEG is refused.
    """
    markers = list(_markers(data))
    if (scans := sum(kind == START_OF_SCAN for _, kind in markers)) > MAX_SCANS:
        raise DecodeError(f"it has {scans} scans, and more than {MAX_SCANS} take too long", "save it again as a JPEG")
    try:
        simplejpeg.decode_jpeg(data, "gray", min_factor=8)
    except ValueError as error:
        left = LEFT.search(str(error))
        if any(text in str(error) for text in DAMAGE) or (left and not _is_padding(data, markers, left)):
            raise DecodeError(f"it is damaged or truncated ({error})", "use a complete copy") from error


def has_viewpoints(image: JpegImageFile) -> bool:
    """Whether a file (CIPA DC-007, .mpo) has pictures of other viewpoints, and not just previews or a gain map."""
    try:
        entries = (image._getmp() or {}).get(MP_ENTRIES, [])
    except (SyntaxError, TypeError, IndexError, struct.error):
        return False  # the index is damaged; the first picture does not need it
    return any(entry["Attribute"]["MPType"].startswith("Multi-Frame") for entry in entries)


def _is_padding(data: bytes, markers: Sequence[tuple[int, int]], left: re.Match[str]) -> bool:
    """Whether the bytes that the decoder did not need, of which a warning says the number, may be padding."""
    count, before = int(left[1]), int(left[2], 16)
    return count <= PADDING or any(len(set(data[at - count : at])) == 1 for at, kind in markers if kind == before)


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the places and kinds of the markers of a JPEG, up to the one that ends it."""
    position = 2
    while found := MARKER.search(data, position):
        yield found.start(), found[1][0]
        if found[1][0] == END_OF_IMAGE:
            return
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
