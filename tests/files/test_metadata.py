"""Orientation, EXIF and resolution."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.exif import SHORT, Block
from facemend.records import Metadata, Picture
from tests.files.samples import (
    EXIF_IFD,
    GPS_IFD,
    MAKE,
    ORIENTATION,
    close,
    orientation_block,
    scene,
    with_thumbnail,
)
from tests.hostile import chunk, saved, saved_heif


@pytest.mark.parametrize("per_metre", [0xFFFFFFFF, 0x7FFFFFFF, 10])
def test_a_resolution_that_no_program_means_is_ignored(per_metre):
    body = struct.pack(">IIB", per_metre, per_metre, 1)
    data = encode(Picture(scene()), "png")
    assert decode(data[:33] + chunk(b"pHYs", body) + data[33:]).metadata.exif is None


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
        data = encode(Picture(stored.astype(np.uint16) * 257, metadata=Metadata(exif=exif.tobytes()[6:])), kind[:-2])
        if kind == "tiff16":
            block = Block(data)  # a TIFF has the same structure
            stored_as = block.entry(SHORT, 1, struct.pack(f"{block.order}H", orientation))
            block.replace_main(block.main_entries() | {ORIENTATION: stored_as})
            data = bytes(block.data)
        upright = upright.astype(np.uint16) * 257
    else:
        options = {"webp": {"lossless": True}, "jpeg": {"quality": 100, "subsampling": 0}}.get(kind, {})
        data = saved(Image.fromarray(stored), kind, exif=exif, **options)
    picture = decode(data)
    assert picture.pixels.shape == upright.shape
    assert close(picture.pixels, upright, 4 if kind == "jpeg" else 0)
    assert picture.metadata.exif is None or read_exif(picture.metadata.exif).get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_orientation_is_applied_to_alpha(dtype):
    alpha = scene()[..., 0].astype(dtype) // 2 + 1
    data = encode(Picture(scene().astype(dtype), alpha, metadata=Metadata(exif=orientation_block(6)[6:])), "png")
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
    assert b"thumbnail!" not in picture.metadata.exif
    dense = saved(Image.fromarray(scene()), "jpeg", exif=b"Exif\0\0" + with_thumbnail(block), dpi=(300, 300))
    assert b"thumbnail!" not in decode(dense).metadata.exif
    if depth == 16:
        picture = Picture(picture.pixels.astype(np.uint16) * 257, metadata=picture.metadata)
    again = decode(encode(picture, kind))
    kept = read_exif(again.metadata.exif)
    assert dict(kept).keys() - {ORIENTATION} == {MAKE, EXIF_IFD, GPS_IFD}
    assert kept.get(ORIENTATION, 1) == 1
    assert (kept[MAKE], kept.get_ifd(EXIF_IFD)[0x829A], kept.get_ifd(GPS_IFD)[1]) == ("Camera", 0.25, "N")
    assert again.pixels.shape == picture.pixels.shape


@pytest.mark.parametrize("source", ["jpeg", "png", "bmp", "tiff"])
@pytest.mark.parametrize(
    ("kind", "depth"), [("jpeg", 8), ("png", 8), ("webp", 8), ("tiff", 8), ("png", 16), ("tiff", 16)]
)
def test_the_resolution_is_kept(source, kind, depth):
    picture = decode(saved(Image.fromarray(scene()), source, dpi=(300, 150)))
    if depth == 16:
        picture = Picture(picture.pixels.astype(np.uint16) * 257, metadata=picture.metadata)
    data = encode(picture, kind)
    found = Image.open(io.BytesIO(data))
    block = found.getexif()
    assert (float(block[282]), float(block[283]), block[296]) == pytest.approx((300, 150, 2), abs=0.02)
    if kind != "webp":
        assert found.info["dpi"] == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_no_resolution_is_added(kind):
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    assert decode(saved(Image.fromarray(scene()), kind)).metadata.exif is None
    assert dict(read_exif(decode(saved(Image.fromarray(scene()), kind, exif=exif)).metadata.exif)) == {MAKE: "Camera"}


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
def test_a_valid_exif_resolution_is_also_written_to_the_format_header(kind, across, unit, dpi):
    exif = Image.Exif()
    exif.update({MAKE: "Camera", 283: across or 1.0, 296: unit})
    if across is not None:
        exif[282] = across
    info = Image.open(io.BytesIO(encode(Picture(scene(), metadata=Metadata(exif=exif.tobytes()[6:])), kind))).info
    found = info.get("dpi") if kind == "png" or info["jfif_unit"] else None
    assert found == (None if dpi is None else pytest.approx((dpi, dpi), abs=0.02))


@pytest.mark.parametrize("block", [b"junk", b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(40)])
def test_damaged_exif_is_ignored(block):
    picture = decode(saved(Image.fromarray(scene()), "jpeg", exif=b"Exif\0\0" + block))
    assert picture.pixels.shape == (32, 48, 3)
    assert picture.metadata.exif is None


@pytest.mark.parametrize(("length", "kept"), [(65533, True), (65534, False), (70000, False)])
def test_exif_too_long_for_jpeg_is_omitted(length, kept):
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    picture = Picture(scene(), metadata=Metadata(exif=exif.tobytes().ljust(length, b"\0")[6:]))
    assert (decode(encode(picture, "jpeg")).metadata.exif is not None) == kept
    assert decode(encode(picture, "png")).metadata.exif is not None


def test_heif_rotation_is_not_applied_twice():
    exif = orientation_block(6)
    upright = np.rot90(scene(), -1)
    data = saved_heif(Image.fromarray(scene()), exif, quality=-1, chroma=444)
    assert b"irot" in data
    assert close(decode(data).pixels, upright, 12)
    assert close(
        decode(saved(Image.fromarray(scene()), "avif", quality=100, subsampling="4:4:4", exif=exif)).pixels, upright, 12
    )
