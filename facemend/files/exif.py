"""EXIF blocks, edited in place: each byte that has not become false keeps its value and its place.

A block has the structure of a TIFF file (TIFF 6.0, section 2; Exif 3.0, 4.6): a header, and directories of fields with
12 bytes each. A value of more than 4 bytes is elsewhere in the block, and its field has the offset. MakerNotes have
offsets whose meaning only the camera's maker knows, so nothing may move.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# Type of a field -> bytes of one of its values
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
BYTE_ORDERS: Mapping[bytes, Literal["<", ">"]] = {b"II*\0": "<", b"MM\0*": ">"}
MARKS: Mapping[str, bytes] = {order: mark for mark, order in BYTE_ORDERS.items()}
HEADER = b"II*\0\x08\0\0\0"  # of a new block; its first directory follows

WIDTH, HEIGHT, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, UNIT = 256, 257, 274, 282, 283, 296  # of the first directory
WHITE_POINT, PRIMARIES = 318, 319  # of the first directory: x and y of white, and of red, green and blue
CHROMATICITIES = {WHITE_POINT: (3127, 3290), PRIMARIES: (6400, 3300, 3000, 6000, 1500, 600)}  # of sRGB, times 10000
EXIF, GPS = 0x8769, 0x8825
TAKEN = 0x9003  # DateTimeOriginal of the EXIF directory
COLOUR_SPACE, EXIF_WIDTH, EXIF_HEIGHT, INTEROPERABILITY = 0xA001, 0xA002, 0xA003, 0xA005  # of the EXIF directory
INTEROPERABILITY_INDEX = 1
SRGB = 1  # a ColorSpace
THUMBNAIL, THUMBNAIL_BYTES = 0x201, 0x202
MAKER_NOTE = 0x927C
# Fields that refer to more bytes: strips, tiles, more directories, a thumbnail, and whatever a maker means
REFERRING = {273, 324, 330, THUMBNAIL, MAKER_NOTE, 0xC634}
NO_UNIT, PER_INCH, PER_CENTIMETRE = 1, 2, 3
HIGHEST_DPI = 65535  # of a JPEG
USUAL_DPI = 72  # where a block does not say a valid one
MOST_FIELDS = 500  # of a directory; cameras write fewer than 100, and more would take long


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a directory; `at` is the offset of its 12 bytes."""

    tag: int
    kind: int
    count: int
    at: int


