"""EXIF blocks as cameras and other programs write them."""

import random
import struct
from typing import NamedTuple

KINDS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # type -> bytes of a value
THUMBNAIL = b"\xff\xd8" + b"thumbnail" * 20 + b"\xff\xd9"
CAPTION = "Großmutter, Łódź, 京都\0".encode()


class Made(NamedTuple):
    """A block, and the places of its fields: "main 274" -> bytes of the field."""

    data: bytes
    order: str
    places: dict[str, range]
    thumbnail: list[range]


def made(seed):
    """A block with random fields of every type, a MakerNote with offsets inside, and maybe a thumbnail."""
    rng = random.Random(seed)
    order = rng.choice("<>")
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    places = {}

    def pack(code, *values):
        return struct.pack(order + code, *values)

    def odd_fields():
        """Fields of all types under tags that nobody knows."""
        for number in range(rng.randrange(8)):
            kind = rng.choice(list(KINDS))
            count = rng.choice([1, 1, 2, 5, 30])
            yield 0xC800 + 100 * kind + number, kind, count, rng.randbytes(KINDS[kind] * count)

    def directory(name, fields, following=0):
        fields = sorted(fields)
        start = len(data)
        data.extend(bytes(6 + 12 * len(fields)))
        rows = b""
        for index, (tag, kind, count, value) in enumerate(fields):
            places[f"{name} {tag}"] = range(start + 2 + 12 * index, start + 14 + 12 * index)
            if len(value) > 4:
                data.extend(bytes(len(data) % 2))
                place = pack("I", len(data))
                data.extend(value)
            else:
                place = value.ljust(4, b"\0")
            rows += pack("HHI", tag, kind, count) + place
        data[start : start + 6 + 12 * len(fields)] = pack("H", len(fields)) + rows + pack("I", following)
        return start

    interoperability = directory("interoperability", [(1, 2, 4, b"R03\0"), (2, 7, 4, b"0100")])
    note = b"MAKER\0" + pack("I", len(data) + 30) + rng.randbytes(50)  # an offset from the start of the block
    exif = directory("exif", [
        (0x829A, 5, 1, pack("II", 1, 60)), (0x927C, 7, len(note), note),
        (0x9286, 7, 8 + len(CAPTION), b"UNICODE\0" + CAPTION), (0xA001, 3, 1, pack("H", 65535)),
        (0xA002, *rng.choice([(3, 1, pack("H", 48)), (4, 1, pack("I", 48))])), (0xA003, 4, 1, pack("I", 32)),
        (0xA005, 4, 1, pack("I", interoperability)), (0xA301, 7, 1, b"\1"), *odd_fields(),
    ])  # fmt: skip
    gps = directory("gps", [(0, 1, 4, b"\2\3\0\0"), (1, 2, 2, b"N\0"), (2, 5, 3, pack("6I", 52, 1, 31, 1, 7, 1))])
    thumbnail, ranges = 0, []
    if rng.random() < 0.7:
        place = len(data)
        data.extend(THUMBNAIL)
        thumbnail = directory("thumbnail", [
            (0x103, 3, 1, pack("H", 6)), (0x201, 4, 1, pack("I", place)), (0x202, 4, 1, pack("I", len(THUMBNAIL)))
        ])  # fmt: skip
        ranges = [range(place, place + len(THUMBNAIL)), range(thumbnail, len(data))]
    optional = [
        (0x0100, 4, 1, pack("I", 48)), (0x0101, 4, 1, pack("I", 32)), (0x010E, 2, len(CAPTION), CAPTION),
        (0x0112, 3, 1, pack("H", rng.randint(1, 8))), (0x011A, 5, 1, pack("II", 300, 1)),
        (0x011B, 5, 1, pack("II", 150, 1)), (0x0128, 3, 1, pack("H", 2)), (0x0132, 2, 20, b"1998:07:12 10:20:30\0"),
    ]  # fmt: skip
    main = [one for one in optional if rng.random() < 0.8]
    main += [(0x010F, 2, 7, b"Camera\0"), (0x8769, 4, 1, pack("I", exif)), (0x8825, 4, 1, pack("I", gps))]
    main += odd_fields()
    start = directory("main", main, thumbnail)
    places["link"] = range(start + 2 + 12 * len(main), start + 6 + 12 * len(main))
    data[4:8] = pack("I", start)
    data.extend(bytes(rng.randrange(20)))
    return Made(bytes(data), order, places, ranges)
