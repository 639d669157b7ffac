"""The chunks of PNG files (PNG specification, third edition, section 5)."""

import re
import struct
import zlib
from collections.abc import Iterator

from facemend.errors import DecodeError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RAW_PROFILE = "Raw profile type "  # begins the keyword of a text with bytes in hexadecimal, as ImageMagick writes them


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each chunk of a PNG file.

    Raises:
        DecodeError: a chunk is longer than the file.
    """
    position = len(SIGNATURE)
    while position < len(data):
        start, kind = position + 8, data[position + 4 : position + 8]
        position = start + int.from_bytes(data[position : position + 4], "big") + 4
        if position > len(data):
            raise DecodeError(
                f"it is damaged or truncated (a chunk ends at byte {position} of {len(data)})", "use a complete copy"
            )
        yield kind, data[start : position - 4]
        if kind == b"IEND":
            return


def chunk(kind: bytes, body: bytes | bytearray) -> bytes:
    """Return the bytes of a chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def of_profile(text: str) -> bytes:
    """The bytes in a text whose keyword begins with `RAW_PROFILE`; none where it is damaged."""
    found = re.fullmatch(r"\s*\w+(?: profile)?\s+\d+\s([0-9a-fA-F\s]*)", text)  # ExifTool adds the word profile
    try:
        return bytes.fromhex(found[1]) if found else b""
    except ValueError:  # an odd number of digits
        return b""


def profile(name: str, data: bytes) -> bytes:
    """The text for such bytes."""
    lines = re.findall(".{1,72}", data.hex())
    return "\n".join((f"\n{name}", f"{len(data):8d}", *lines, "")).encode()
