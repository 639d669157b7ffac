"""BigTIFF files as classic TIFF files, which have 32 bits for each offset in place of 64.

Pillow reads no big-endian BigTIFF, and nothing else in the package has to know the difference.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from facemend.errors import DecodeError
from facemend.files.directories import Directory, Reader, rows
from facemend.files.exif import BYTE_ORDERS, EXIF, GPS, INTEROPERABILITY

LARGEST = 2**31 - 2**20  # bytes; with as many for the new directories, the file must stay below 4 GB
CHILDREN: Mapping[int, Any] = {EXIF: {INTEROPERABILITY: {}}, GPS: {}}  # tag -> those of the directory it points to


def classic(stream: BinaryIO) -> BinaryIO:
    """Return a BigTIFF as a classic TIFF, with new directories at its end. Other files are returned as they are.

    Raises:
        DecodeError: it is too large, or damaged.
    """
    reader = Reader(stream)
    if not reader.is_big:
        return stream
    size = stream.seek(0, io.SEEK_END)
    if size > LARGEST:
        raise DecodeError("it is a BigTIFF of more than 2 GB", "save it in parts")
    stream.seek(0)
    data = bytearray(stream.read())

    def put(value: bytes, at: int | None = None) -> bytes:
        data.extend(bytes(len(data) % 2))
        start = len(data)
        if start + len(value) > 2 * size:
            raise DecodeError("damaged (its directories overlap)", "use a complete copy")
        data.extend(value)
        return struct.pack(f"{reader.order}I", start)

    def written(directory: Directory, tags: Mapping[int, Any]) -> bytes:
        children = {tag: reader.first(directory, tag) for tag in tags}
        places = {tag: written(reader.directory(start), tags[tag]) for tag, start in children.items() if start}
        return put(rows(reader.order, directory.values, places, put))

    data[:4] = next(mark for mark, order in BYTE_ORDERS.items() if order == reader.order)
    link = 4
    for directory in reader.directories():
        data[link : link + 4] = written(directory, CHILDREN)
        link = len(data) - 4  # a directory ends with the offset of the next one
    return io.BytesIO(data)
