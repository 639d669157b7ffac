"""ICC profiles of primaries and curves: read, and made for colour spaces that a file only names (ICC.1:2022)."""

import struct
from collections.abc import Sequence

import numpy as np

from facemend.records import Reals

Chromaticity = tuple[float, float]  # x, y of CIE 1931
D50 = np.array((0.9642, 1.0, 0.8249))  # XYZ of the white that profiles refer to
D65: Chromaticity = (0.3127, 0.3290)
BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))
HEADER = 128  # bytes
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # parameters of a curve of kind 3


def made(red: Chromaticity, green: Chromaticity, blue: Chromaticity, white: Chromaticity, gamma: float) -> bytes:
    """Return the profile of a colour space.

    Args:
        red: the primaries.
        green: likewise.
        blue: likewise.
        white: the white.
        gamma: exponent from a value to linear light; 0 for the curve of sRGB.

    Raises:
        ValueError: there is no such space.
    """
    columns = rgb_to_xyz(red, green, blue, white)
    if not np.isfinite(columns).all() or not abs(columns).max() < 30000:
        raise ValueError("the primaries make no colour space")
    kind, parameters = (0, (gamma,)) if gamma else (3, SRGB_CURVE)
    curve = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(parameters)
    tags = [(b"wtpt", b"XYZ " + bytes(4) + _fixed(D50))]
    tags += [(name, b"XYZ " + bytes(4) + _fixed(columns[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body = struct.pack(">I", len(tags)), b""
    start = HEADER + 4 + 12 * len(tags)
    for name, value in tags:
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value
    size = HEADER + len(table) + len(body)
    header = struct.pack(">I4xI4s4s4s", size, 0x04000000, b"mntr", b"RGB ", b"XYZ ").ljust(36, b"\0") + b"acsp"
    return (header.ljust(68, b"\0") + _fixed(D50)).ljust(HEADER, b"\0") + table + body


def rgb_to_xyz(red: Chromaticity, green: Chromaticity, blue: Chromaticity, white: Chromaticity) -> Reals:
    """Return the matrix (3, 3) from linear RGB to XYZ relative to D50.

    Raises:
        ValueError: there is none.
    """
    try:
        xyz = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (red, green, blue)]).T
        wanted = np.array((white[0] / white[1], 1, (1 - sum(white)) / white[1]))
        native = xyz * np.linalg.solve(xyz, wanted)
        adaptation = np.diag((BRADFORD @ D50) / (BRADFORD @ wanted))
        return np.asarray(np.linalg.inv(BRADFORD) @ adaptation @ BRADFORD @ native)
    except (ZeroDivisionError, np.linalg.LinAlgError) as error:
        raise ValueError("the primaries make no colour space") from error


def _fixed(numbers: Sequence[float] | Reals) -> bytes:
    """The numbers as s15Fixed16Number."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def tags(profile: bytes) -> dict[bytes, memoryview]:
    """Return the tags of a profile by name (7.3). They are no copies, as many may share the same bytes."""
    data = memoryview(profile)
    (count,) = struct.unpack_from(">I", profile, HEADER)
    rows = (struct.unpack_from(">4sII", profile, HEADER + 4 + 12 * row) for row in range(count))
    return {name: data[offset : offset + size] for name, offset, size in rows}


def is_lab(profile: bytes) -> bool:
    """Whether the profile's curves lead to CIELAB; that of a grey profile then gives L*, not luminance."""
    return profile[20:24] == b"Lab "


def columns(found: dict[bytes, memoryview]) -> Reals:
    """Return the matrix (3, 3) from linear RGB to XYZ, which consists of the profile's primaries."""
    return np.stack([np.frombuffer(found[name], ">i4", 3, 8) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)


def linear_values(tag: bytes | memoryview) -> Reals:
    """Return the linear light, 0 to 1, of each 16-bit value: (65536,) of a curve (10.6 and 10.18).

    Raises ValueError for a curve with values that are not finite.
    """
    x = np.linspace(0, 1, 65536)
    if tag[:4] == b"para":
        numbers = np.frombuffer(tag[12:], ">i4", len(tag[12:]) // 4) / 65536
        kind = int.from_bytes(tag[8:10], "big")
        g, a, b, c, d, e, f = _general_parameters(kind, [float(number) for number in numbers])
        with np.errstate(all="ignore"):
            values = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
        if not np.isfinite(values).all():
            raise ValueError("a curve is not finite")
        return values
    count = int.from_bytes(tag[8:12], "big")
    table = np.frombuffer(tag, ">u2", count, 12)
    if count == 0:
        return x
    if count == 1:
        return x ** (int(table[0]) / 256)
    return np.interp(x, np.linspace(0, 1, count), table / 65535)


def _general_parameters(kind: int, p: list[float]) -> tuple[float, ...]:
    """Return g, a, b, c, d, e, f of a parametric curve: (a x + b)^g + e where x >= d, else c x + f."""
    if kind == 0:
        return p[0], 1, 0, 0, 0, 0, 0
    if kind in (1, 2):
        offset = p[3] if kind == 2 else 0
        return p[0], p[1], p[2], 0, -p[2] / p[1], offset, offset
    return (*p[:5], 0, 0) if kind == 3 else tuple(p[:7])
