from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facemend.draw import before_after, numbered
from facemend.errors import OptionError, OutputPathError
from facemend.records import Metadata, Picture
from facemend.result import Result
from tests.pictures import face_at, similarity, smooth


def result(picture):
    return Result(picture=picture, before=picture, faces=(), restorer="none", upscaler="lanczos", seconds={})


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".webp", ".tif", ".tiff"])
def test_save_takes_the_format_from_the_suffix(tmp_path, suffix):
    path = result(Picture(smooth(30, 40))).save(tmp_path / f"new{suffix}")
    with Image.open(path) as image:
        assert image.size == (40, 30)
        kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}.get(suffix.lower(), suffix[1:].upper())
        assert image.format == kind


@pytest.mark.parametrize("name", ["new", "new.gif", "new.xyz"])
def test_save_refuses_other_suffixes(tmp_path, name):
    with pytest.raises(OptionError, match=".png, .webp"):
        result(Picture(smooth(30, 40))).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quality", [0, 101, 90.5, "high"])
def test_save_refuses_invalid_quality(tmp_path, quality):
    with pytest.raises(OptionError, match="1 to 100"):
        result(Picture(smooth(30, 40))).save(tmp_path / "new.jpg", quality=quality)


def test_save_refuses_a_format_without_transparency(tmp_path):
    picture = Picture(smooth(30, 40), alpha=np.full((30, 40), 9, np.uint8))
    with pytest.raises(OutputPathError, match=r"new\.jpg', but must be png, .* a picture with transparency"):
        result(picture).save(tmp_path / "new.jpg")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        (Picture(smooth(9, 8)), "RGB"),
        (Picture(smooth(9, 8, np.uint16)), "RGB"),
        (Picture(smooth(9, 8), grey=True), "L"),
        (Picture(smooth(9, 8), alpha=np.zeros((9, 8), np.uint8)), "RGBA"),
        (Picture(smooth(9, 8), grey=True, alpha=np.zeros((9, 8), np.uint8)), "LA"),
    ],
)
def test_image_has_the_mode_of_the_picture(picture, mode):
    image = result(picture).image
    assert image.mode == mode
    assert image.size == (8, 9)


def test_the_comparison_shows_before_beside_after():
    before, after = Picture(np.zeros((20, 30, 3), np.uint8)), Picture(np.full((40, 60, 3), 9, np.uint8))
    both = before_after(before, after)
    assert both.shape == (40, 124, 3)
    assert (both[:, :60] == 0).all()
    assert (both[:, 64:] == 9).all()


def test_transparent_parts_are_drawn_on_white():
    clear = Picture(np.zeros((20, 30, 3), np.uint8), alpha=np.zeros((20, 30), np.uint8))
    assert (before_after(clear, clear) == 255).all()


def test_boxes_are_drawn_on_a_copy():
    picture = Picture(np.full((200, 200, 3), 90, np.uint8))
    face = face_at(similarity(4, 0, -150, -150))
    drawn = numbered(picture, [face, face.done("net", 1)])
    assert (picture.pixels == 90).all()
    x0, y0, _, _ = (round(value) for value in face.box)
    assert (drawn[y0 + 20, x0] != 90).any()
    assert (drawn[150, 150] == 90).all()


@pytest.mark.parametrize("restored", [True, False])
def test_boxes_are_green_for_restored_and_orange_for_other_faces(restored):
    face = face_at(similarity(4, 0, -150, -150))
    drawn = numbered(Picture(smooth(200, 200)), [face.done("net", 1) if restored else face])
    x0, y0, _, _ = (round(value) for value in face.box)
    red, green, _ = drawn[y0 + 20, x0]
    assert (green > red) == restored


def test_the_report_has_the_width_first_and_small_repairs():
    mask = np.zeros((300, 400), np.float32)
    mask[0, :12] = 1
    report = replace(result(Picture(smooth(300, 400))), mask=mask).report()
    assert report["size"] == [400, 300]
    assert report["repaired"] == 0.0001


def test_what_is_stripped_is_not_lost():
    picture = Picture(smooth(8, 8), metadata=Metadata(comment=b"a"))
    assert result(picture).lost("new.webp") == ("comment (WebP has no place for it)",)
    assert result(picture).lost("new.webp", strip_metadata=True) == ()
