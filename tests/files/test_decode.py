"""Decoding: sources, modes, transparency, limits, thread safety."""

import io
import os
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin

from facemend.errors import DecodeError, TooLargeError
from facemend.files import choice
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.png import SIGNATURE, chunk, chunks
from facemend.records import ONLY_FIRST, Metadata, Picture, Settings
from tests.files.samples import ORIENTATION, close, noise, orientation_block, png16, scene
from tests.hostile import png, saved, saved_heif, whole


def test_a_pillow_image_is_not_changed():
    image = Image.open(io.BytesIO(saved(Image.fromarray(scene()), "jpeg", exif=orientation_block(6))))
    assert decode(image).pixels.shape == (48, 32, 3)
    assert decode(image).format == "jpeg"
    assert image.getexif()[ORIENTATION] == 6
    assert image.size == (48, 32)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif", "heif"])
def test_colour_channels_keep_their_order(kind):
    red = Image.new("RGB", (64, 48), (230, 20, 10))
    picture = decode(saved_heif(red) if kind == "heif" else saved(red, kind))
    assert picture.format == kind
    assert not picture.lost
    assert picture.alpha is None
    assert close(picture.pixels, np.full((48, 64, 3), (230, 20, 10)), 6)
    out = choice.choose(picture).name
    assert close(decode(encode(picture, out)).pixels, picture.pixels, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_grey_modes_are_decoded_as_grey(mode, kind):
    if mode == "I;16":
        image = Image.fromarray(noise((5, 7), np.uint16))
    else:
        image = Image.fromarray(noise((5, 7, 3))).convert("L").convert(mode)
    picture = decode(saved(image, kind))
    assert picture.grey
    assert picture.pixels.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    assert (picture.alpha is not None) == (mode == "LA")
    expected = np.asarray(image if mode == "I;16" else image.convert("L"))
    assert np.array_equal(picture.pixels, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("mode", "key"), [("P", 0), ("P", b"\0\x80"), ("L", 0), ("1", 0), ("RGB", (0, 0, 0)), ("I;16", 0)]
)
def test_png_transparency_becomes_alpha(mode, key):
    if mode == "I;16":
        image = Image.fromarray(np.array([[0, 65535], [65535, 65535]], np.uint16))
    else:
        image = Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)).convert(mode)
    if mode == "P":
        image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8), "L")
        image.putpalette([0, 0, 0, 255, 0, 0])
    picture = decode(saved(image, "png", transparency=key))
    white = np.iinfo(picture.pixels.dtype).max
    half = 128 if key == b"\0\x80" else white
    assert picture.alpha.tolist() == [[0, half], [half, half]]
    assert picture.grey == (mode in ("1", "L", "I;16"))
    assert (picture.pixels == picture.pixels[0, 1]).all()  # the transparent pixel has the colour of its neighbours


def test_a_matrix_is_an_array():
    array = scene()[..., 0]
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(array)
    assert np.array_equal(decode(matrix).pixels, decode(array).pixels)


def test_a_name_that_no_file_can_have_is_an_error_of_one_line():
    with pytest.raises(DecodeError, match="no file can have this name"):
        decode("\ud800.png")


def test_opaque_alpha_is_kept():
    picture = decode(saved(Image.fromarray(scene()).convert("RGBA"), "png"))
    assert (picture.alpha == 255).all()


def test_transparent_pixels_take_the_visible_colour():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (200, 100, 50, 255)
    picture = decode(pixels)
    assert (picture.pixels == (200, 100, 50)).all()
    smaller = cv2.resize(picture.pixels, (20, 20), interpolation=cv2.INTER_AREA)
    assert (smaller == (200, 100, 50)).all()


