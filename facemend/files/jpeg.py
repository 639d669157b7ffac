"""What Pillow lets pass in a JPEG: scans without end, and pixels that end early and are filled up with grey."""

import re

import simplejpeg

from facemend.errors import DecodeError

SCANS = 50  # most in a picture; encoders write 24 at most, and each goes over all pixels, however few its bytes
MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # the next one; compressed pixels hold none of these
SCAN, END = 0xDA, 0xD9
DAMAGE = ("premature end", "bad Huffman code", "instead of RST")  # libjpeg also warns of what does no harm


def check(data: bytes) -> None:
    """Look for what makes a JPEG unfit for decoding; its pixels are read at an eighth of their size.

    Raises:
        DecodeError: it has too many scans, or pixels that are missing or damaged.
    """
    if _scans(data) > SCANS:
        raise DecodeError(f"it has more than {SCANS} scans, which takes too long; save it anew")
    try:
        simplejpeg.decode_jpeg(data, "gray", min_factor=8)
    except ValueError as error:
        if any(words in str(error) for words in DAMAGE):
            raise DecodeError(f"damaged or cut short ({error}); use a whole file") from error


def _scans(data: bytes) -> int:
    """The passes over its pixels that a JPEG asks for."""
    scans, at = 0, 2
    while (found := MARKER.search(data, at)) and found[1][0] != END:
        scans += found[1][0] == SCAN
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans
