"""The directories of TIFF files: classic ones (TIFF 6.0, section 2), and BigTIFF as LibTIFF 4 has it."""

import io
import itertools
import struct
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from facemend.files.exif import BYTE_ORDERS, LONG, MOST_FIELDS, SHORT, SIZES

BIG_ORDERS: Mapping[bytes, Literal["<", ">"]] = {b"II+\0": "<", b"MM\0+": ">"}
# Types with 64 bits, which only a BigTIFF has -> the type with 32 bits, and the letters of both in the module `struct`
NARROWER = {16: (LONG, "QI"), 17: (9, "qi"), 18: (13, "QI")}
BIG_SIZES = SIZES | dict.fromkeys(NARROWER, 8)
EVERY = range(1 << 16)  # tag
MOST_PAGES = 500  # that are looked at
LONGEST_VALUE = 1 << 24  # bytes; longer ones are not metadata
NEW_SUBFILE = 254  # a tag
REDUCED = 1  # a bit of its value


@dataclass(frozen=True, slots=True)
class Value:
    """A field of a directory with its value; `at` is the value's offset in the file, 0 where it is in the directory."""

    tag: int
    kind: int
    count: int
    data: bytes
    at: int


class Directory(NamedTuple):
    """A directory of a file.

    Attributes:
        start: its offset.
        values: by their tags.
        following: the offset of the next directory, 0 at the end.
        long: offset and length in bytes of each value that is too long to be read.
    """

    start: int
    values: dict[int, Value]
    following: int
    long: dict[int, tuple[int, int]]


class Layout(NamedTuple):
    """How a kind of file stores its directories, in the letters of the module `struct`.

    Attributes:
        link: the offset of a directory.
        first: where the offset of the first directory is.
        number: the number of fields, which precedes them.
        row: a field: tag, type, number of values, and the values themselves or their offset.
    """

    link: str
    first: int
    number: str
    row: str


CLASSIC, BIG = Layout("I", 4, "H", "HHI4s"), Layout("Q", 8, "Q", "HHQ8s")


class Reader:
    """Reads the directories of a TIFF file. Numbers with 64 bits become numbers with 32.

    Args:
        stream: the file.

    Attributes:
        order: "<" or ">", as the module `struct` spells it; "" where it is no TIFF file.
        is_big: whether it is a BigTIFF.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        mark = self.read(0, 4)
        self.is_big = mark in BIG_ORDERS
        self.order: str = (BIG_ORDERS if self.is_big else BYTE_ORDERS).get(mark, "")
        self._layout = BIG if self.is_big else CLASSIC

    def first_directory(self) -> Directory:
        """The first directory; one without values where the file has none."""
        return next(self.directories(), Directory(0, {}, 0, {}))

    def directories(self, tags: Container[int] = EVERY) -> Iterator[Directory]:
        """Yield the directories of all pages, with the values of these tags."""
        start = self._number(self._layout.first, self._layout.link) if self.order else 0
        seen = set[int]()
        while start and start not in seen and len(seen) < MOST_PAGES:
            seen.add(start)
            directory = self.directory(start, tags)
            yield directory
            start = directory.following

    def pages(self) -> Iterator[tuple[int, int]]:
        """Yield the pages that are not reduced copies of others: the numbers in the file from 0 on, and the offsets."""
        for number, directory in enumerate(self.directories((NEW_SUBFILE,))):
            if not self.first(directory, NEW_SUBFILE) & REDUCED:
                yield number, directory.start

    def first_page(self) -> Directory:
        """The first page that is not a reduced copy; the first directory where there is no other."""
        start = next((start for _, start in self.pages()), 0)
        return self.directory(start) if start else self.first_directory()

    def has_several_pages(self) -> bool:
        """Whether there is more than one page that is not a reduced copy."""
        return len(list(itertools.islice(self.pages(), 2))) > 1

    def directory(self, start: int, tags: Container[int] = EVERY) -> Directory:
        """The directory at an offset, as far as the file has it, with the values of these tags."""
        link, _, number, row = self._layout
        begin, each = start + struct.calcsize(f"={number}"), struct.calcsize(f"={row}")
        size = each * self._number(start, number)
        fields = self.read(begin, min(size, each * MOST_FIELDS))
        values: dict[int, Value] = {}
        long: dict[int, tuple[int, int]] = {}
        left = self._size  # values that lie over each other could need any amount of memory
        for tag, kind, count, place in struct.iter_unpack(self.order + row, fields[: len(fields) // each * each]):
            if tag not in tags:
                continue
            length = BIG_SIZES.get(kind, 0) * count
            at = struct.unpack(self.order + link, place)[0] if length > len(place) else 0
            if length > LONGEST_VALUE:
                long.setdefault(tag, (at, length))
                continue
            data = self.read(at, length) if at and length <= left else place[:length]
            if 0 < len(data) == length and tag not in values:
                values[tag] = self._narrow(Value(tag, kind, count, data, at))
                left -= length
        return Directory(start, values, self._number(begin + size, link), long)

    def first(self, directory: Directory, tag: int) -> int:
        """The first number of a SHORT or LONG value; 0 where there is none."""
        return next(self.numbers(directory, tag), 0)

    def numbers(self, directory: Directory, tag: int) -> Iterator[int]:
        """Yield the numbers of a SHORT or LONG value; none where there is no such value."""
        value = directory.values.get(tag)
        code = {SHORT: "H", LONG: "I", 13: "I"}.get(value.kind) if value else None
        if value and code:
            yield from (number for (number,) in struct.iter_unpack(self.order + code, value.data))

    def read(self, at: int, size: int) -> bytes:
        """The bytes from an offset on, as far as the file has them. An offset of a BigTIFF may be too large to seek."""
        self._stream.seek(min(at, self._size))
        return self._stream.read(size)

    def _narrow(self, value: Value) -> Value:
        """The value with 32 bits in place of 64. The nearest number stands for one that needs more."""
        if value.kind not in NARROWER:
            return value
        kind, letters = NARROWER[value.kind]
        wide, narrow = (np.dtype(self.order + letter) for letter in letters)
        limits = np.iinfo(narrow)
        numbers = np.frombuffer(value.data, wide).clip(limits.min, limits.max)
        return replace(value, kind=kind, data=numbers.astype(narrow).tobytes())

    def _number(self, at: int, code: str) -> int:
        size = struct.calcsize(f"={code}")
        data = self.read(at, size)
        return int(struct.unpack(self.order + code, data)[0]) if len(data) == size else 0


def rows(
    order: str, values: dict[int, Value], places: dict[int, bytes], put: Callable[[bytes, int | None], bytes]
) -> bytes:
    """The bytes of a directory of a classic TIFF that is the last one.

    Args:
        order: of the bytes: "<" or ">".
        values: its values.
        places: tag of a value that is the offset of another directory -> that offset, in 4 bytes.
        put: is called with each value of more than 4 bytes, and its offset where it was read; returns its offset.
    """
    fields = b""
    for tag in sorted(values):
        kind, count, value, at = values[tag].kind, values[tag].count, values[tag].data, values[tag].at
        place = put(value, at) if len(value) > 4 else value.ljust(4, b"\0")
        if tag in places:
            kind, count, place = LONG, 1, places[tag]
        fields += struct.pack(f"{order}HHI", tag, kind, count) + place
    return struct.pack(f"{order}H", len(values)) + fields + bytes(4)