class Block:
    """An EXIF block that can be edited.

    Args:
        data: the block, from its TIFF header on.

    Attributes:
        data: its bytes.
        order: "<" or ">", as the module `struct` spells it.
        whole: whether all directories and values are inside the block.
        main: the fields of the first directory.
        exif: those of the EXIF directory.
        interoperability: those of the interoperability directory.

    Raises:
        ValueError: it is not an EXIF block, or its first directory has no fields.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < len(HEADER) or bytes(data[:4]) not in BYTE_ORDERS:
            raise ValueError("it does not begin as an EXIF block")
        self.data = bytearray(data)
        self.order = BYTE_ORDERS[bytes(data[:4])]
        self.whole = True
        self._directories = [range(len(HEADER))]  # bytes of the header and of the directories
        start = self.number(4)
        self.main = self._directory(start)
        if not any(one.kind in SIZES for one in self.main):
            raise ValueError("its first directory cannot be read")
        self._link = start + 2 + 12 * self.number(start, SHORT)  # of the offset of the next directory
        self.exif = self._child(self.main, EXIF)
        self.interoperability = self._child(self.exif, INTEROPERABILITY)
        self._gps = self._child(self.main, GPS)

    @property
    def orientation(self) -> int:
        """1 to 8; 0 where the block does not say it."""
        values = (self.number(one.at + 8, one.kind) for one in fields(self.main, ORIENTATION) if one.kind in SIZES)
        return next((value for value in values if 1 <= value <= 8), 0)

    @property
    def is_adobe_rgb(self) -> bool:
        """Whether a camera says that the colours are those of Adobe RGB (DCF 2.0: the option file R03)."""
        return any(
            self.data[one.at + 8 : one.at + 12] == b"R03\0" and one.kind == ASCII
            for one in fields(self.interoperability, INTEROPERABILITY_INDEX)
        )

    @property
    def dpi(self) -> tuple[float, float] | None:
        """Px per inch across and down; None where the block has no valid ones."""
        unit = next((self.number(one.at + 8, SHORT) for one in fields(self.main, UNIT)), PER_INCH)
        values = [self._rational(one) for tag in (X_RESOLUTION, Y_RESOLUTION) for one in fields(self.main, tag)[:1]]
        inch = 2.54 if unit == PER_CENTIMETRE else 1
        valid = unit != NO_UNIT and len(values) == 2 and all(1 <= value * inch <= HIGHEST_DPI for value in values)
        return (values[0] * inch, values[1] * inch) if valid else None

    def number(self, at: int, kind: int = LONG) -> int:
        """The whole number at an offset; 0 beyond the end of the block, and where it is none."""
        code = {1: "B", SHORT: "H", LONG: "I", 6: "b", 8: "h", 9: "i", 13: "I"}.get(kind, "")
        size = SIZES[kind]
        value = self.data[at : at + size]
        return int(struct.unpack(self.order + code, value)[0]) if code and len(value) == size else 0

    def place(self, field: Field) -> range:
        """The bytes of a field's value."""
        length = SIZES.get(field.kind, 0) * field.count
        start = field.at + 8 if length <= 4 else self.number(field.at + 8)
        return range(start, start + length)

    def set_number(self, directory: list[Field], tag: int, value: int) -> None:
        """Set a field to one whole number, where the directory has it. It stays a SHORT if it is one and that fits."""
        for one in fields(directory, tag):
            self._set_number(one, SHORT if one.kind == SHORT and value < 2**16 else LONG, value)

    def _set_number(self, field: Field, kind: int, value: int) -> None:
        code = "HHIH2x" if kind == SHORT else "HHII"
        struct.pack_into(self.order + code, self.data, field.at, field.tag, kind, 1, value)

    def set_upright(self, turned: bool) -> None:
        """Say that the pixels are upright and in sRGB, and remove the thumbnail.

        Args:
            turned: whether rows have become columns; the two resolutions are exchanged then.
        """
        self.remove_thumbnail()
        self._remove_rest()
        for one in fields(self.main, ORIENTATION):
            self._set_number(one, SHORT, 1)
        for one in fields(self.exif, COLOUR_SPACE):
            self._set_number(one, SHORT, SRGB)
        if self.is_adobe_rgb:
            for one in fields(self.interoperability, INTEROPERABILITY_INDEX):
                self.data[one.at + 8 : one.at + 12] = b"R98\0"
        for tag, values in CHROMATICITIES.items():
            for one in fields(self.main, tag):
                self._set_rationals(one, values, 10000)
        self._mend_resolution()
        across, down = fields(self.main, X_RESOLUTION), fields(self.main, Y_RESOLUTION)
        if turned and across and down:
            first, second = (slice(one[0].at + 2, one[0].at + 12) for one in (across, down))
            self.data[first], self.data[second] = self.data[second], self.data[first]

    def set_size(self, height: int, width: int) -> None:
        """Set the size of the picture in px, wherever the block has it."""
        self.set_number(self.main, WIDTH, width)
        self.set_number(self.main, HEIGHT, height)
        self.set_number(self.exif, EXIF_WIDTH, width)
        self.set_number(self.exif, EXIF_HEIGHT, height)

    def replace_main(self, entries: Mapping[int, bytes]) -> None:
        """Append a new first directory; values stay where they are.

        Args:
            entries: tag -> the 10 bytes that follow the tag in its field.
        """
        self.data += bytes(len(self.data) % 2)
        struct.pack_into(f"{self.order}I", self.data, 4, len(self.data))
        self.data += struct.pack(f"{self.order}H", len(entries))
        self.data += b"".join(struct.pack(f"{self.order}H", tag) + entries[tag] for tag in sorted(entries)) + bytes(4)

    def main_entries(self) -> dict[int, bytes]:
        """The first directory as `replace_main` takes it."""
        return {one.tag: bytes(self.data[one.at + 2 : one.at + 12]) for one in reversed(self.main)}

    def valid_entries(self) -> dict[int, bytes]:
        """The same for a file that other programs read strictly: only values inside the block, which do not overlap."""
        entries: dict[int, bytes] = {}
        left = len(self.data)
        for one in self.main:
            place = self.place(one)
            if one.kind in SIZES and one.tag not in entries and place.stop <= len(self.data) and len(place) <= left:
                entries[one.tag] = bytes(self.data[one.at + 2 : one.at + 12])
                left -= len(place)
        return entries

    def entry(self, kind: int, count: int, value: bytes) -> bytes:
        """The 10 bytes of a field after its tag; a value of more than 4 bytes is appended to the block."""
        if len(value) > 4:
            self.data += bytes(len(self.data) % 2)
            value, place = struct.pack(f"{self.order}I", len(self.data)), value
            self.data += place
        return struct.pack(f"{self.order}HI", kind, count) + value.ljust(4, b"\0")

    def _child(self, directory: list[Field], tag: int) -> list[Field]:
        return [one for pointer in fields(directory, tag)[:1] for one in self._directory(self.number(pointer.at + 8))]

    def _directory(self, start: int) -> list[Field]:
        """The fields of a directory, as far as the block has them; none where it overlaps another directory."""
        found = list(self._fields(start))
        place = range(start, start + 6 + 12 * len(found))
        if not found or any(_overlap(place, other) for other in self._directories):
            self.whole = False
            return []
        self._directories.append(place)
        if len(found) < self.number(start, SHORT) or any(self.place(one).stop > len(self.data) for one in found):
            self.whole = False
        return found

    def _fields(self, start: int) -> Iterator[Field]:
        count = min(self.number(start, SHORT), MOST_FIELDS)
        for at in range(start + 2, min(start + 2 + 12 * count, len(self.data) - 11), 12):
            tag, kind, count = struct.unpack_from(f"{self.order}HHI", self.data, at)
            yield Field(tag, kind, count, at)

    def _rational(self, field: Field) -> float:
        place = self.place(field)
        if field.kind != RATIONAL or place.stop > len(self.data):
            return 0
        return self.number(place.start) / (self.number(place.start + 4) or 1)

    def _set_rationals(self, field: Field, numerators: Sequence[int], denominator: int) -> None:
        """Set the values of a field that has as many, where they are in the block and are no directory's bytes."""
        place = self.place(field)
        fits = (field.kind, field.count) == (RATIONAL, len(numerators)) and place.stop <= len(self.data)
        if fits and not any(_overlap(place, other) for other in self._directories):
            numbers = [number for numerator in numerators for number in (numerator, denominator)]
            struct.pack_into(f"{self.order}{len(numbers)}I", self.data, place.start, *numbers)

    def _mend_resolution(self) -> None:
        """Give the resolutions the type that they must have; Pillow cannot open a JPEG where they have another one."""
        for one in fields(self.main, X_RESOLUTION) + fields(self.main, Y_RESOLUTION):
            if (one.kind, one.count) != (RATIONAL, 1):
                value = self.number(one.at + 8, one.kind) if one.kind in SIZES and one.count == 1 else 0
                rational = struct.pack(f"{self.order}II", max(value, 0) or USUAL_DPI, 1)
                self.data[one.at + 2 : one.at + 12] = self.entry(RATIONAL, 1, rational)

    def remove_thumbnail(self) -> None:
        """Unlink the second directory, which describes the thumbnail, and clear its bytes, unless others use them."""
        start = self.number(self._link)
        if not start or self._link + 4 > len(self.data):
            return
        self.data[self._link : self._link + 4] = bytes(4)
        used = [*self._directories, *map(self.place, self._kept)]
        there = list(self._fields(start))
        values = {one.tag: self.number(one.at + 8) for one in there}
        thumbnail = values.get(THUMBNAIL, 0)
        unused = [range(start, start + 6 + 12 * len(there)), *map(self.place, there)]
        unused += [range(thumbnail, thumbnail + values.get(THUMBNAIL_BYTES, 0))]
        cleared = len(self.data)  # from here on, all that is unused is cleared already
        for place in sorted(unused, key=lambda place: -place.stop):
            if place.stop > len(self.data) or any(_overlap(place, other) for other in used):
                continue
            if place.stop == len(self.data):
                del self.data[place.start :]
            elif place.start < cleared:
                stop = min(place.stop, cleared)
                self.data[place.start : stop] = bytes(stop - place.start)
                cleared = place.start

    def _remove_rest(self) -> None:
        """Remove the bytes at the end that no field refers to: some phones have a large preview there."""
        if self.whole and all(one.kind in SIZES and one.tag not in REFERRING for one in self._kept):
            del self.data[max(place.stop for place in (*self._directories, *map(self.place, self._kept))) :]

    @property
    def _kept(self) -> list[Field]:
        return [*self.main, *self.exif, *self.interoperability, *self._gps]


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def fields(directory: list[Field], tag: int) -> list[Field]:
    """The fields of a directory with a tag; a damaged block may have several."""
    return [one for one in directory if one.tag == tag]


