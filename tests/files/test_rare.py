"""Formats that need an extra package, and other rare ones."""

import importlib.util
import io
import logging
import shutil
import struct
import subprocess
import sys
import tracemalloc
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from facemend.errors import DecodeError, TooLargeError
from facemend.files import exr, formats, jxl, metadata, radiance
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.exif import RATIONAL, Block
from facemend.records import Picture, Settings
from tests.files import rare
from tests.files.samples import close, noise, scene
from tests.hostile import saved

LIGHT = np.where(scene() / 255 <= 0.04045, scene() / 255 / 12.92, ((scene() / 255 + 0.055) / 1.055) ** 2.4)


def needs(package):
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed, see docs/CONTRIBUTING.md")


@pytest.fixture(
    params=[
        pytest.param("raw", marks=needs("rawpy")),
        pytest.param("psd", marks=needs("psd_tools")),
        pytest.param("exr", marks=needs("OpenEXR")),
        pytest.param("jxl", marks=needs("pillow_jxl")),
        "radiance",
        "tga",
    ]
)
def made(request):
    """A file of one of the formats: its row in the table, and its bytes."""
    image = Image.fromarray(scene())
    data = {
        "raw": rare.dng,
        "psd": lambda: rare.psd(image),
        "exr": lambda: rare.exr(LIGHT.astype(np.float32)),
        "jxl": lambda: rare.jxl(image, lossless=True),
        "radiance": lambda: rare.radiance(LIGHT.astype(np.float32)),
        "tga": lambda: saved(image, "tga"),
    }[request.param]()
    return formats.FORMATS[request.param], data


def test_it_is_read_with_its_colours(made):
    row, data = made
    picture = decode(data)
    assert picture.format == row.name
    if row.name != "raw":
        off = abs(picture.pixels / np.iinfo(picture.pixels.dtype).max - scene() / 255)
        assert off.max() < (0.1 if row.name == "radiance" else 0.005)  # one exponent for three colours
        assert off.mean() < 0.005


