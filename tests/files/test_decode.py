import io
import os
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from facemend.errors import DecodeError, OptionError, OutputError, TooLargeError
from facemend.files import formats
from facemend.files.decode import decode
from facemend.files.encode import encode, write
from facemend.records import Picture, Settings
from tests.hostile import chunk, png, saved, saved_heif, whole

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


# Orientation and EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "tiff16", "png16"])
def test_orientation_is_applied_once(kind, orientation):
    undo = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1)}
    undo |= {6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, -1)}
    upright = scene()
    stored = np.ascontiguousarray(undo[orientation](upright))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind.endswith("16"):
        data = encode(Picture(stored.astype(np.uint16) * 257, exif=exif.tobytes()[6:]), kind[:-2])
        upright = upright.astype(np.uint16) * 257
    else:
        options = {"webp": {"lossless": True}, "jpeg": {"quality": 100, "subsampling": 0}}.get(kind, {})
        data = saved(Image.fromarray(stored), kind, exif=exif, **options)
    picture = decode(data)
    assert picture.pixels.shape == upright.shape
    assert close(picture.pixels, upright, 4 if kind == "jpeg" else 0)
    assert picture.exif is None or ORIENTATION not in read_exif(picture.exif)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_turned_with_the_picture(dtype):
    alpha = scene()[..., 0].astype(dtype) // 2 + 1
    data = encode(Picture(scene().astype(dtype), alpha, exif=orientation_block(6)[6:]), "png")
    assert np.array_equal(decode(data).alpha, np.rot90(alpha, -1))


def read_exif(block):
    exif = Image.Exif()
    exif.load(block)
    return exif


@pytest.mark.parametrize(
    ("kind", "depth"), [("jpeg", 8), ("png", 8), ("webp", 8), ("tiff", 8), ("png", 16), ("tiff", 16)]
)
def test_exif_is_kept_without_orientation_and_thumbnail(kind, depth):
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_IFD)[0x829A] = 0.25
    exif.get_ifd(GPS_IFD)[1] = "N"
    block = exif.tobytes()[6:]
    picture = decode(saved(Image.fromarray(scene()), "jpeg", exif=b"Exif\0\0" + with_thumbnail(block)))
    assert b"thumbnail!" not in picture.exif
    if depth == 16:
        picture = Picture(picture.pixels.astype(np.uint16) * 257, exif=picture.exif)
    again = decode(encode(picture, kind))
    kept = read_exif(again.exif)
    assert dict(kept).keys() == {MAKE, EXIF_IFD, GPS_IFD}
    assert (kept[MAKE], kept.get_ifd(EXIF_IFD)[0x829A], kept.get_ifd(GPS_IFD)[1]) == ("Camera", 0.25, "N")
    assert again.pixels.shape == picture.pixels.shape


@pytest.mark.parametrize("source", ["jpeg", "png", "bmp", "tiff"])
@pytest.mark.parametrize(
    ("kind", "depth"), [("jpeg", 8), ("png", 8), ("webp", 8), ("tiff", 8), ("png", 16), ("tiff", 16)]
)
def test_the_resolution_of_a_scan_is_kept(source, kind, depth):
    picture = decode(saved(Image.fromarray(scene()), source, dpi=(300, 150)))
    if depth == 16:
        picture = Picture(picture.pixels.astype(np.uint16) * 257, exif=picture.exif)
    data = encode(picture, kind)
    found = Image.open(io.BytesIO(data))
    block = found.getexif()
    assert (float(block[282]), float(block[283]), block[296]) == pytest.approx((300, 150, 2), abs=0.02)
    if kind != "webp":
        assert found.info["dpi"] == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_a_picture_without_resolution_gets_none(kind):
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    assert decode(saved(Image.fromarray(scene()), kind)).exif is None
    assert dict(read_exif(decode(saved(Image.fromarray(scene()), kind, exif=exif)).exif)) == {MAKE: "Camera"}


