"""What Pillow does not report of a JPEG: too many scans, pixels that are missing, pictures of other viewpoints."""

import re
import struct
from collections.abc import Iterator

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from facemend.errors import DecodeError

MAX_SCANS = 50  # encoders write at most 24; each scan takes time for all pixels, even if it has few bytes
MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")  # a marker that cannot occur inside compressed pixels
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
MP_ENTRIES = 0xB002  # tag of the list of pictures
DAMAGE = ("premature end", "bad Huffman code", "instead of RST")  # what libjpeg only warns of
LEFT = re.compile(r"(\d+) extraneous bytes before marker")  # another warning; it can be padding
PADDING = 8  # bytes that are left at most by an encoder, unless all of them are the same


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
        left = int(found[1]) if (found := LEFT.search(str(error))) else 0
        # Before which marker they are left is not known, but where pixels are damaged it is usually the last one.
        end = data[: markers[-1][0]] if markers else b""
        is_data = left > PADDING and len(set(end[-left:])) > 1
        if is_data or any(text in str(error) for text in DAMAGE):
            raise DecodeError(f"it is damaged or truncated ({error})", "use a complete copy") from error


def has_viewpoints(image: JpegImageFile) -> bool:
    """Whether a file (CIPA DC-007, .mpo) has pictures of other viewpoints, and not just previews or a gain map."""
    try:
        entries = (image._getmp() or {}).get(MP_ENTRIES, [])
    except (SyntaxError, TypeError, IndexError, struct.error):
        return False  # the index is damaged; the first picture does not need it
    return any(entry["Attribute"]["MPType"].startswith("Multi-Frame") for entry in entries)


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the places and kinds of the markers of a JPEG, up to the one that ends it."""
    position = 2
    while found := MARKER.search(data, position):
        yield found.start(), found[1][0]
        if found[1][0] == END_OF_IMAGE:
            return
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
