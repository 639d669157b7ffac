"""Conversion of colour profiles and colour spaces to sRGB."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from facemend.files import colour, icc
from facemend.files.colour import UNUSABLE
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.records import Picture
from tests.files.samples import close, noise, png16, scene
from tests.hostile import saved


def profile(space="sRGB", swap=False, gamma=None):
    """An sRGB profile, optionally with red and green swapped or with another gamma."""
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
def test_a_profile_is_converted_to_srgb(kind):
    options = {"lossless": True} if kind == "webp" else {"quality": 100}
    image = Image.new("RGB", (32, 32), (10, 240, 10))
    picture = decode(saved(image, kind, icc_profile=profile(swap=True), **options))
    assert close(picture.pixels, np.full((32, 32, 3), (240, 10, 10)), 8)


def test_the_profile_of_a_palette_image_is_converted():
    picture = Image.fromarray(np.full((8, 8, 3), (200, 30, 30), np.uint8)).quantize(4)
    decoded = decode(saved(picture, "png", icc_profile=profile(swap=True)))
    assert abs(decoded.pixels.astype(int) - (30, 200, 30)).max() <= 2


@pytest.mark.parametrize(
    "data",
    [b"junk", profile()[:200], bytes(500), grey_profile(1.0), profile()[:16] + b"\xffGB " + profile()[20:]],
    ids=[
        "junk",
        "cut off",
        "zeros",
        "of grey pictures",
        "no ASCII",
    ],  # else the time in a profile becomes part of the name
)
def test_an_unusable_profile_is_not_used_and_named(data):
    picture = decode(saved(Image.fromarray(scene()), "png", icc_profile=data))
    assert np.array_equal(picture.pixels, scene())
    assert picture.lost == (UNUSABLE,)
    samples = noise((9, 9, 3), np.uint16)
    deep = decode(png16(samples, (b"iCCP", b"x\0\0" + zlib.compress(data))))
    assert np.array_equal(deep.pixels, samples)
    assert deep.lost == (UNUSABLE,)


def test_a_curve_that_is_not_finite_is_left_to_littlecms():
    data = bytearray(icc.made((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), icc.D65, 0))
    curve = data.index(b"para")
    data[curve + 12 : curve + 16] = struct.pack(">i", -65536)  # g
    data[curve + 20 : curve + 24] = bytes(4)  # b; where x is 0, so is the base of the power
    data[curve + 28 : curve + 32] = bytes(4)  # d
    pixels, lost = scene().astype(np.uint16) * 257, []
    deep = colour.deep_to_srgb(pixels, bytes(data), lost)
    assert colour.TABLES in lost
    shallow = colour.to_srgb(Image.fromarray((pixels // 257).astype(np.uint8)), bytes(data), [])
    np.testing.assert_array_equal(deep // 257, np.asarray(shallow))


def test_a_curve_that_cannot_be_computed_is_left_to_littlecms():
    data = bytearray(icc.made((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329), 0))
    curve = data.index(b"para")
    data[curve + 8 : curve + 10] = struct.pack(">H", 1)  # (a x + b)^g, from -b / a on
    data[curve + 16 : curve + 20] = bytes(4)  # a
    pixels = noise((9, 9, 3), np.uint16)
    chunk = (b"iCCP", b"x\0\0" + zlib.compress(bytes(data)))
    assert decode(png16(pixels, chunk)).pixels.shape == pixels.shape


def test_a_curve_may_be_a_table():
    ramp = np.arange(65536, dtype=np.uint16)
    table = np.rint((np.arange(1024) / 1023) ** 2.2 * 65535).astype(">u2").tobytes()
    curve = icc.linear_values(b"curv" + bytes(4) + struct.pack(">I", 1024) + table)
    assert close(curve, (ramp / 65535) ** 2.2, 1e-5)
    linear = icc.linear_values(b"curv" + bytes(8))
    assert close(linear, ramp / 65535, 1e-9)


def test_an_srgb_profile_changes_nothing():
    for samples in (noise((9, 9, 3)), noise((9, 9, 3), np.uint16)):
        if samples.dtype == np.uint8:
            data = saved(Image.fromarray(samples), "png", icc_profile=profile())
        else:
            data = png16(samples, (b"iCCP", b"x\0\0" + zlib.compress(profile())))
        picture = decode(data)
        assert np.array_equal(picture.pixels, samples)
        assert picture.lost == ()


def test_a_profile_a_few_levels_from_srgb_is_converted():
    """Dark values of a gamma of 2.2 differ from those of sRGB by up to 7 levels."""
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    picture = decode(saved(Image.fromarray(ramp), "png", icc_profile=profile(gamma=2.2)))
    expected = np.rint(srgb_of_linear((ramp / 255) ** 2.2) * 255)
    assert 5 < abs(expected - ramp).max() < 12
    assert close(picture.pixels, expected, 1)


def test_a_grey_profile_is_converted():
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    picture = decode(saved(Image.fromarray(ramp), "png", icc_profile=grey_profile(1.0)))
    assert picture.grey
    assert (picture.pixels == picture.pixels[..., :1]).all()
    assert close(picture.pixels[0, :, 0], np.rint(srgb_of_linear(ramp[0] / 255) * 255), 1)


@pytest.mark.parametrize("grey", [False, True])
def test_16_bit_conversion_keeps_its_precision(grey):
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
def test_16_bit_and_8_bit_conversion_agree(gamma):
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
def test_cmyk_with_a_profile_is_converted_by_it(kind):
    corners = [(255, 128, 128), *[(0, 128, 128)] * 7, (220, 60, 200), *[(0, 128, 128)] * 7]  # this cyan is green
    data = saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), kind, icc_profile=cmyk_profile(*corners))
    red, green, blue = decode(data).pixels[8, 8].astype(int)
    assert green > 200 > 120 > max(red, blue)


def test_cmyk_without_a_profile_is_converted():
    picture = decode(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "jpeg", quality=100))
    assert close(picture.pixels, np.full((16, 16, 3), (255, 0, 0)), 6)
    assert not picture.grey


def test_lab_is_converted():
    plain, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(scene()), plain, lab, outputMode="LAB")
    assert close(decode(saved(image, "tiff")).pixels, scene(), 40)  # 8-bit Lab has low precision


def table_profile(space, corners, tags=()):
    """A look-up table profile with two nodes per channel: its corners in Lab (8-bit encoded), and more tags."""
    channels = len(corners).bit_length() - 1
    table = b"mft1" + bytes(4) + bytes((channels, 3, 2, 0))
    table += struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table += bytes(range(256)) * channels + b"".join(bytes(corner) for corner in corners) + bytes(range(256)) * 3
    found = {**dict(tags), b"wtpt": b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061), b"A2B0": table}
    rows, body = struct.pack(">I", len(found)), b""
    for name, value in found.items():
        rows += struct.pack(">4sII", name, 132 + 12 * len(found) + len(body), len(value))
        body += bytes(value) + bytes(-len(value) % 4)
    header = struct.pack(">I4sI4s4s4s", 128 + len(rows + body), b"lcms", 0x02100000, b"scnr", space, b"Lab ")
    header = (header.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + rows + body


COLOURS = icc.tags(icc.made((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), icc.D65, 2.2))
CORNERS = [(level, 128 + 40 * (level > 100), 90) for level in (0, 30, 60, 90, 120, 150, 180, 255)]


@pytest.mark.parametrize(
    ("mode", "data"),
    [
        ("RGB", table_profile(b"RGB ", CORNERS)),
        ("RGB", table_profile(b"RGB ", CORNERS, COLOURS.items())),
        ("L", table_profile(b"GRAY", [(0, 128, 128), (120, 128, 128)], {b"kTRC": COLOURS[b"rTRC"]}.items())),
        ("CMYK", table_profile(b"CMYK", [*CORNERS, *CORNERS[::-1]])),
    ],
    ids=["tables", "tables and curves", "grey", "CMYK"],
)
def test_16_bits_with_a_profile_of_tables_are_converted_as_8_bits_which_is_named(mode, data):
    flat, lost = noise((9, 9, 4))[..., : len(mode)], []
    flat = flat[..., 0] if mode == "L" else flat
    image = Image.fromarray(flat, mode)
    deep = colour.deep_to_srgb(flat.astype(np.uint16) * 257, data, lost)
    expected = np.asarray(colour.to_srgb(image, data, []))
    assert np.array_equal(deep, expected.astype(np.uint16) * 257)
    assert not np.array_equal(expected, np.asarray(image if mode == "L" else image.convert("RGB")))
    assert lost == [colour.TABLES]


def test_each_channel_of_16_bits_has_its_own_curve():
    data = bytearray(icc.made((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), icc.D65, 1.0))
    for name, gamma in ((b"rTRC", 1.2), (b"gTRC", 1.8), (b"bTRC", 2.6)):
        (offset,) = struct.unpack_from(">I", data, data.index(name) + 4)
        struct.pack_into(">i", data, offset + 12, round(gamma * 65536))
    samples, lost = noise((20, 20, 3)), []
    deep = colour.deep_to_srgb(samples.astype(np.uint16) * 257, bytes(data), lost)
    assert close(deep / 257, np.asarray(colour.to_srgb(Image.fromarray(samples), bytes(data), lost)), 1.5)
    assert lost == []


@pytest.mark.parametrize("kind", ["png", "png16"])
def test_a_grey_picture_with_a_profile_of_colours_is_converted_and_stays_grey(kind):
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    samples = ramp.astype(np.uint16) * 257 if kind == "png16" else ramp
    data = saved(Image.fromarray(samples), "png", icc_profile=profile(gamma=1.0))
    picture = decode(data)
    assert picture.grey
    assert picture.lost == ()
    white = 65535 if kind == "png16" else 255
    assert close(picture.pixels[0, :, 0] / white, srgb_of_linear(ramp[0] / 255), 0.005)


def test_the_profile_of_colours_in_a_tiff_of_ycbcr_is_converted():
    image = Image.new("YCbCr", (8, 8), (120, 90, 180))
    red, green, blue = np.asarray(image.convert("RGB"))[0, 0]
    picture = decode(saved(image, "tiff", icc_profile=profile(swap=True)))
    assert close(picture.pixels, np.full((8, 8, 3), (green, red, blue)), 2)


def test_a_profile_of_colours_in_a_cmyk_file_is_not_used_and_named():
    image = Image.new("CMYK", (8, 8), (0, 200, 200, 0))
    picture = decode(saved(image, "tiff", icc_profile=profile(swap=True)))
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.lost == (UNUSABLE,)


def test_a_profile_that_lacks_a_curve_is_not_used_and_named():
    picture = decode(saved(Image.fromarray(scene()), "png", icc_profile=profile().replace(b"gTRC", b"xTRC")))
    assert np.array_equal(picture.pixels, scene())
    assert picture.lost == (UNUSABLE,)


def test_a_profile_that_differs_from_srgb_in_one_colour_is_converted():
    data = icc.made((0.642, 0.33), (0.30, 0.60), (0.15, 0.06), icc.D65, 0)
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
    changed = decode(saved(Image.fromarray(cube), "png", icc_profile=data)).pixels.astype(int) - cube
    assert 2 <= np.abs(changed).max() <= 4
    assert np.abs(changed).mean() < 0.1


def test_tags_of_a_profile_that_share_bytes_take_no_memory_each():
    """Copies of 100 tags over all of a profile of 10 MB would take 1 GB."""
    count, size = 100, 100_000
    rows = b"".join(struct.pack(">4sII", b"%04d" % row, 1, size - 1) for row in range(count))
    data = (bytes(icc.HEADER) + struct.pack(">I", count) + rows).ljust(size, b"\0")
    tracemalloc.start()
    found = icc.tags(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [len(tag) for tag in found.values()] == [size - 1] * count
    assert most < size