def test_transparent_pixels_take_the_nearest_colour():
    pixels = np.zeros((9, 9, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[8, 8] = (0, 0, 255, 9)
    picture = decode(pixels)
    assert picture.pixels[1, 1].tolist() == [255, 0, 0]
    assert picture.pixels[7, 7].tolist() == [0, 0, 255]
    assert np.array_equal(picture.alpha, pixels[..., 3])
    assert pixels[4, 4].tolist() == [0, 0, 0, 0]  # the caller's array is unchanged


def test_a_fully_transparent_picture_is_decoded():
    picture = decode(np.zeros((3, 4, 4), np.uint16))
    assert picture.pixels.shape == (3, 4, 3)
    assert not picture.alpha.any()


@pytest.mark.parametrize(
    ("shape", "grey", "alpha"), [((3, 4), True, False), ((3, 4, 3), False, False), ((3, 4, 4), False, True)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_are_accepted(shape, grey, alpha, dtype):
    picture = decode(np.maximum(noise(shape, dtype), 1))
    assert picture.pixels.shape == (3, 4, 3)
    assert picture.pixels.dtype == dtype
    assert (picture.grey, picture.alpha is not None, picture.format) == (grey, alpha, "")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_an_array_that_is_changed_later_does_not_change_the_picture(shape):
    array = np.full(shape, 90, np.uint8)
    picture = decode(array)
    array[:] = 7
    assert (picture.pixels == 90).all()
    assert picture.alpha is None or (picture.alpha == 90).all()


@pytest.mark.parametrize("array", [np.zeros((3, 4, 3)), np.zeros((3, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(array):
    with pytest.raises(DecodeError):
        decode(array)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_modes_are_refused(mode):
    with pytest.raises(DecodeError, match=f"mode {mode}"):
        decode(Image.new(mode, (3, 3)))


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff", "avif"])
def test_the_first_of_several_pictures_is_decoded(kind):
    frames = [Image.new("RGB", (40, 30), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    picture = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert picture.lost == (ONLY_FIRST,)
    assert close(picture.pixels, np.full((30, 40, 3), (250, 0, 0)), 6)


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_alpha_of_a_tiff_is_divided_out(bits):
    unit = 257 if bits == 16 else 1
    samples = np.full((3, 3, 4), (100 * unit, 50 * unit, 0, 128 * unit), f"u{bits // 8}")
    data = bytearray(encode(Picture(samples[..., :3], samples[..., 3]), "tiff"))
    entry = data.index(struct.pack("<HHI", 338, 3, 1))
    data[entry + 8] = 1  # alpha is premultiplied
    picture = decode(bytes(data))
    assert close(picture.pixels, np.full((3, 3, 3), (199 * unit, 100 * unit, 0)), unit)
    assert (picture.alpha == 128 * unit).all()


@pytest.mark.parametrize("error", [AttributeError, KeyError, ValueError, RuntimeError])
def test_a_fault_of_this_package_is_not_called_damage(error, monkeypatch):
    def faulty(*given):
        raise error("a fault")

    data = saved(Image.fromarray(scene()), "jpeg")
    for place in ("facemend.files.metadata.read", "facemend.files.colour.to_srgb", "facemend.files.jpeg.check"):
        with monkeypatch.context() as patch:
            patch.setattr(place, faulty)
            with pytest.raises(error, match="a fault"):
                decode(data)
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", faulty)
    with pytest.raises(DecodeError, match="damaged, cut short or unsupported .*a fault"):
        decode(data)


@pytest.mark.parametrize("kind", ["path", "stream"])
def test_a_pillow_image_of_16_bits_is_read_with_16_bits_or_named_as_reduced(kind, tmp_path):
    deep = noise((5, 7, 3), np.uint16)
    for data in (png16(deep), encode(Picture(deep), "tiff")):
        path = tmp_path / "deep"
        path.write_bytes(data)
        with Image.open(path if kind == "path" else io.BytesIO(data)) as image:
            assert np.array_equal(decode(image).pixels, deep)
            assert image.tile, "it is still not loaded"
            image.load()
            picture = decode(image)
        assert picture.pixels.dtype == np.uint8
        if image.format == "TIFF" or kind == "path":
            assert picture.lost == ("8 of 16 bits (Pillow has reduced this image)",)


def test_a_pillow_image_of_a_later_page_is_that_page():
    pages = [np.full((6, 5, 3), value, np.uint16) for value in (1000, 60000)]
    with Image.open(io.BytesIO(cv2.imencodemulti(".tiff", pages)[1].tobytes())) as image:
        image.seek(1)
        assert np.abs(decode(image).pixels.astype(int) - 60000 // 257).max() <= 1


def test_a_pillow_image_of_a_png_has_all_that_the_file_has():
    header, *others = chunks(saved(Image.fromarray(scene()), "png"))
    said = (b"cICP", bytes([12, 13, 0, 1])), (b"tEXt", b"Comment\0one"), (b"tEXt", b"parameters\0a prompt")
    data = SIGNATURE + b"".join(chunk(*one) for one in (header, *said, *others))
    expected = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        picture = decode(image)
    assert np.array_equal(picture.pixels, expected.pixels)
    assert not np.array_equal(picture.pixels, scene()), "the colours are those of Display P3"
    assert picture.metadata == expected.metadata
    assert (picture.metadata.comment, picture.metadata.text) == (b"one", said[2:])


@pytest.mark.parametrize(("kind", "several"), [(0x020002, True), (0x010001, False), (0, False)])
def test_pictures_of_other_viewpoints_in_a_jpeg_are_named(kind, several):
    frames = [Image.fromarray(scene()), Image.fromarray(scene()[::-1])]
    data = saved(frames[0], "mpo", save_all=True, append_images=frames[1:])
    second = data.index(bytes(4) + struct.pack("<I", 0x030000), data.index(b"MPF\0")) + 4 + 16
    picture = decode(data[:second] + struct.pack("<I", kind) + data[second + 4 :])
    assert (ONLY_FIRST in picture.lost) == several
    start = data.index(b"MPF\0")
    for place, other in ((8, bytes(4)), (28, b"\1\xb0\2"), (40, b"\2\xb0\4")):  # the index is damaged
        assert ONLY_FIRST not in decode(data[: start + place] + other + data[start + place + len(other) :]).lost


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_avif_of_more_bits_is_named_as_reduced(bits):
    values = noise((16, 16, 3), np.uint16) >> (16 - bits)
    image = values.astype(np.uint8) if bits == 8 else values
    picture = decode(cv2.imencode(".avif", image, [cv2.IMWRITE_AVIF_DEPTH, bits])[1].tobytes())
    assert picture.pixels.dtype == np.uint8
    assert picture.lost == (() if bits == 8 else (f"8 of {bits} bits (Pillow reads no more)",))


def test_decode_is_thread_safe():
    filters, level = list(warnings.filters), cv2.utils.logging.getLogLevel()
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda data: decode(data).pixels.shape[2], list(whole().values()) * 10))
    assert set(shapes) == {3}
    assert warnings.filters == filters
    assert cv2.utils.logging.getLogLevel() == level


def test_the_limit_is_checked_before_decoding():
    tracemalloc.start()
    with pytest.raises(TooLargeError) as caught:
        decode(png(60000, 60000, zlib.compress(bytes(10))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.pixels == 3_600_000_000
    assert "raise max_input_mp" in str(caught.value)
    assert peak < 5e6


@pytest.mark.parametrize("source", [scene(), Image.fromarray(scene()), saved(Image.fromarray(scene()), "webp")])
def test_the_limit_is_exact(source):
    assert decode(source, Settings(max_input_mp=48 * 32 / 1e6)).pixels.shape == (32, 48, 3)
    with pytest.raises(TooLargeError):
        decode(source, Settings(max_input_mp=(48 * 32 - 1) / 1e6))


def test_large_pictures_do_not_warn(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for kind in ("jpeg", "png", "tiff"):
        assert decode(saved(Image.fromarray(scene()), kind)).pixels.shape == (32, 48, 3)


def test_files_that_are_not_pictures_are_refused(tmp_path):
    text, empty = tmp_path / "text.png", tmp_path / "empty.jpg"
    text.write_text("this is text")
    empty.touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, words in (
        (tmp_path / "pipe.jpg", "a pipe"),
        (text, "format is unknown"),
        (empty, "it is empty; use a complete copy"),
        (tmp_path, "directory"),
        (tmp_path / "missing.png", "No such file"),
        ("", "cannot open '': "),
    ):
        with pytest.raises(DecodeError, match=words) as caught:
            decode(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%PDF-1.4 nothing", r"its format is unknown \(it starts with '%PDF-1.4'\)"),
        (b"\xfe\n\0\xe9 nothing", r"its format is unknown \(it starts with '\\xfe\\n\\x00\\xe9 not'\)"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", r"it is a video, .* \(brand 'qt'\)"),
        (
            b"\0\0\0\x18ftypisom\0\0\0\1isomavc1",
            r"it is a video, or a picture of a kind that is not read \(brand 'isom'\)",
        ),
    ],
)
def test_an_unknown_format_is_shown_by_its_first_bytes_and_a_video_by_its_brand(head, words):
    with pytest.raises(DecodeError, match=f"the picture: {words}; give a JPEG, PNG"):
        decode(head)


def test_the_format_is_recognised_by_the_content_not_the_suffix(tmp_path):
    path = tmp_path / "picture.txt"
    path.write_bytes(whole()["gif"])
    assert decode(path).format == decode(str(path)).format == "gif"


def test_decoders_warnings_are_not_shown(capfd):
    unknown = Image.Exif()
    unknown[0xF123] = "a tag nobody knows"
    deep = noise((4, 5, 3), np.uint16)
    info = PngImagePlugin.PngInfo()
    info.add(b"acTL", struct.pack(">II", 0, 0))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(saved(Image.fromarray(scene()), "png", pnginfo=info))
        decode(saved(Image.fromarray(scene()), "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0" + b"\x0e\x01\2\0" * 20))
        complaints = {b"sRGB": b"\x09", b"bKGD": b"\1", b"tIME": b"\xff" * 7, b"eXIf": b"junk"}  # of libpng
        complaints[b"iCCP"] = b"x\0\0" + zlib.compress(b"junk" * 40)
        for complaint in complaints.items():
            assert np.array_equal(decode(png16(deep, complaint)).pixels, deep)
        assert np.array_equal(
            decode(encode(Picture(deep, metadata=Metadata(exif=unknown.tobytes()[6:])), "tiff")).pixels, deep
        )
    assert seen == []
    assert capfd.readouterr() == ("", "")
