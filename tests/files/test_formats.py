"""The table of file formats: each row is complete, and files are recognised, read and written by their rows."""

import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from facemend.cli import sources
from facemend.errors import OptionError
from facemend.extras import install_command
from facemend.files import choice, formats
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.formats import FORMATS, WRITABLE, Format
from facemend.records import Picture
from tests.files import rare
from tests.files.samples import noise, scene
from tests.hostile import saved, saved_heif

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
ROWS = [pytest.param(row, id=row.name) for row in FORMATS.values()]
WRITTEN = [pytest.param(row, id=row.name) for row in WRITABLE]
AUTO = {  # format of the input: format of the output
    "jpeg": "jpeg",
    "png": "png",
    "webp": "webp",
    "tiff": "tiff",
    "bmp": "png",
    "gif": "png",
    "avif": "jpeg",
    "heif": "jpeg",
    "jxl": "jpeg",
    "raw": "png",
    "psd": "png",
    "exr": "png",
    "radiance": "png",
    "tga": "png",
}
NEEDS = {  # of a picture: the formats that hold it, dtype, alpha, size
    "plain": ({"jpeg", "png", "webp", "tiff"}, np.uint8, False, (2, 2)),
    "16 bits": ({"png", "tiff"}, np.uint16, False, (2, 2)),
    "alpha": ({"png", "webp", "tiff"}, np.uint8, True, (2, 2)),
    "16 bits and alpha": ({"png", "tiff"}, np.uint16, True, (2, 2)),
    "over 16383 px": ({"jpeg", "png", "tiff"}, np.uint8, False, (2, 16384)),
    "over 65500 px": ({"png", "tiff"}, np.uint8, False, (65501, 2)),
}


def written_by_another(name, image):
    light = np.asarray(image, np.float32) / 255
    writers = {
        "heif": lambda: saved_heif(image),
        "raw": rare.dng,
        "psd": lambda: rare.psd(image),
        "exr": lambda: rare.exr(light),
        "radiance": lambda: rare.radiance(light),
        "jxl": lambda: rare.jxl(image),
    }
    return writers.get(name, lambda: saved(image, name))()


def test_every_format_has_an_expected_output_format():
    assert AUTO.keys() == FORMATS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_complete(row):
    assert row.title
    assert row.suffix == row.suffixes[0]
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in row.suffixes)
    reader = pkgutil.resolve_name(row.reader)
    assert issubclass(reader, ImageFile.ImageFile) if isinstance(reader, type) else callable(reader)
    assert bool(row.package) == bool(row.extra)
    assert not row.extra or re.search(rf"^{row.extra} = ", PROJECT.read_text(), re.MULTILINE)
    assert set(row.longest) <= set(row.holds) <= set(formats.METADATA)
    assert bool(row.writer) != bool(row.converted_to)
    if row.writer:
        assert callable(pkgutil.resolve_name(row.writer))
    else:
        assert FORMATS[row.converted_to].writer
        assert (row.deep, row.alpha, row.longest_side) == (False, False, 0), "properties of the writer"


def test_no_suffix_belongs_to_two_formats():
    suffixes = [suffix for row in FORMATS.values() for suffix in row.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert formats.BY_SUFFIX.keys() == set(suffixes)
    assert all(suffix in row.suffixes for suffix, row in formats.BY_SUFFIX.items())


def test_choices_of_the_option_are_the_suffixes_of_the_written_formats():
    assert formats.CHOICES == ("auto", "jpg", "png", "webp", "tiff")


@pytest.mark.parametrize("row", ROWS)
def test_a_file_written_by_another_program_is_recognised_as_its_format_only(row):
    if not row.installed:
        pytest.skip(f"{row.package} is not installed: {install_command(row.extra)}")
    data = written_by_another(row.name, Image.fromarray(scene()))
    head = data[: formats.HEAD]
    assert formats.recognise(head, row.suffix) is row
    others = {other.name for other in FORMATS.values() if other.recognises(head, row.suffix)} - {row.name}
    # AVIF starts like HEIC, and many raw files like TIFF; their rows come first
    assert others == {"avif": {"heif"}, "raw": {"tiff"}}.get(row.name, set())
    assert decode(data).format == row.name


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_every_kind_of_tiff_is_recognised(order, big):
    number = 43 if big else 42
    head = (b"II" + number.to_bytes(2, "little")) if order == "<" else (b"MM" + number.to_bytes(2, "big"))
    assert formats.recognise(head + bytes(60)).name == "tiff"


@pytest.mark.parametrize("head", [b"", b"text" * 16, b"RIFF" + bytes(4) + b"WAVE", b"%PDF-1.4", bytes(64)])
def test_other_files_are_not_recognised(head):
    assert formats.recognise(head) is None


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        *((f"he{letter}{last}", "heif") for letter in "iv" for last in "cmsx"),
        ("mif1", "heif"),
        ("msf1", "heif"),
        ("avif", "avif"),
        ("avis", "avif"),
        ("mif1 0000 miaf heic", "heif"),
        ("mif1 0000 miaf avif", "avif"),
        ("isom 0000 iso2 avc1 mp41", None),
        ("isom 0000 ..he ic..", None),
    ],
)
def test_brands_tell_heic_avif_and_videos(brands, name):
    row = formats.recognise(b"\0\0\0\x20ftyp" + brands.replace(" ", "").encode())
    assert (row and row.name) == name


