"""Colour spaces that are said elsewhere than in an ICC profile, and pictures with high dynamic range."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from facemend.files import colour, hdr, icc, spaces
from facemend.files.decode import decode
from facemend.files.encode import encode
from tests.files.samples import MAKE, close, noise, png16, scene
from tests.hostile import chunk, saved, saved_heif

# Linear RGB of each space, with D65, to linear sRGB; from the specifications' XYZ matrices, to four digits
TO_SRGB = {
    "Adobe RGB": ((1.3984, -0.3984, 0), (0, 1, 0), (0, -0.0429, 1.0429)),
    "Display P3": ((1.2249, -0.2247, 0), (-0.0420, 1.0419, 0), (-0.0197, -0.0786, 1.0979)),
    "BT.2020": ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
}
MUTED = noise((16, 16, 3)) // 3 + 80  # inside all spaces


def srgb_curve(linear):
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def srgb_light(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def expected(pixels, space, light=srgb_light, white=255):
    return srgb_curve((light(pixels / white) @ np.array(TO_SRGB[space]).T).clip(0, 1)) * white


def png(pixels, *chunks):
    data = png16(pixels) if pixels.dtype == np.uint16 else saved(Image.fromarray(pixels), "png")
    return data[:33] + b"".join(chunk(*one) for one in chunks) + data[33:]


def interoperability(index):
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: index, 2: b"0100"}
    return exif


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_adobe_rgb_said_by_exif_is_converted(kind):
    options = {"jpeg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    image = Image.fromarray(np.kron(MUTED[:4, :4], np.ones((16, 16, 1), np.uint8)))
    data = saved(image, kind, exif=interoperability("R03"), **options)
    wanted = expected(np.asarray(image), "Adobe RGB", lambda v: v ** (563 / 256))
    assert close(decode(data).pixels, wanted, 4 if kind == "jpeg" else 1.5)
    block = decode(encode(decode(data), kind)).metadata.exif
    assert b"R03" not in block
    assert b"R98" in block
    plain = decode(saved(image, kind, exif=interoperability("R98"), **options))
    assert close(plain.pixels, image, 3 if kind == "jpeg" else 0)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("primaries", "space"), [(12, "Display P3"), (9, "BT.2020")])
def test_code_points_of_a_png_are_converted(primaries, space, deep):
    pixels = MUTED.astype(np.uint16) * 257 if deep else MUTED
    picture = decode(png(pixels, (b"cICP", bytes((primaries, 13, 0, 1)))))
    white = 65535 if deep else 255
    assert picture.pixels.dtype == pixels.dtype
    assert close(picture.pixels, expected(pixels, space, white=white), 0.006 * white)


@pytest.mark.parametrize("kind", ["avif", "heif"])
def test_code_points_of_avif_and_heic_are_converted(kind):
    image = Image.fromarray(np.kron(MUTED[:4, :4], np.ones((16, 16, 1), np.uint8)))
    data = saved_heif(image, quality=-1, chroma=444) if kind == "heif" else saved(image, "avif", quality=100)
    place = data.index(b"colrnclx") + 8
    marked = data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :]
    plain = decode(data).pixels
    assert close(decode(marked).pixels, expected(plain, "Display P3"), 2)


@pytest.mark.parametrize("transfer", [1, 2, 6, 13, 14])
def test_code_points_that_cameras_write_for_srgb_change_nothing(transfer):
    assert np.array_equal(decode(png(MUTED, (b"cICP", bytes((1, transfer, 0, 1))))).pixels, MUTED)


def test_code_points_after_the_pixels_of_a_png_are_not_used():
    data = png(MUTED)
    end = data.rindex(b"IEND") - 4
    assert np.array_equal(decode(data[:end] + chunk(b"cICP", bytes((12, 13, 0, 1))) + data[end:]).pixels, MUTED)


def test_code_points_come_before_a_profile_and_a_profile_before_numbers():
    swapped = icc.made((0.30, 0.60), (0.64, 0.33), (0.15, 0.06), icc.D65, 0)
    gamma = (b"gAMA", struct.pack(">I", 100_000))
    red = np.full((4, 4, 3), (200, 40, 40), np.uint8)
    image = Image.fromarray(red)
    profiled = saved(image, "png", icc_profile=swapped)
    profiled = profiled[:33] + chunk(*gamma) + profiled[33:]
    assert close(decode(profiled).pixels, np.full((4, 4, 3), (40, 200, 40)), 2)
    coded = profiled[:33] + chunk(b"cICP", bytes((1, 13, 0, 1))) + profiled[33:]
    assert np.array_equal(decode(coded).pixels, red)
    assert np.array_equal(decode(png(red, (b"sRGB", b"\0"), gamma)).pixels, red)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 0.55, 0.35])
def test_the_gamma_of_a_png_is_applied(gamma, deep):
    white = 65535 if deep else 255
    ramp = np.repeat(np.arange(256)[None, :, None] * (white // 255), 3, axis=2).astype(np.uint16 if deep else np.uint8)
    picture = decode(png(ramp, (b"gAMA", struct.pack(">I", round(gamma * 100_000)))))
    assert close(picture.pixels, srgb_curve((ramp / white) ** (1 / gamma)) * white, 0.006 * white)


def test_the_primaries_of_a_png_are_applied():
    p3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
    body = struct.pack(">8I", *(round(number * 100_000) for number in p3))
    picture = decode(png(MUTED, (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", body)))
    assert close(picture.pixels, expected(MUTED, "Display P3"), 1.5)


@pytest.mark.parametrize("numbers", [(0,) * 8, (2**31,) * 8, (31270, 32900, *[30000, 30000] * 3)])
@pytest.mark.parametrize("gamma", [0, 45455, 2**31])
def test_impossible_numbers_of_a_png_change_nothing(numbers, gamma):
    chunks = (b"gAMA", struct.pack(">I", gamma)), (b"cHRM", struct.pack(">8I", *numbers))
    assert np.array_equal(decode(png(MUTED, *chunks)).pixels, MUTED)


@pytest.mark.parametrize("space", [*spaces.PRIMARIES.values(), spaces.ADOBE_RGB])
@pytest.mark.parametrize("gamma", [0, 1.8])
def test_littlecms_reads_our_profiles_as_we_compute_them(space, gamma):
    profile = icc.made(*space, gamma)
    transform = ImageCms.buildTransform(io.BytesIO(profile), ImageCms.createProfile("sRGB"), "RGB", "RGB")
    deep = decode(png16(MUTED.astype(np.uint16) * 257, (b"iCCP", b"x\0\0" + zlib.compress(profile))))
    assert close(deep.pixels / 257, np.asarray(transform.apply(Image.fromarray(MUTED))), 1.5)


def grey_profile_of_lightness():
    """A grey profile whose curve gives L*: a value is its lightness."""
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    tags = struct.pack(">I", 2) + struct.pack(">4sII", b"wtpt", 156, 20) + struct.pack(">4sII", b"kTRC", 176, 12)
    header = struct.pack(">I4sI4s4s4s", 188, b"lcms", 0x02100000, b"mntr", b"GRAY", b"Lab ")
    header = (header.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + white + curve


def test_a_grey_profile_with_lightness_is_the_same_in_8_and_16_bits():
    """LittleCMS converts 8 bits, and this package 16."""
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    flat = decode(saved(Image.fromarray(ramp), "png", icc_profile=grey_profile_of_lightness()))
    deep16 = Image.fromarray(ramp.astype(np.uint16) * 257)
    deep = decode(saved(deep16, "png", icc_profile=grey_profile_of_lightness()))
    lightness = ramp[0] / 255 * 100
    root = (lightness + 16) / 116
    luminance = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))
    assert close(deep.pixels[0, :, 0] / 257, srgb_curve(luminance) * 255, 0.5)
    assert close(deep.pixels / 257, flat.pixels, 1.5)


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("deep", [False, True])
def test_high_dynamic_range_is_tone_mapped_and_named(transfer, deep):
    white = 65535 if deep else 255
    ramp = np.repeat(np.arange(256)[None, :, None] * (white // 255), 3, axis=2).astype(np.uint16 if deep else np.uint8)
    picture = decode(png(ramp, (b"cICP", bytes((9, transfer, 0, 1)))))
    name = {16: "PQ", 18: "HLG"}[transfer]
    assert picture.lost == (f"high dynamic range ({name}; it is tone-mapped to sRGB)",)
    assert picture.pixels.dtype == ramp.dtype
    out = picture.pixels.astype(int)
    assert (np.diff(out[0, :, 0]) >= 0).all()
    assert np.ptp(out, axis=2).max() <= white / 250, "grey stays grey"
    assert (out[0, 0, 0], out[0, -1, 0]) == (0, white)


def test_pq_and_hlg_have_the_values_of_their_standards():
    """BT.2408: white of 203 cd/m2 is 58 % in PQ and 75 % in HLG; ST 2084: 100 cd/m2 is 0.508, 1,000 is 0.752."""
    assert np.allclose(hdr.to_pq(np.array((100.0, 203, 1000, 10000))), (0.508, 0.58, 0.752, 1), atol=0.002)
    assert abs(hdr.of_hlg(np.full((1, 3), 0.75)).max() - 203) < 1
    assert abs(hdr.of_hlg(np.ones((1, 3))).max() - 1000) < 1


@given(st.floats(0, 10000))
def test_pq_is_inverted(luminance):
    assert abs(float(hdr.of_pq(hdr.to_pq(np.array(luminance)))) - luminance) <= 1e-6 * luminance + 1e-3


@given(st.lists(st.floats(0, 10000), min_size=3, max_size=3))
def test_tone_mapping_keeps_dark_values_and_the_ratio_of_colours(luminance):
    values = np.array([luminance])
    mapped = hdr.tone_mapped(values)
    assert mapped.min() >= 0
    assert mapped.max() <= 1
    if values.max() < 90:  # below the knee
        assert np.allclose(mapped, values / 203, atol=1e-6)
    assert np.allclose(mapped[0] * values.max(), values[0] * mapped.max(), atol=1e-2 * values.max() + 1e-6)


def test_heic_with_pq_looks_like_the_picture_it_was_made_of():
    """Twice encoded: the scene at 203 cd/m2 as PQ of BT.2020; up to the knee it comes back."""
    dark = scene() // 3
    light = srgb_light(dark / 255) * 203
    wide = light @ np.linalg.inv(np.array(TO_SRGB["BT.2020"])).T
    samples = np.rint(hdr.to_pq(wide) * 65535).astype(np.uint16)
    stream = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (48, 32), samples.tobytes()).save(stream, quality=-1, chroma=444)
    data = stream.getvalue()
    place = data.index(b"colrnclx") + 8
    picture = decode(data[:place] + struct.pack(">HH", 9, 16) + data[place + 4 :])
    assert picture.pixels.dtype == np.uint16
    assert close(picture.pixels / 257, dark, 6)


def test_a_gain_map_is_named_as_lost():
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description hdrgm:Version="1.0"/></x:xmpmeta>'
    assert decode(saved(Image.fromarray(scene()), "jpeg", xmp=packet)).lost == ("HDR gain map",)


def profile_with_curve(curve):
    profile = bytearray(icc.made(*spaces.SRGB_PRIMARIES, 2.2))
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        struct.pack_into(">II", profile, profile.index(name) + 4, len(profile), len(curve))
    profile += curve
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


def power(values, exponent=2.2):
    return np.maximum(values, 0) ** exponent


@pytest.mark.parametrize(
    ("kind", "parameters", "light"),
    [
        (None, (), lambda x: x),
        (0, (1.8,), lambda x: x**1.8),
        (1, (2.2, 1.1, -0.1), lambda x: power(1.1 * x - 0.1)),
        (2, (2.2, 0.9, -0.1, 0.2), lambda x: power(0.9 * x - 0.1) + 0.2),
        (3, icc.SRGB_CURVE, srgb_light),
        (
            4,
            (2, 0.9, 0.05, 0.5, 0.1, 0.02, 0.01),
            lambda x: np.where(x < 0.1, 0.5 * x + 0.01, power(0.9 * x + 0.05, 2) + 0.02),
        ),
    ],
)
def test_every_kind_of_curve_in_a_profile_is_computed_with_16_bits(kind, parameters, light):
    numbers = struct.pack(f">{len(parameters)}i", *(round(number * 65536) for number in parameters))
    linear, parametric = b"curv" + bytes(8), b"para" + bytes(4) + struct.pack(">HH", kind or 0, 0) + numbers
    profile = profile_with_curve(linear if kind is None else parametric)
    values = np.repeat(np.arange(0, 65536, 256, dtype=np.uint16)[None, :, None], 3, axis=2)
    lost = []
    converted = colour.deep_to_srgb(values, profile, lost)
    assert close(converted, srgb_curve(light(values / 65535)) * 65535, 60)
    assert lost == []


def test_primaries_on_nearly_one_line_change_nothing():
    numbers = struct.pack(">8I", 70000, 20000, 10000, 30000, 10000, 60000, 10001, 45000)
    assert np.array_equal(decode(png(MUTED, (b"cHRM", numbers))).pixels, MUTED)


@pytest.mark.parametrize(("transfer", "gamma"), [(4, 2.2), (5, 2.8), (8, 1)])
def test_a_transfer_that_is_a_gamma_is_applied(transfer, gamma):
    picture = decode(png(MUTED, (b"cICP", bytes([1, transfer, 0, 1]))))
    assert close(picture.pixels, srgb_curve((MUTED / 255) ** gamma) * 255, 1.5)


def test_code_points_of_high_dynamic_range_come_before_a_profile():
    image = Image.fromarray(MUTED)
    image.info["icc_profile"] = icc.made(*spaces.ADOBE_RGB, 2.2)
    image.info["nclx_profile"] = {"color_primaries": 9, "transfer_characteristics": 16}
    assert spaces.of(image, None, adobe_rgb=False).hdr == "PQ"
    image.info["nclx_profile"]["transfer_characteristics"] = 13
    assert spaces.of(image, None, adobe_rgb=False) == spaces.Space(image.info["icc_profile"])


def test_dci_p3_has_a_white_of_its_own():
    """The matrix with the Bradford transform, to five digits."""
    matrix = (1.15752, -0.15496, -0.00255), (-0.0415, 1.04557, -0.00407), (-0.01805, -0.07858, 1.09663)
    picture = decode(png(MUTED, (b"cICP", bytes((11, 13, 0, 1)))))
    wanted = srgb_curve((srgb_light(MUTED / 255) @ np.array(matrix).T).clip(0, 1)) * 255
    assert close(picture.pixels, wanted, 1.5)
    assert np.abs(wanted - expected(MUTED, "Display P3")).max() > 3


def test_a_code_point_of_10_is_no_end_of_line():
    image = Image.fromarray(np.kron(MUTED[:4, :4], np.ones((16, 16, 1), np.uint8)))
    data = saved(image, "avif", quality=100)
    place = data.index(b"colrnclx") + 8
    marked = data[:place] + struct.pack(">HH", 12, 10) + data[place + 4 :]
    assert close(decode(marked).pixels, expected(decode(data).pixels, "Display P3"), 2)


@pytest.mark.parametrize(("gamma", "applied"), [(0.4515, False), (0.4575, False), (0.4655, True), (0.44, True)])
def test_a_gamma_of_a_png_that_rounds_to_1_over_2_2_means_srgb(gamma, applied):
    picture = decode(png(MUTED, (b"gAMA", struct.pack(">I", round(gamma * 100_000)))))
    wanted = srgb_curve((MUTED / 255) ** (1 / gamma)) * 255 if applied else MUTED
    assert close(picture.pixels, wanted, 1.5 if applied else 0)
    assert np.array_equal(picture.pixels, MUTED) != applied


@pytest.mark.parametrize("gamma", [0.12, 8])
def test_a_gamma_of_a_png_far_from_1_is_applied(gamma):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    picture = decode(png(ramp, (b"gAMA", struct.pack(">I", round(gamma * 100_000)))))
    inner = slice(20, 236)
    assert close(picture.pixels[:, inner], srgb_curve((ramp / 255) ** (1 / gamma))[:, inner] * 255, 2)