@pytest.mark.parametrize(
    ("across", "unit", "dpi"),
    [
        (100.0, 3, 254),
        (96.0, 2, 96),
        (1.0, 2, 1),
        (96.0, 1, None),
        (0.5, 2, None),
        (0.0, 2, None),
        (70000.0, 2, None),
        (None, 2, None),
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_resolution_in_exif_is_written_outside_it_too_where_it_makes_sense(kind, across, unit, dpi):
    exif = Image.Exif()
    exif.update({MAKE: "Camera", 283: across or 1.0, 296: unit})
    if across is not None:
        exif[282] = across
    info = Image.open(io.BytesIO(encode(Picture(scene(), exif=exif.tobytes()[6:]), kind))).info
    found = info.get("dpi") if kind == "png" or info["jfif_unit"] else None
    assert found == (None if dpi is None else pytest.approx((dpi, dpi), abs=0.02))


def with_thumbnail(block):
    """Append a second image directory to a big-endian EXIF block."""
    entries = struct.unpack(">H", block[8:10])[0]
    link = 10 + 12 * entries
    directory = struct.pack(">HHHII", 1, 0x010E, 2, 11, len(block) + 18) + bytes(4) + b"thumbnail!\0"
    return block[:link] + struct.pack(">I", len(block)) + block[link + 4 :] + directory


@pytest.mark.parametrize("block", [b"junk", b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(40)])
def test_damaged_exif_is_ignored(block):
    picture = decode(saved(Image.fromarray(scene()), "jpeg", exif=b"Exif\0\0" + block))
    assert picture.pixels.shape == (32, 48, 3)
    assert picture.exif is None


@pytest.mark.parametrize(("length", "kept"), [(65533, True), (65534, False), (70000, False)])
def test_exif_too_long_for_jpeg_is_left_out(length, kept):
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    picture = Picture(scene(), exif=exif.tobytes().ljust(length, b"\0")[6:])
    assert (decode(encode(picture, "jpeg")).exif is not None) == kept
    assert decode(encode(picture, "png")).exif is not None


def test_a_callers_image_is_not_changed():
    image = Image.open(io.BytesIO(saved(Image.fromarray(scene()), "jpeg", exif=orientation_block(6))))
    assert decode(image).pixels.shape == (48, 32, 3)
    assert decode(image).format == "jpeg"
    assert image.getexif()[ORIENTATION] == 6
    assert image.size == (48, 32)


def orientation_block(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()


# Formats and modes


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([np.uint8, np.uint16]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["png", "tiff"]),
    st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_lossless_round_trip(height, width, dtype, grey, alpha, kind, seed):
    pixels = noise((height, width, 3), dtype, seed)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    picture = Picture(pixels, np.maximum(noise((height, width), dtype, seed + 1), 1) if alpha else None, grey)
    again = decode(encode(picture, kind))
    assert again.pixels.dtype == dtype
    assert np.array_equal(again.pixels, pixels)
    assert (again.alpha is None) == (not alpha)
    assert not alpha or np.array_equal(again.alpha, picture.alpha)
    assert again.format == kind
    if not (grey and alpha and dtype == np.uint16 and kind == "tiff"):  # the one that is written as RGBA
        assert again.grey == grey


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif", "heif"])
def test_red_stays_red(kind):
    red = Image.new("RGB", (64, 48), (230, 20, 10))
    picture = decode(saved_heif(red) if kind == "heif" else saved(red, kind))
    assert picture.format == kind
    assert not picture.several
    assert picture.alpha is None
    assert close(picture.pixels, np.full((48, 64, 3), (230, 20, 10)), 6)
    out = formats.choose(picture).name
    assert close(decode(encode(picture, out)).pixels, picture.pixels, 6)


def test_heif_rotation_is_not_applied_twice():
    exif = orientation_block(6)
    upright = np.rot90(scene(), -1)
    data = saved_heif(Image.fromarray(scene()), exif, quality=-1, chroma=444)
    assert b"irot" in data
    assert close(decode(data).pixels, upright, 12)
    assert close(
        decode(saved(Image.fromarray(scene()), "avif", quality=100, subsampling="4:4:4", exif=exif)).pixels, upright, 12
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_grey_stays_grey(mode, kind):
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
    assert (picture.pixels == picture.pixels[0, 1]).all()  # the hidden pixel took its neighbours' colour


def test_16_bit_rgb_transparency():
    samples = noise((4, 4, 3), np.uint16)
    key = samples[1, 2].astype(">u2").tobytes()
    picture = decode(png16(samples, (b"tRNS", key)))
    assert picture.alpha.dtype == np.uint16
    assert (np.argwhere(picture.alpha == 0) == [[1, 2]]).all()


def test_opaque_alpha_is_kept():
    picture = decode(saved(Image.fromarray(scene()).convert("RGBA"), "png"))
    assert (picture.alpha == 255).all()


def test_transparent_pixels_leave_no_dark_fringe():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = (200, 100, 50, 255)
    picture = decode(pixels)
    assert (picture.pixels == (200, 100, 50)).all()
    smaller = cv2.resize(picture.pixels, (20, 20), interpolation=cv2.INTER_AREA)
    assert (smaller == (200, 100, 50)).all()


def test_hidden_pixels_take_the_nearest_colour():
    pixels = np.zeros((9, 9, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[8, 8] = (0, 0, 255, 9)
    picture = decode(pixels)
    assert picture.pixels[1, 1].tolist() == [255, 0, 0]
    assert picture.pixels[7, 7].tolist() == [0, 0, 255]
    assert np.array_equal(picture.alpha, pixels[..., 3])
    assert pixels[4, 4].tolist() == [0, 0, 0, 0]  # the caller's array is as before


def test_a_wholly_transparent_picture():
    picture = decode(np.zeros((3, 4, 4), np.uint16))
    assert picture.pixels.shape == (3, 4, 3)
    assert not picture.alpha.any()


@pytest.mark.parametrize(
    ("shape", "grey", "alpha"), [((3, 4), True, False), ((3, 4, 3), False, False), ((3, 4, 4), False, True)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays(shape, grey, alpha, dtype):
    picture = decode(np.maximum(noise(shape, dtype), 1))
    assert picture.pixels.shape == (3, 4, 3)
    assert picture.pixels.dtype == dtype
    assert (picture.grey, picture.alpha is not None, picture.format) == (grey, alpha, "")


@pytest.mark.parametrize("array", [np.zeros((3, 4, 3)), np.zeros((3, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(array):
    with pytest.raises(DecodeError):
        decode(array)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_modes_are_refused(mode):
    with pytest.raises(DecodeError, match=f"mode {mode}"):
        decode(saved(Image.new(mode, (3, 3)), "tiff"))


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 4)])
def test_16_bit_type_decides_not_the_content(shape):
    samples = noise(shape, np.uint16) % 200
    samples[..., 3:] += 1
    for data in (cv2.imencode(f".{kind}", samples)[1].tobytes() for kind in ("png", "tiff")):
        picture = decode(data)
        assert picture.pixels.dtype == np.uint16
        assert np.array_equal(picture.pixels, samples[..., 2::-1])
        assert picture.alpha is None or np.array_equal(picture.alpha, samples[..., 3])


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 4), (6, 5)])
def test_other_programs_read_our_16_bits(kind, shape):
    samples = noise(shape, np.uint16)
    pixels = samples[..., :3] if len(shape) == 3 else np.repeat(samples[..., None], 3, axis=2)
    alpha = samples[..., 3] if shape[-1] == 4 else None
    data = encode(Picture(pixels, alpha, grey=len(shape) == 2), kind)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen if len(shape) == 2 else seen[..., [2, 1, 0, 3][: shape[2]]], samples)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff", "avif"])
def test_first_of_many(kind):
    frames = [Image.new("RGB", (40, 30), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    picture = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert picture.several
    assert close(picture.pixels, np.full((30, 40, 3), (250, 0, 0)), 6)


# Colour


def profile(space="sRGB", swap=False, gamma=None):
    """An sRGB profile, optionally with red and green swapped or another gamma."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    rows = {bytes(data[p : p + 4]): p for p in range(132, 132 + 12 * count, 12)}
    if swap:
        red, green = rows[b"rXYZ"], rows[b"gXYZ"]
        data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    if gamma:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
        for name in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">II", data, rows[name] + 4, len(data), len(curve))
        data += curve
        struct.pack_into(">I", data, 0, len(data))
    return bytes(data)


def grey_profile(gamma):
    """A minimal grey ICC profile."""
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = struct.pack(">I", 2) + struct.pack(">4sII", b"wtpt", 156, 20) + struct.pack(">4sII", b"kTRC", 176, 16)
    size = 128 + len(tags) + len(white) + len(curve)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + white + curve


def srgb_of_linear(values):
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "avif"])
def test_profile_is_converted_to_srgb(kind):
    options = {"lossless": True} if kind == "webp" else {"quality": 100}
    image = Image.new("RGB", (32, 32), (10, 240, 10))
    picture = decode(saved(image, kind, icc_profile=profile(swap=True), **options))
    assert close(picture.pixels, np.full((32, 32, 3), (240, 10, 10)), 8)


def test_profile_of_a_palette_is_converted_too():
    picture = Image.fromarray(np.full((8, 8, 3), (200, 30, 30), np.uint8)).quantize(4)
    decoded = decode(saved(picture, "png", icc_profile=profile(swap=True)))
    assert abs(decoded.pixels.astype(int) - (30, 200, 30)).max() <= 2


@pytest.mark.parametrize("data", [b"junk", profile()[:200], bytes(500), grey_profile(1.0)])
def test_unusable_profile_is_ignored(data):
    picture = decode(saved(Image.fromarray(scene()), "png", icc_profile=data))
    assert np.array_equal(picture.pixels, scene())


def test_srgb_profile_changes_nothing():
    for samples in (noise((9, 9, 3)), noise((9, 9, 3), np.uint16)):
        if samples.dtype == np.uint8:
            data = saved(Image.fromarray(samples), "png", icc_profile=profile())
        else:
            data = png16(samples, (b"iCCP", b"x\0\0" + zlib.compress(profile())))
        assert np.array_equal(decode(data).pixels, samples)


def test_grey_profile():
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    picture = decode(saved(Image.fromarray(ramp), "png", icc_profile=grey_profile(1.0)))
    assert picture.grey
    assert (picture.pixels == picture.pixels[..., :1]).all()
    assert close(picture.pixels[0, :, 0], np.rint(srgb_of_linear(ramp[0] / 255) * 255), 1)


@pytest.mark.parametrize("grey", [False, True])
def test_16_bit_profile_keeps_its_precision(grey):
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)
    samples = np.repeat(ramp[None, :, None], 3, axis=2)
    icc = grey_profile(1.0) if grey else profile(gamma=1.0)
    data = encode(Picture(samples, grey=grey), "png")
    body = b"iCCP" + b"x\0\0" + zlib.compress(icc)
    data = data[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    picture = decode(data)
    assert picture.pixels.dtype == np.uint16
    assert close(picture.pixels[0, :, 1], np.rint(srgb_of_linear(ramp / 65535) * 65535), 60)
    assert len(np.unique(picture.pixels[0, :, 1])) > 3900


@pytest.mark.parametrize("gamma", [None, 1.8])
def test_16_bit_conversion_agrees_with_the_8_bit_one(gamma):
    samples = noise((20, 20, 3)).astype(np.uint16) * 257
    icc = profile(swap=True, gamma=gamma)
    deep = decode(png16(samples, (b"iCCP", b"x\0\0" + zlib.compress(icc))))
    flat = decode(saved(Image.fromarray((samples // 257).astype(np.uint8)), "png", icc_profile=icc))
    assert deep.pixels.dtype == np.uint16
    assert close(deep.pixels / 257, flat.pixels, 1.5)


def cmyk_profile(*corners):
    """A CMYK look-up table profile with two nodes per ink: the 16 corners in Lab (8-bit encoded)."""
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table += bytes(range(256)) * 4 + b"".join(bytes(corner) for corner in corners) + bytes(range(256)) * 3
    table += bytes(-len(table) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"A2B0", 176, len(table))
    header = struct.pack(">I4sI4s4s4s", 176 + len(table), b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + white + table


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_cmyk_with_profile(kind):
    corners = [(255, 128, 128), *[(0, 128, 128)] * 7, (220, 60, 200), *[(0, 128, 128)] * 7]  # this cyan is green
    data = saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), kind, icc_profile=cmyk_profile(*corners))
    red, green, blue = decode(data).pixels[8, 8].astype(int)
    assert green > 200 > 120 > max(red, blue)


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_tiff(bits):
    unit = 257 if bits == 16 else 1
    samples = np.full((3, 3, 4), (100 * unit, 50 * unit, 0, 128 * unit), f"u{bits // 8}")
    data = bytearray(encode(Picture(samples[..., :3], samples[..., 3]), "tiff"))
    entry = data.index(struct.pack("<HHI", 338, 3, 1))
    data[entry + 8] = 1  # alpha is premultiplied
    picture = decode(bytes(data))
    assert close(picture.pixels, np.full((3, 3, 3), (199 * unit, 100 * unit, 0)), unit)
    assert (picture.alpha == 128 * unit).all()


def test_16_bit_tiff_where_white_is_zero():
    data = bytearray(encode(Picture(np.full((3, 3, 3), 1000, np.uint16), grey=True), "tiff"))
    entry = data.index(struct.pack("<HHI", 262, 3, 1))
    data[entry + 8] = 0
    assert (decode(bytes(data)).pixels == 65535 - 1000).all()


def test_threads():
    filters, level = list(warnings.filters), cv2.utils.logging.getLogLevel()
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda data: decode(data).pixels.shape[2], list(whole().values()) * 10))
    assert set(shapes) == {3}
    assert warnings.filters == filters
    assert cv2.utils.logging.getLogLevel() == level


def test_cmyk_without_profile():
    picture = decode(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg", quality=100))
    assert close(picture.pixels, np.full((16, 16, 3), (255, 0, 0)), 6)
    assert not picture.grey


def test_lab():
    plain, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(scene()), plain, lab, outputMode="LAB")
    assert close(decode(saved(image, "tiff")).pixels, scene(), 40)  # Lab in 8 bits is coarse


# Limits and damage


def test_limit_is_checked_before_decoding():
    tracemalloc.start()
    with pytest.raises(TooLargeError) as caught:
        decode(png(60000, 60000, zlib.compress(bytes(10))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.pixels == 3_600_000_000
    assert "raise max_input_mp" in str(caught.value)
    assert peak < 5e6


@pytest.mark.parametrize("source", [scene(), Image.fromarray(scene()), saved(Image.fromarray(scene()), "webp")])
def test_limit_is_exact(source):
    assert decode(source, Settings(max_input_mp=48 * 32 / 1e6)).pixels.shape == (32, 48, 3)
    with pytest.raises(TooLargeError):
        decode(source, Settings(max_input_mp=(48 * 32 - 1) / 1e6))


def test_large_pictures_do_not_warn(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for kind in ("jpeg", "png", "tiff"):
        assert decode(saved(Image.fromarray(scene()), kind)).pixels.shape == (32, 48, 3)


def test_files_that_are_no_pictures(tmp_path):
    text, empty = tmp_path / "text.png", tmp_path / "empty.jpg"
    text.write_text("this is text")
    empty.touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, words in (
        (tmp_path / "pipe.jpg", "a pipe"),
        (text, "format is unknown"),
        (empty, "empty"),
        (tmp_path, "directory"),
        (tmp_path / "missing.png", "No such file"),
    ):
        with pytest.raises(DecodeError, match=words) as caught:
            decode(path)
        assert str(path) in str(caught.value)
    with pytest.raises(DecodeError, match="the picture"):
        decode(b"%PDF-1.4 nothing")


def test_the_name_does_not_matter(tmp_path):
    path = tmp_path / "picture.txt"
    path.write_bytes(whole()["gif"])
    assert decode(path).format == decode(str(path)).format == "gif"


def test_warnings_of_decoders_stay_inside(capfd):
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
        assert np.array_equal(decode(encode(Picture(deep, exif=unknown.tobytes()[6:]), "tiff")).pixels, deep)
    assert seen == []
    assert capfd.readouterr() == ("", "")


# Writing


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
def test_output_format(kind, alpha, dtype, expected):
    picture = Picture(np.zeros((2, 2, 3), dtype), np.ones((2, 2), dtype) if alpha else None, format=kind)
    assert formats.choose(picture).name == expected
    assert decode(encode(picture, expected)).format == expected


def test_output_format_where_the_input_format_is_too_small():
    assert formats.choose(Picture(np.zeros((16384, 1, 3), np.uint8), format="webp")).name == "png"
    assert formats.choose(Picture(np.zeros((1, 65501, 3), np.uint8), format="jpeg")).name == "png"
    for shape in ((16383, 1, 3), (1, 16383, 3)):
        assert decode(encode(Picture(np.zeros(shape, np.uint8)), "webp")).pixels.shape == shape
    assert decode(encode(Picture(np.zeros((65500, 1, 3), np.uint8)), "jpeg")).pixels.shape == (65500, 1, 3)


@pytest.mark.parametrize("quality", [1, 50, 89, 90, 95, 100])
def test_jpeg_of_noise(quality):
    assert decode(encode(Picture(noise((500, 700, 3))), "jpeg", quality)).pixels.shape == (500, 700, 3)


def test_output_format_by_name():
    picture = Picture(scene())
    assert formats.choose(picture, "jpg").name == "jpeg"
    assert all(formats.choose(picture, row.name) == row for row in formats.WRITABLE)
    with pytest.raises(OptionError, match="bmp"):
        formats.choose(picture, "bmp")


@pytest.mark.parametrize(
    ("picture", "kind", "quality", "words"),
    [
        (Picture(scene(), np.ones((32, 48), np.uint8)), "jpeg", 95, "png"),
        (Picture(scene().astype(np.uint16)), "jpeg", 95, "png or tiff"),
        (Picture(scene().astype(np.uint16)), "webp", 95, "png or tiff"),
        (Picture(np.zeros((1, 16384, 3), np.uint8)), "webp", 95, "16383"),
        (Picture(np.zeros((65501, 1, 3), np.uint8)), "jpeg", 95, "65500"),
        (Picture(scene()), "gif", 95, "png"),
        (Picture(scene()), "jpeg", 0, "1 to 100"),
        (Picture(scene()), "webp", 101, "1 to 100"),
    ],
)
def test_encode_refuses_what_a_format_cannot_hold(picture, kind, quality, words):
    with pytest.raises(OptionError, match=words):
        encode(picture, kind, quality)


def test_grey_pictures_are_written_with_one_channel():
    pixels = np.repeat(noise((5, 6, 1)), 3, axis=2)
    for kind in ("png", "jpeg", "tiff"):
        assert Image.open(io.BytesIO(encode(Picture(pixels, grey=True), kind))).mode == "L"
    with_alpha = Picture(pixels, np.full((5, 6), 9, np.uint8), grey=True)
    assert Image.open(io.BytesIO(encode(with_alpha, "png"))).mode == "LA"


def test_jpeg_colour_is_not_halved_at_high_quality():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2] = (255, 0, 0)
    assert close(decode(encode(Picture(pixels), "jpg", 98)).pixels, pixels, 25)
    assert len(encode(Picture(scene()), "jpeg", 50)) < len(encode(Picture(scene()), "jpeg", 95))


def test_write_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    for module, name in (("os", "fsync"), ("pathlib.Path", "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{name}", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OutputError, match=r"cannot write .*out\.png: disk full; make room"):
                write(path, b"new")
        assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
        assert path.read_bytes() == b"old"
    write(str(path), b"new")
    assert path.read_bytes() == b"new"
    plain = Path(tmp_path / "plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    with pytest.raises(OutputError, match="No such file"):
        write(tmp_path / "no such folder" / "out.png", b"new")