def test_a_damaged_file_is_refused(made):
    _, data = made
    for length in range(20, len(data) - 20, max(len(data) // 12, 1)):
        try:
            decode(data[:length])
        except DecodeError as error:
            assert "\n" not in str(error)


def test_the_limit_is_checked(made):
    with pytest.raises(TooLargeError):
        decode(made[1], Settings(max_input_mp=0.001))


@pytest.mark.parametrize("row", [row for row in formats.FORMATS.values() if row.extra], ids=lambda row: row.name)
def test_without_its_package_the_error_says_what_to_install(row, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == row.package else find(name))
    path = tmp_path / f"a{row.suffix}"
    heads = {"raw": b"FUJIFILMCCD-RAW", "psd": b"8BPS", "exr": b"v/1\1", "jxl": b"\xff\x0a"}
    path.write_bytes(heads[row.name].ljust(200, b"\0"))
    with pytest.raises(DecodeError) as caught:
        decode(path)
    needed = f"needs the package {row.package} (the extra {row.extra} of facemend)"
    assert f"{needed}; run {sys.executable}" in str(caught.value)
    assert caught.value.message(lambda option: None).endswith(needed)  # as on other machines


@needs("rawpy")
@pytest.mark.parametrize(("head", "name"), [(b"II*\0\x08\0\0\0", "a.nef"), (b"\0\0\0\x18ftypcrx ", "a.cr3")])
def test_a_damaged_raw_file_is_named_as_that(tmp_path, head, name):
    path = tmp_path / name
    path.write_bytes(head.ljust(5000, b"\0"))
    with pytest.raises(DecodeError, match=r"damaged, cut short or unsupported \(Unsupported file format"):
        decode(path)


@needs("pillow_jxl")
def test_the_size_of_a_jxl_is_not_read_from_another_box():
    data = rare.jxl(Image.new("RGB", (48, 60)), use_container=True)
    box = struct.pack(">I4s", 26, b"xml ") + b"\xff\x0a" + b"\xff" * 16
    end = data.index(b"ftyp") - 4 + int.from_bytes(data[data.index(b"ftyp") - 4 :][:4], "big")
    assert decode(data[:end] + box + data[end:]).pixels.shape == (60, 48, 3)


@needs("pillow_jxl")
@pytest.mark.parametrize("cut", [0, 2, 3, 5])
@pytest.mark.parametrize("size", [(48, 60), (500, 333)])
def test_the_size_of_a_jxl_is_read_from_parts_of_any_length(size, cut):
    """The decoder joins them; a size of the bytes between them let a picture pass that is over the limit."""
    data = rare.jxl(Image.new("RGB", size), use_container=False)
    head = rare.jxl(Image.new("RGB", size), use_container=True)
    parts = [struct.pack(">I", 0) + data[:cut], struct.pack(">I", 0x80000001) + data[cut:]]
    boxes = b"".join(struct.pack(">I4s", 8 + len(part), b"jxlp") + part for part in parts)
    seen = []
    jxl.read(io.BytesIO(head[: 12 + 20] + boxes), lambda height, width: seen.append((width, height)))
    assert seen == [size, size], "before the decoder runs, and as it says itself"


def test_a_radiance_file_takes_no_more_memory_than_its_light():
    """100 megapixels, of which a file may have as many in 6 MB, took 3.1 GB."""
    data = rare.radiance(np.ones((500, 1000, 3), np.float32))
    tracemalloc.start()
    light = radiance.read(io.BytesIO(data), lambda height, width: None).colours
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(data) + 1.2 * light.nbytes


@pytest.mark.parametrize("size", [(40, 60), (40, 7)])
def test_a_radiance_file_has_the_light_that_opencv_reads(size):
    """Rows of fewer than 8 px are not compressed."""
    light = noise((*size, 3)).astype(np.float32) / 64
    light[10:20, 3:] = 0.5
    data = rare.radiance(light)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert np.array_equal(radiance.read(io.BytesIO(data), lambda height, width: None).colours, expected)


def test_a_radiance_file_is_read_without_a_temporary_file(monkeypatch, tmp_path):
    data = rare.radiance(noise((9, 9, 3)).astype(np.float32))
    monkeypatch.setenv("OPENCV_TEMP_PATH", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert decode(data).pixels.shape == (9, 9, 3)


def test_repeated_px_of_a_radiance_file_are_read():
    one, other, last = bytes([10, 20, 30, 129]), bytes([40, 50, 60, 129]), bytes([70, 80, 90, 129])
    rows = one + bytes([1, 1, 1, 44, 1, 1, 1, 1]) + other + other + bytes([1, 1, 1, 1]) + last
    data = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 305\n" + rows
    red = radiance.read(io.BytesIO(data), lambda height, width: None).colours[0, :, 0] * 128
    assert red.tolist() == [10] * 301 + [40] * 3 + [70]


@pytest.mark.parametrize(
    "rows",
    [
        b"\1\1\1\5" + bytes(4 * 15),  # there is no px before
        bytes([9] * 4 + [1, 1, 1, 200]),
        bytes([9] * 4 + [1, 1, 1, 0] * 9 + [9] * 80),
        b"\2\2\0\x14" + bytes([100, 5]),
        b"\2\2\0\x14" + bytes(9),
        b"",
    ],
)
def test_a_run_of_a_radiance_file_that_leaves_its_row_is_damage(rows):
    with pytest.raises(DecodeError, match="damaged"):
        decode(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 20\n" + rows.ljust(60, b"\0"))


def test_px_of_a_radiance_file_that_look_like_repeats_or_planes_are_read():
    rows = bytes([5, 1, 1, 1, 9, 8, 7, 136]), bytes([2, 2, 0, 2, 5, 5, 5, 136])
    data = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n" + b"".join(rows)
    red = radiance.read(io.BytesIO(data), lambda height, width: None).colours[..., 0]
    assert red[:, 1].tolist() == [9, 5]


def test_a_radiance_file_in_xyz_is_refused():
    data = rare.radiance(noise((9, 9, 3)).astype(np.float32)).replace(b"rle_rgbe", b"rle_xyze")
    with pytest.raises(DecodeError, match="colours are XYZ; save it as RGB"):
        decode(data)


def test_a_damaged_radiance_file_prints_nothing(capfd):
    data = rare.radiance(noise((64, 64, 3)).astype(np.float32))
    with pytest.raises(DecodeError):
        decode(data[: len(data) // 2])
    assert capfd.readouterr() == ("", "")


@needs("psd_tools")
def test_too_many_channels_of_a_psd_are_named():
    """psd-tools computes all of them: 56 channels of 6 MP, which were 340 kB of a file, took 5.4 GB."""
    samples = noise((8, 9, 9), np.uint8)
    assert decode(rare.psd_of(samples[..., :8], {})).pixels.shape == (8, 9, 3)
    with pytest.raises(DecodeError, match="it has 9 channels; save it with at most 8"):
        decode(rare.psd_of(samples, {}))


@needs("OpenEXR")
@pytest.mark.parametrize("in_parts", [False, True])
def test_channels_of_an_exr_that_are_too_large_together_are_refused_before_they_are_read(in_parts, monkeypatch):
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    names = ("Y", "depth", "mask", "motion.X", "motion.Y")
    channels = {name: np.zeros((10, 20), np.float32) for name in names}
    parts = [OpenEXR.Part({**header}, {name: channels[name]}, name) for name in names]
    stream = io.BytesIO()
    (OpenEXR.File(parts) if in_parts else OpenEXR.File(header, channels)).write(stream)
    monkeypatch.setattr(exr, "MOST_VALUES", 1000)
    assert decode(stream.getvalue()).pixels.shape == (10, 20, 3)
    monkeypatch.setattr(exr, "MOST_VALUES", 999)
    with pytest.raises(DecodeError, match="it has 5 channels, which are too large together; save it with R, G, B"):
        decode(stream.getvalue())


@needs("OpenEXR")
def test_an_exr_that_the_limit_of_its_size_lets_pass_may_have_four_channels(monkeypatch):
    monkeypatch.setattr(exr, "MOST_VALUES", 0)
    assert decode(rare.exr(noise((10, 20, 4)).astype(np.float32))).pixels.shape == (10, 20, 3)


@needs("OpenEXR")
def test_a_damaged_exr_file_prints_nothing(capsys):
    data = rare.exr(noise((64, 64, 3)).astype(np.float32))
    with pytest.raises(DecodeError):
        decode(data[: len(data) * 2 // 3])
    assert capsys.readouterr().out == ""


@needs("pillow_jxl")
def test_a_box_of_a_jxl_may_reach_to_the_end_of_the_file():
    head = rare.jxl(Image.new("RGB", (48, 60)), use_container=True)[: 12 + 20]
    codestream = rare.jxl(Image.new("RGB", (48, 60)), use_container=False)
    assert decode(head + struct.pack(">I4s", 0, b"jxlc") + codestream).pixels.shape == (60, 48, 3)


@needs("pillow_jxl")
def test_a_damaged_jxl_file_is_reported_without_advice_for_programmers():
    with pytest.raises(DecodeError, match=r"damaged, cut short or unsupported \(Generic Error\); use a complete copy"):
        decode(rare.jxl(Image.fromarray(scene()))[:60])


@needs("rawpy")
@pytest.mark.parametrize("colour", [(30000, 20000, 10000), (8000, 20000, 30000)])
def test_a_raw_file_is_developed_to_16_bits(tmp_path, colour):
    path = tmp_path / "a.dng"
    path.write_bytes(rare.dng(colour=colour))
    picture = decode(path)
    assert picture.pixels.shape == (48, 64, 3)
    assert picture.pixels.dtype == np.uint16
    middle = picture.pixels[24, 32].astype(int)
    assert (np.argsort(middle) == np.argsort(colour)).all()
    assert b"Camera" in picture.metadata.exif
    assert picture.lost == ("the raw data (it is developed)",)


@needs("rawpy")
def test_a_raw_file_without_a_name_is_not_taken_for_the_small_picture_in_it():
    picture = decode(rare.nef(200, 150))
    assert picture.format == "raw"
    assert min(picture.pixels.shape[:2]) > 100


@needs("rawpy")
def test_a_raw_file_of_a_camera_without_colours_is_grey():
    picture = decode(rare.dng(filters=False))
    assert picture.grey
    assert picture.pixels.dtype == np.uint16
    assert picture.pixels.std() > 0


@needs("rawpy")
def test_a_raw_file_with_the_start_of_a_tiff_is_told_by_its_suffix(tmp_path):
    head = saved(Image.fromarray(scene()), "tiff")[: formats.HEAD]
    assert formats.recognise(head, ".nef").name == "raw"
    assert formats.recognise(head, ".tif").name == formats.recognise(head).name == "tiff"


@needs("rawpy")
@pytest.mark.parametrize("scale", [(1, 9), (9, 1)])
def test_the_limit_holds_for_a_raw_file_whose_px_are_no_squares(scale):
    """LibRaw enlarges it nine times, after its size is known."""
    block = Block(rare.dng())
    entries = block.main_entries()
    entries[50718] = block.entry(RATIONAL, 2, struct.pack("<4I", scale[0], 1, scale[1], 1))
    block.replace_main(entries)
    data, size = bytes(block.data), 9 * 48 * 64
    assert decode(data, Settings(max_input_mp=size / 1e6)).pixels.size == 3 * size
    with pytest.raises(TooLargeError):
        decode(data, Settings(max_input_mp=(size - 1) / 1e6))


@needs("OpenEXR")
def test_exr_brighter_than_white_is_tone_mapped_and_named():
    picture = decode(rare.exr((LIGHT * 3).astype(np.float32)))
    assert picture.lost == ("high dynamic range (it is tone-mapped to sRGB)",)
    assert picture.pixels.dtype == np.uint16
    assert decode(rare.exr(LIGHT.astype(np.float32))).lost == ()


@needs("OpenEXR")
def test_the_alpha_and_primaries_of_an_exr_are_used():
    alpha = np.full((32, 48, 1), 0.5)
    picture = decode(rare.exr(np.dstack((LIGHT * alpha, alpha)).astype(np.float32)))
    assert close(picture.alpha, np.full((32, 48), 32768), 2)
    assert close(picture.pixels / 65535, scene() / 255, 0.005)
    p3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290)
    wide = decode(rare.exr(np.full((4, 4, 3), (0.5, 0.2, 0.2), np.float32), chromaticities=p3))
    assert wide.pixels[0, 0, 0] > decode(rare.exr(np.full((4, 4, 3), (0.5, 0.2, 0.2), np.float32))).pixels[0, 0, 0]


@needs("OpenEXR")
def test_numbers_of_an_exr_that_are_none_become_black_or_white():
    values = np.full((4, 4, 3), 0.2, np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -1
    picture = decode(rare.exr(values))
    assert picture.pixels[0, :3, 0].tolist() == [0, 65535, 0]
    alpha = np.full((4, 4, 1), np.nan, np.float32)
    assert not decode(rare.exr(np.dstack((values, alpha)))).alpha.any()


@needs("OpenEXR")
def test_an_invisible_px_of_an_exr_changes_no_other():
    values = np.full((4, 4, 4), (0.5, 0.5, 0.5, 1), np.float32)
    plain = decode(rare.exr(values))
    values[1, 1] = (0.001, 0.001, 0.001, 0)
    picture = decode(rare.exr(values))
    assert np.array_equal(picture.pixels, plain.pixels)
    assert picture.lost == ()


@needs("OpenEXR")
def test_a_grey_exr_is_grey():
    picture = decode(rare.exr(LIGHT[..., :1].astype(np.float32)))
    assert picture.grey
    assert close(picture.pixels[..., 0] / 65535, scene()[..., 0] / 255, 0.005)


@needs("psd_tools")
@pytest.mark.parametrize("is_transparency", [False, True])
def test_a_saved_selection_of_a_psd_is_not_its_transparency(is_transparency):
    samples = np.dstack((scene(), np.full((32, 48), 99, np.uint8)))
    identifiers = {1053: struct.pack(">I", not is_transparency)}
    picture = decode(rare.psd_of(samples, identifiers))
    assert (picture.alpha is not None) == is_transparency
    lost = () if is_transparency else ("1 of its channels (neither colours nor transparency)",)
    assert picture.lost == lost


@needs("psd_tools")
@pytest.mark.parametrize("missing", [1, 200, 3169])  # of 3,360 bytes; the first 192 are the table of lengths
def test_a_psd_that_is_cut_short_is_refused(missing):
    data = rare.psd(Image.fromarray(noise((32, 32, 3))))
    assert decode(data).pixels.shape == (32, 32, 3)
    with pytest.raises(DecodeError, match="cut short"):
        decode(data[:-missing])


@needs("psd_tools")
@pytest.mark.parametrize("block", [b"junk", b"MM\0*\xff\xff\xff\xff"])
def test_damaged_exif_of_a_psd_is_named(block):
    metadata = decode(rare.psd_of(scene(), {1058: block})).metadata
    assert metadata.exif is None
    assert "EXIF (damaged" in metadata.lost[0]


@needs("psd_tools")
@pytest.mark.parametrize(("across", "down", "dpi"), [(300, 150, (300, 150)), (0, 0, None)])
def test_the_resolution_of_a_psd_is_kept(across, down, dpi):
    resource = struct.pack(">IHHIHH", across << 16, 1, 2, down << 16, 2, 2)
    assert metadata.dpi(decode(rare.psd_of(scene(), {1005: resource})).metadata) == dpi


@needs("psd_tools")
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_psd_modes(mode):
    image = Image.fromarray(scene()).convert(mode)
    if mode == "RGBA":
        image.putalpha(255)  # psd-tools does not write what Photoshop writes for other values
    stored = Image.fromarray(255 - np.asarray(image), mode) if mode == "CMYK" else image  # the share of paper
    picture = decode(rare.psd(stored))
    assert (picture.alpha is not None) == (mode == "RGBA")
    assert picture.grey == (mode == "L")
    assert close(picture.pixels, image.convert("RGB"), 3)


@needs("pillow_jxl")
@pytest.mark.parametrize("size", [(8, 8), (48, 32), (500, 333), (256, 256), (1200, 1000)])
@pytest.mark.parametrize("container", [False, True])
def test_the_size_of_a_jxl_is_known_before_it_is_decoded(size, container):
    data = rare.jxl(Image.new("RGB", size, (200, 30, 9)), use_container=container)
    seen = []
    jxl.read(io.BytesIO(data), lambda height, width: seen.append((width, height)))
    assert seen == [size, size], "before the decoder runs, and as it says itself"


@needs("pillow_jxl")
def test_xmp_of_a_jxl_is_named_as_lost():
    data = rare.jxl(Image.fromarray(scene()), use_container=True)
    assert decode(data).lost == ()
    for kind, body in ((b"xml ", b"<x:xmpmeta/>"), (b"brob", b"xml <x:xmpmeta/>")):
        box, long = struct.pack(">I4s", 8 + len(body), kind), struct.pack(">I4sQ", 1, kind, 16 + len(body))
        for header in (box, long):
            assert decode(data + header + body).lost == ("XMP (pillow-jxl-plugin reads none)",)
    assert decode(data + struct.pack(">I4s", 16, b"brob") + b"Exif....").lost == ()


@needs("pillow_jxl")
def test_jxl_keeps_exif_and_alpha():
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    image = Image.fromarray(np.dstack((scene(), np.maximum(noise((32, 48)), 1))))
    picture = decode(rare.jxl(image, lossless=True, exif=exif.tobytes(), use_container=True))
    assert np.array_equal(picture.alpha, np.asarray(image)[..., 3])
    assert b"Camera" in picture.metadata.exif


@needs("pillow_jxl")
def test_a_jxl_made_from_a_jpeg_is_upright_and_keeps_what_the_jpeg_said(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    source = tmp_path / "in.jpg"
    Image.fromarray(scene()).save(source, exif=exif, comment=b"a comment")
    with Image.open(source) as image:
        data = rare.jxl(image, lossless_jpeg=True)
    picture, expected = decode(data), decode(source)
    assert close(picture.pixels, expected.pixels, 3)
    assert picture.metadata == expected.metadata
    assert b"Camera" in picture.metadata.exif


@needs("pillow_jxl")
@pytest.mark.skipif(not shutil.which("vips"), reason="vips is not installed, see docs/CONTRIBUTING.md")
def test_a_jxl_of_16_bits_is_named_as_reduced(tmp_path):
    (tmp_path / "in.png").write_bytes(encode(Picture(noise((32, 48, 3), np.uint16)), "png"))
    subprocess.run(["vips", "copy", "in.png", "out.jxl[lossless]"], cwd=tmp_path, check=True)
    assert decode(tmp_path / "out.jxl").lost == ("8 of 16 bits (pillow-jxl-plugin reads no more)",)


def by_rows(samples, version):
    """A PSD or PSB (version 2) of (H, up to 128, 3) uint8 whose rows are compressed each, and the number of its px."""
    rows = [bytes([len(row) - 1]) + row.tobytes() for row in np.moveaxis(samples, 2, 0).reshape(-1, samples.shape[1])]
    header = b"8BPS" + struct.pack(">H6xHIIHH", version, 3, *samples.shape[:2], 8, 3) + bytes(8 + 4 * version)
    lengths = b"".join(struct.pack(">H" if version == 1 else ">I", len(row)) for row in rows)
    return header + struct.pack(">H", 1) + lengths + b"".join(rows)


@needs("psd_tools")
@pytest.mark.parametrize("version", [1, 2])
def test_a_large_photoshop_file_is_read_whole_or_refused(version):
    data = by_rows(scene(), version)
    assert np.array_equal(decode(data).pixels, scene())
    for missing in (1, 30):
        with pytest.raises(DecodeError, match="cut short"):
            decode(data[:-missing])


@needs("psd_tools")
@pytest.mark.parametrize(("count", "lost"), [(1, ()), (2, ("layers",))])
def test_layers_of_a_psd_are_named_as_lost(count, lost):
    from psd_tools import PSDImage

    file, stream = PSDImage.frompil(Image.fromarray(scene())), io.BytesIO()
    for _ in range(count):
        file.create_pixel_layer(Image.fromarray(scene()))
    file.save(stream)
    assert decode(stream.getvalue()).lost == lost


@needs("psd_tools")
def test_a_psd_that_ends_within_its_header_is_damage():
    with pytest.raises(DecodeError, match="damaged"):
        decode(rare.psd_of(scene(), {})[:20])


@needs("psd_tools")
def test_a_psd_with_damaged_pixels_is_refused_and_prints_nothing(caplog):
    caplog.set_level(logging.INFO, "psd_tools")
    pixels = 2 + scene().nbytes
    with warnings.catch_warnings(action="ignore"), pytest.raises(DecodeError, match="damaged"):
        decode(rare.psd_of(scene(), {})[:-pixels] + struct.pack(">H", 2) + b"no ZIP data")
    assert caplog.records == []
    assert logging.getLogger("psd_tools").level == logging.INFO


@needs("psd_tools")
def test_a_psd_of_16_bits_is_read_exactly():
    samples = noise((8, 9, 3), np.uint16)
    assert np.array_equal(decode(rare.psd_of(samples, {})).pixels, samples)


@needs("psd_tools")
def test_a_psd_of_32_bits_is_refused():
    with pytest.raises(DecodeError, match="it is a PSD of mode RGB with 32 bits; save it as RGB of 8 or 16 bits"):
        decode(rare.psd_of((scene() / 255).astype(np.float32), {}))


def layered(records, blocks=b""):
    """A PSD of 8 x 9 px with these records of layers without pixels, and these blocks behind them."""
    body = struct.pack(">h", len(records)) + b"".join(records)
    section = struct.pack(">I", len(body)) + body + bytes(4) + blocks
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 9, 8, 3)
    return header + bytes(8) + struct.pack(">I", len(section)) + section + bytes(2 + 8 * 9 * 3)


def divider(kind):
    """The record of a layer that begins (1) or ends (3) a group, which files have from the lowest to the highest."""
    extra = bytes(12) + b"8BIMlsct" + struct.pack(">II", 4, kind)
    return bytes(18) + b"8BIMnorm" + bytes((255, 0, 0, 0)) + struct.pack(">I", len(extra)) + extra


@needs("psd_tools")
@pytest.mark.parametrize(("depth", "lost"), [(1, ()), (2, ("layers",)), (2000, ("layers",))])
def test_a_psd_of_nested_groups_is_read(depth, lost):
    """psd-tools calls itself for each group to go through all layers, and 300 were more than Python allows."""
    assert decode(layered([divider(3)] * depth + [divider(1)] * depth)).lost == lost


@needs("psd_tools")
def test_what_psd_tools_does_not_know_is_not_printed(caplog):
    decode(layered([], b"8BIMzzzz" + bytes(4)))
    assert caplog.records == []
