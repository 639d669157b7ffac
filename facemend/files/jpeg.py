"""What Pillow does not report of a JPEG: too many scans, pixels that are missing, pictures of other viewpoints."""

import re
import struct

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from facemend.errors import DecodeError

MAX_SCANS = 50  # encoders write at most 24; each scan takes time for all pixels, even if it has few bytes
MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")  # a marker that cannot occur inside compressed pixels
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
MP_ENTRIES = 0xB002  # tag of the list of pictures
DAMAGE = ("premature end", "bad Huffman code", "instead of RST")  # the other warnings of libjpeg are harmless


def check(data: bytes) -> None:
    """Refuse a JPEG with too many scans, or with pixels that are missing or damaged.

    Damage is found by decoding at an eighth of the size.

    Raises:
        DecodeError: the JPEG is refused.
    """
    if (scans := _count_scans(data)) > MAX_SCANS:
        raise DecodeError(f"it has {scans} scans, and more than {MAX_SCANS} take too long", "save it again as a JPEG")
    try:
        simplejpeg.decode_jpeg(data, "gray", min_factor=8)
    except ValueError as error:
        if any(text in str(error) for text in DAMAGE):
            raise DecodeError(f"it is damaged or truncated ({error})", "use a complete copy") from error


def has_viewpoints(image: JpegImageFile) -> bool:
    """Whether a file (CIPA DC-007, .mpo) has pictures of other viewpoints, and not just previews or a gain map."""
    try:
        entries = (image._getmp() or {}).get(MP_ENTRIES, [])
    except (SyntaxError, TypeError, IndexError, struct.error):
        return False  # the index is damaged; the first picture does not need it
    return any(entry["Attribute"]["MPType"].startswith("Multi-Frame") for entry in entries)


def _count_scans(data: bytes) -> int:
    """Count the scans of a JPEG, which are its passes over the pixels."""
    scans, position = 0, 2
    while (found := MARKER.search(data, position)) and found[1][0] != END_OF_IMAGE:
        scans += found[1][0] == START_OF_SCAN
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans
