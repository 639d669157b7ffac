"""The table of file formats."""

import numpy as np
import pytest

from facemend.errors import OptionError
from facemend.files import formats
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.records import Picture
from tests.files.samples import scene


@pytest.mark.parametrize(
    ("kind", "alpha", "dtype", "expected"),
    [
        ("jpeg", False, np.uint8, "jpeg"),
        ("jpeg", True, np.uint8, "png"),
        ("webp", True, np.uint8, "webp"),
        ("tiff", True, np.uint16, "tiff"),
        ("png", False, np.uint16, "png"),
        ("heif", False, np.uint8, "jpeg"),
        ("avif", True, np.uint8, "png"),
        ("avif", False, np.uint8, "jpeg"),
        ("bmp", False, np.uint8, "png"),
        ("gif", True, np.uint8, "png"),
        ("", False, np.uint8, "png"),
        ("", False, np.uint16, "png"),
    ],
)
def test_auto_keeps_the_format_of_the_input_where_possible(kind, alpha, dtype, expected):
    picture = Picture(np.zeros((2, 2, 3), dtype), np.ones((2, 2), dtype) if alpha else None, format=kind)
    assert formats.choose(picture).name == expected
    assert decode(encode(picture, expected)).format == expected


def test_auto_takes_png_for_pictures_too_large_for_the_format():
    assert formats.choose(Picture(np.zeros((16384, 1, 3), np.uint8), format="webp")).name == "png"
    assert formats.choose(Picture(np.zeros((1, 65501, 3), np.uint8), format="jpeg")).name == "png"
    for shape in ((16383, 1, 3), (1, 16383, 3)):
        assert decode(encode(Picture(np.zeros(shape, np.uint8)), "webp")).pixels.shape == shape
    assert decode(encode(Picture(np.zeros((65500, 1, 3), np.uint8)), "jpeg")).pixels.shape == (65500, 1, 3)


def test_choose_takes_names_and_suffixes():
    picture = Picture(scene())
    assert formats.choose(picture, "jpg").name == "jpeg"
    assert all(formats.choose(picture, row.name) == row for row in formats.WRITABLE)
    with pytest.raises(OptionError, match="bmp"):
        formats.choose(picture, "bmp")