@pytest.mark.parametrize("row", WRITTEN)
def test_a_written_file_is_recognised_and_holds_what_the_row_says(row):
    dtype = np.uint16 if row.deep else np.uint8
    alpha = np.maximum(noise((32, 48), dtype), 1) if row.alpha else None
    picture = Picture(scene().astype(dtype) * (257 if row.deep else 1), alpha)
    data = encode(picture, row.name, 100)
    assert formats.recognise(data[: formats.HEAD]) is row
    again = decode(data)
    assert again.format == row.name
    assert again.pixels.dtype == dtype
    assert (again.alpha is None) == (not row.alpha)
    difference = np.abs(again.pixels.astype(int) - picture.pixels)
    assert difference.mean() < (1 if row.deep else 5)


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("row", ROWS)
def test_auto_keeps_the_format_where_it_holds_the_picture_and_takes_png_otherwise(row, need):
    able, dtype, alpha, size = NEEDS[need]
    picture = Picture(np.zeros((2, 2, 3), dtype), np.ones((2, 2), dtype) if alpha else None, format=row.name)
    expected = AUTO[row.name] if AUTO[row.name] in able else "png"
    assert choice.choose(picture, "auto", size).name == expected


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("row", ROWS)
def test_a_requested_format_is_taken_where_it_holds_the_picture_and_refused_otherwise(row, need):
    able, dtype, alpha, size = NEEDS[need]
    picture = Picture(np.zeros((2, 2, 3), dtype), np.ones((2, 2), dtype) if alpha else None)
    for name in (row.name, *(suffix[1:] for suffix in row.suffixes)):
        if row.name in able:
            assert choice.choose(picture, name, size) is row
        else:
            with pytest.raises(OptionError) as caught:
                choice.choose(picture, name, size)
            assert caught.value.name == "format"
            if row.writer:
                assert caught.value.value == name
                assert str(caught.value.allowed).startswith("png, or another format that holds a picture with ")
                assert "png" in able


@pytest.mark.parametrize("row", ROWS)
def test_the_suffix_of_a_file_name_is_the_format(tmp_path, row):
    for suffix in row.suffixes:
        path = tmp_path / f"new{suffix.upper()}"
        if row.writer:
            assert choice.by_suffix(path) is row
        else:
            with pytest.raises(OptionError, match=suffix.upper()):
                choice.by_suffix(path)


def test_a_new_row_is_all_that_a_new_format_needs(tmp_path, monkeypatch):
    """Its files are read, and the command line finds them in folders."""
    row = Format(
        name="ppm",
        title="PPM",
        suffixes=(".ppm", ".pnm"),
        signature=rb"P[56]",
        reader="PIL.PpmImagePlugin:PpmImageFile",
        converted_to="png",
    )
    path = tmp_path / "old.PNM"
    Image.fromarray(scene()).save(path, "ppm")
    failures = []
    assert sources.collect([tmp_path], None, lambda error, path: failures.append(path), print) == []
    assert failures == [tmp_path]
    monkeypatch.setattr(formats, "FORMATS", {**FORMATS, row.name: row})
    monkeypatch.setattr(formats, "BY_SUFFIX", {**formats.BY_SUFFIX, **dict.fromkeys(row.suffixes, row)})
    (source,) = sources.collect([tmp_path], None, lambda error, path: pytest.fail(str(error)), pytest.fail)
    assert source.path == path
    picture = decode(path)
    assert picture.format == "ppm"
    np.testing.assert_array_equal(picture.pixels, scene())
    assert choice.choose(picture).name == "png"


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
    assert choice.choose(picture).name == expected
    assert decode(encode(picture, expected)).format == expected


@pytest.mark.parametrize(("grey", "side"), [(False, 37500), (True, 65000)])
def test_pixels_that_do_not_fit_into_a_tiff_are_refused_before_the_work(grey, side):
    picture = Picture(np.zeros((9, 9, 3), np.uint8), grey=grey, format="tiff")
    assert choice.choose(picture, "auto", (side, side)).name == "tiff"
    assert choice.choose(picture, "auto", (side + 800, side + 800)).name == "png"
    with pytest.raises(OptionError, match="4.2 GB of pixels"):
        choice.choose(picture, "tiff", (side + 800, side + 800))


def test_auto_takes_png_for_pictures_too_large_for_the_format():
    assert choice.choose(Picture(np.zeros((16384, 1, 3), np.uint8), format="webp")).name == "png"
    assert choice.choose(Picture(np.zeros((1, 65501, 3), np.uint8), format="jpeg")).name == "png"
    for shape in ((16383, 1, 3), (1, 16383, 3)):
        assert decode(encode(Picture(np.zeros(shape, np.uint8)), "webp")).pixels.shape == shape
    assert decode(encode(Picture(np.zeros((65500, 1, 3), np.uint8)), "jpeg")).pixels.shape == (65500, 1, 3)


def test_choose_takes_names_and_suffixes():
    picture = Picture(scene())
    assert choice.choose(picture, "jpg").name == "jpeg"
    assert all(choice.choose(picture, row.name) == row for row in formats.WRITABLE)
    with pytest.raises(OptionError, match="bmp"):
        choice.choose(picture, "bmp")
