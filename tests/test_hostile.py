"""Real broken files, and the official PNG test suite."""

import time

import numpy as np
import pytest
from PIL import Image

from facemend import images
from facemend.encode import encode, output_format
from facemend.errors import FacemendError
from facemend.records import Picture, Settings

pytestmark = pytest.mark.weights


def test_hostile_files_give_a_picture_or_our_error(shared, capfd):
    paths = [path for path in sorted((shared / "data" / "hostile").rglob("*")) if path.is_file()]
    assert len(paths) > 100
    for path in paths:
        start = time.perf_counter()
        try:
            picture = images.decode(path)
        except FacemendError as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(picture, Picture)
            assert picture.pixels.shape[2] == 3
        assert time.perf_counter() - start < 10, path
    assert capfd.readouterr() == ("", "")


def test_valid_png_suite_equals_pillow(shared):
    paths = [p for p in sorted((shared / "data" / "hostile" / "pngsuite").glob("*.png")) if not p.name.startswith("x")]
    assert len(paths) > 150
    for path in paths:
        picture = images.decode(path, Settings(max_input_mp=1))
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGBA"), dtype=int)
            sixteen = path.stem.endswith("16")
            assert picture.pixels.dtype == (np.uint16 if sixteen else np.uint8), path
            visible = expected[..., 3] > 0
            if image.mode == "I;16":  # Pillow's conversion of this mode to RGBA clips
                grey = np.asarray(image, dtype=int)
                key = image.info.get("transparency")
                assert (picture.pixels == grey[..., None])[grey != key].all(), path
                assert key is None or np.array_equal(picture.alpha == 0, grey == key), path
            else:
                seen = picture.pixels >> 8 if sixteen else picture.pixels
                assert (seen == expected[..., :3])[visible].all(), path
                alpha = np.full(visible.shape, 255) if picture.alpha is None else picture.alpha >> (8 * sixteen)
                if not (sixteen and "transparency" in image.info):  # Pillow compares 8 of the 16 bits
                    assert (alpha == expected[..., 3]).all(), path


def test_broken_png_suite_is_refused(shared):
    paths = sorted((shared / "data" / "hostile" / "pngsuite").glob("x*.png"))
    assert len(paths) > 5
    for path in paths:
        if path.name == "xcsn0g01.png":  # one wrong checksum over whole pixels, which Pillow reads
            continue
        with pytest.raises(FacemendError):
            images.decode(path, Settings(max_input_mp=1))


def test_sample_formats(shared):
    for path in sorted((shared / "data" / "formats").iterdir()):
        picture = images.decode(path)
        again = images.decode(encode(picture, output_format(picture)))
        assert again.pixels.dtype == picture.pixels.dtype
        assert again.grey == picture.grey
        assert picture.format == "jpeg" or np.array_equal(again.pixels, picture.pixels)
