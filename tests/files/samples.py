"""Pictures, and helpers to compare them, for the tests in this folder."""

import struct

import numpy as np
from PIL import Image

from facemend.files.encode import encode
from facemend.records import Picture
from tests.hostile import chunk

ORIENTATION, MAKE, EXIF_IFD, GPS_IFD = 0x0112, 0x010F, 0x8769, 0x8825


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def scene(width=48, height=32):
    """A smooth picture without symmetry: red grows to the right, green downwards, one blue corner."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack((x * 255 // (width - 1), y * 255 // (height - 1), np.zeros_like(x)), axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 4, 2] = 255
    return pixels


def png16(samples, *extra):
    """A 16-bit PNG as another program would write it; `extra` chunks go before the pixels."""
    data = encode(Picture(samples), "png")
    return data[:33] + b"".join(chunk(*one) for one in extra) + data[33:]


def close(a, b, tolerance):
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).max() <= tolerance


def orientation_block(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()


def with_thumbnail(block):
    """Append a second image directory to a big-endian EXIF block."""
    entries = struct.unpack(">H", block[8:10])[0]
    link = 10 + 12 * entries
    directory = struct.pack(">HHHII", 1, 0x010E, 2, 11, len(block) + 18) + bytes(4) + b"thumbnail!\0"
    return block[:link] + struct.pack(">I", len(block)) + block[link + 4 :] + directory