def with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """Return a block with this resolution in its first directory.

    Args:
        exif: a block, or None for a new one.
        dpi: px per inch across and down.
    """
    block = Block(exif) if exif else empty()
    block.remove_thumbnail()  # nothing links to it from the new directory
    entries = block.main_entries()
    for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
        whole = abs(value - round(value)) < 0.01  # a PNG has px per metre, so 300 dpi become 299.9994
        numbers = (round(value), 1) if whole else (round(value * 1000), 1000)
        rational = struct.pack(f"{block.order}II", *numbers)
        entries[tag] = block.entry(RATIONAL, 1, rational)
    entries[UNIT] = block.entry(SHORT, 1, struct.pack(f"{block.order}H", PER_INCH))
    block.replace_main(entries)
    return bytes(block.data)


def empty() -> Block:
    """A new block. Its only field is the unit of a resolution."""
    return Block(HEADER + struct.pack("<HHHIH2xI", 1, UNIT, SHORT, 1, PER_INCH, 0))


def is_empty(data: bytes) -> bool:
    """Whether a block consists of a header and a first directory without fields, as some programs write it."""
    order = BYTE_ORDERS.get(data[:4])
    start = int.from_bytes(data[4:8], "little" if order == "<" else "big")
    return order is not None and len(HEADER) <= start < len(data) and data[start : start + 2] == bytes(2)
