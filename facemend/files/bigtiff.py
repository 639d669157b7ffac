"""BigTIFF files as classic TIFF files, which have 32 bits for each offset in place of 64.

Pillow reads no big-endian BigTIFF, and `tiff_samples` reads classic files only.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from facemend.errors import DecodeError
from facemend.files import tiff_samples
from facemend.files.directories import Directory, Reader, rows
from facemend.files.exif import EXIF, GPS, INTEROPERABILITY, MARKS

LARGEST = 2**31 - 2**20  # bytes; with as many for the new directories, the file must stay below 4 GB
CHILDREN: Mapping[int, Any] = {EXIF: {INTEROPERABILITY: {}}, GPS: {}}  # tag -> those of the directory it points to


class Extended(io.RawIOBase):
    """A file with another beginning, and more bytes after its end. It is read in parts, as they are asked for.

    It has no file descriptor. Where pixels are compressed, Pillow reads all of such a file into the memory.

    Args:
        stream: the file.
        size: its length in bytes.
        beginning: what replaces its first bytes.
        end: what follows it.
    """

    def __init__(self, stream: BinaryIO, size: int, beginning: bytes, end: bytes) -> None:
        self._stream, self._size, self._beginning, self._end = stream, size, beginning, end
        self._at = 0

    def readable(self) -> bool:
        """It is, always."""
        return True

    def seekable(self) -> bool:
        """It is, always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, as in other files."""
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size + len(self._end)}
        self._at = starts[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or less of it; returns the number of bytes."""
        if self._at < len(self._beginning):
            part = self._beginning[self._at :][: len(buffer)]
        elif self._at < self._size:
            self._stream.seek(self._at)
            part = self._stream.read(len(buffer))
        else:
            part = self._end[self._at - self._size :][: len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


class Directories:
    """Writes directories as those of a classic TIFF, to follow a file.

    Args:
        reader: of the file.
        size: its length in bytes.

    Attributes:
        data: what follows the file.
    """

    def __init__(self, reader: Reader, size: int) -> None:
        self.data = bytearray()
        self._reader = reader
        self._size = size
        self._places: dict[tuple[int, int], bytes] = {}  # offset in the file and length of a value -> its new offset

    def add(self, directory: Directory, tags: Mapping[int, Any] = CHILDREN) -> bytes:
        """Write a directory, after those it points to with these tags; returns its offset in 4 bytes."""
        children = {tag: self._reader.first(directory, tag) for tag in tags}
        places = {tag: self.add(self._reader.directory(start), tags[tag]) for tag, start in children.items() if start}
        return self._append(rows(self._reader.order, directory.values, places, self._put))

    def _put(self, value: bytes, at: int | None) -> bytes:
        """Write a value that was at an offset of the file, 0 for in the directory; returns its offset in 4 bytes.

        Pages may share a value, which is written once.
        """
        if not at:
            return self._append(value)
        if (at, len(value)) not in self._places:
            self._places[at, len(value)] = self._append(value)
        return self._places[at, len(value)]

    def _append(self, value: bytes) -> bytes:
        self.data.extend(bytes((self._size + len(self.data)) % 2))
        start = self._size + len(self.data)
        if len(self.data) + len(value) > self._size:
            raise DecodeError("damaged (its values overlap)", "use a complete copy")
        self.data.extend(value)
        return struct.pack(f"{self._reader.order}I", start)


def classic(stream: BinaryIO) -> BinaryIO:
    """Return a BigTIFF as a classic TIFF, with new directories after its end.

    Other files are returned as they are, and so are little-endian ones that Pillow reads.

    Args:
        stream: the file, which must stay open.

    Raises:
        DecodeError: it is too large, or damaged.
    """
    reader = Reader(stream)
    if not reader.is_big or (reader.order == "<" and not tiff_samples.reads(reader, reader.first_page())):
        return stream
    size = stream.seek(0, io.SEEK_END)
    if size > LARGEST:
        raise DecodeError("it is a BigTIFF of more than 2 GB", "save it in parts")
    header, directories = bytearray(MARKS[reader.order] + bytes(4)), Directories(reader, size)
    link = slice(4, 8)  # of the offset of the next directory
    before = header
    for directory in reader.directories():
        before[link] = directories.add(directory)
        before, link = directories.data, slice(len(directories.data) - 4, len(directories.data))
    return io.BufferedReader(Extended(stream, size, bytes(header), bytes(directories.data)))
