"""PNG and TIFF files with 16 bits per channel."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.records import Picture
from tests.files.samples import noise, png16
from tests.hostile import chunk


def test_transparent_colour_of_a_16_bit_png_becomes_alpha():
    samples = noise((4, 4, 3), np.uint16)
    key = samples[1, 2].astype(">u2").tobytes()
    picture = decode(png16(samples, (b"tRNS", key)))
    assert picture.alpha.dtype == np.uint16
    assert (np.argwhere(picture.alpha == 0) == [[1, 2]]).all()


@pytest.mark.parametrize(("bits", "row"), [(2, b"\x1b"), (4, b"\x01\x23")])
def test_transparent_grey_of_few_bits_becomes_alpha(bits, row):
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"tRNS", struct.pack(">H", 1)), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")
    picture = decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert picture.alpha.tolist() == [[255, 0, 255, 255]]


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 4)])
def test_16_bit_files_stay_16_bit_whatever_their_values(shape):
    samples = noise(shape, np.uint16) % 200
    samples[..., 3:] += 1
    for data in (cv2.imencode(f".{kind}", samples)[1].tobytes() for kind in ("png", "tiff")):
        picture = decode(data)
        assert picture.pixels.dtype == np.uint16
        assert np.array_equal(picture.pixels, samples[..., 2::-1])
        assert picture.alpha is None or np.array_equal(picture.alpha, samples[..., 3])


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 4), (6, 5)])
def test_opencv_reads_the_16_bit_files_we_write(kind, shape):
    samples = noise(shape, np.uint16)
    pixels = samples[..., :3] if len(shape) == 3 else np.repeat(samples[..., None], 3, axis=2)
    alpha = samples[..., 3] if shape[-1] == 4 else None
    data = encode(Picture(pixels, alpha, grey=len(shape) == 2), kind)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen if len(shape) == 2 else seen[..., [2, 1, 0, 3][: shape[2]]], samples)


def test_a_16_bit_tiff_with_white_as_zero_is_inverted():
    data = bytearray(encode(Picture(np.full((3, 3, 3), 1000, np.uint16), grey=True), "tiff"))
    entry = data.index(struct.pack("<HHI", 262, 3, 1))
    data[entry + 8] = 0
    assert (decode(bytes(data)).pixels == 65535 - 1000).all()
