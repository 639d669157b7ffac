"""Channels, planes, pages and compressions of TIFF files, and HEIC files with more than 8 bits."""

import contextlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from facemend.errors import DecodeError, TooLargeError
from facemend.files import bigtiff, headers, metadata, spaces, tiff, tiff_samples
from facemend.files.colour import deep_to_srgb
from facemend.files.decode import decode
from facemend.files.directories import LONGEST_VALUE, Reader
from facemend.files.encode import encode
from facemend.files.exif import EXIF, GPS, INTEROPERABILITY, LONG, SHORT, Block
from facemend.records import ONLY_FIRST, Metadata, Picture, Settings
from tests.files.blocks import made
from tests.files.samples import ORIENTATION, close, noise, scene
from tests.hostile import saved
from tests.programs import needs

BITS, PHOTOMETRIC, STRIP, SAMPLES, STRIP_BYTES, PLANES, EXTRA = 258, 262, 273, 277, 279, 284, 338
CHILDREN = (EXIF, GPS, INTEROPERABILITY)  # tags that point to another directory
CMYK = 5
OTHER = "1 of its channels (neither colours nor transparency)"


def changed(data, without=(), **tags):
    """A TIFF with other tags: `t284=2` sets tag 284 to one SHORT, `t273=(1, 2)` sets several LONG."""
    block = Block(data)
    entries = {tag: entry for tag, entry in block.main_entries().items() if tag not in without}
    for name, value in tags.items():
        numbers = value if isinstance(value, tuple) else (value,)
        kind, code = (LONG, "I") if isinstance(value, tuple) else (SHORT, "H")
        packed = struct.pack(f"{block.order}{len(numbers)}{code}", *numbers)
        entries[int(name[1:])] = block.entry(kind, len(numbers), packed)
    block.replace_main(entries)
    return bytes(block.data)


def written(samples):
    """A TIFF of (H, W, 3 or 4)."""
    return encode(Picture(samples[..., :3], samples[..., 3] if samples.shape[2] == 4 else None), "tiff")


def in_planes(samples):
    data = written(samples)
    count, size = samples.shape[2], samples[..., 0].nbytes
    start = len(data) - samples.nbytes
    planes = b"".join(np.ascontiguousarray(samples[..., i]).tobytes() for i in range(count))
    offsets = tuple(start + i * size for i in range(count))
    return changed(data[:start] + planes, t284=2, t273=offsets, t279=(size,) * count)


def tiff_of(samples, photometric, kinds, separate, order):
    """A TIFF of (H, W, C), uncompressed in one strip or one for each plane."""
    height, width, channels = samples.shape
    stored = np.moveaxis(samples, 2, 0) if separate else samples
    pixels = stored.astype(samples.dtype.newbyteorder(order)).tobytes()
    count = channels if separate else 1
    fields = {
        256: [width],
        257: [height],
        BITS: [8 * samples.itemsize] * channels,
        259: [1],
        PHOTOMETRIC: [photometric],
        STRIP: [8 + len(pixels) // count * index for index in range(count)],
        SAMPLES: [channels],
        278: [height],
        STRIP_BYTES: [len(pixels) // count] * count,
        PLANES: [2 if separate else 1],
        EXTRA: kinds,
    }
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    directory = struct.pack(f"{order}HHHII4x", 1, 256, LONG, 1, width)
    block = Block(mark + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + directory)
    block.replace_main(
        {
            tag: block.entry(SHORT, len(numbers), struct.pack(f"{order}{len(numbers)}H", *numbers))
            for tag, numbers in fields.items()
            if numbers
        }
    )
    return bytes(block.data)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_16_bits_of_another_writer_are_read_exactly(compression):
    """OpenCV writes strips with differences between neighbours."""
    samples = noise((40, 30, 3), np.uint16)
    data = cv2.imencode(".tiff", samples[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()
    picture = decode(data)
    assert np.array_equal(picture.pixels, samples)
    assert picture.lost == ()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bits_in_planes_are_read_exactly(channels, orientation):
    samples = np.maximum(noise((40, 30, channels), np.uint16), 1)
    picture = decode(changed(in_planes(samples), **{f"t{ORIENTATION}": orientation}))
    expected = np.rot90(samples, -1) if orientation == 6 else samples
    assert np.array_equal(picture.pixels, expected[..., :3])
    assert channels == 3 or np.array_equal(picture.alpha, expected[..., 3])


@needs("vips")
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "zstd", "packbits"])
@pytest.mark.parametrize("predictor", ["none", "horizontal"])
@pytest.mark.parametrize("tile", [True, False])
def test_16_bits_in_tiles_are_read_exactly(tmp_path, compression, predictor, tile):
    samples = noise((150, 200, 3), np.uint16)
    (tmp_path / "in.png").write_bytes(encode(Picture(samples), "png"))
    options = f"compression={compression},predictor={predictor}" + (
        ",tile,tile-width=64,tile-height=48" if tile else ""
    )
    subprocess.run(["vips", "copy", "in.png", f"out.tif[{options}]"], cwd=tmp_path, check=True, capture_output=True)
    assert np.array_equal(decode(tmp_path / "out.tif").pixels, samples)


@pytest.mark.skipif(not shutil.which("convert"), reason="ImageMagick is not installed, see docs/CONTRIBUTING.md")
@pytest.mark.parametrize("compression", ["none", "lzw", "zip"])
def test_planes_of_another_program_are_read_exactly(tmp_path, compression):
    samples = noise((50, 70, 3), np.uint16)
    (tmp_path / "in.png").write_bytes(encode(Picture(samples), "png"))
    command = ["convert", "in.png", "-interlace", "plane", "-compress", compression, "out.tif"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with Image.open(tmp_path / "out.tif") as image:
        assert image.tag_v2[PLANES] == 2
    assert np.array_equal(decode(tmp_path / "out.tif").pixels, samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("kind", "alpha"), [(0, False), (1, True), (2, True), (None, False)])
def test_a_fourth_channel_is_transparency_only_where_the_file_says_so(dtype, kind, alpha):
    samples = np.maximum(noise((8, 9, 4), dtype), np.iinfo(dtype).max // 2)
    data = written(samples)
    picture = decode(changed(data, without=[EXTRA]) if kind is None else changed(data, t338=kind))
    assert (picture.alpha is not None) == alpha
    assert picture.lost == (() if alpha else (OTHER,))
    if kind != 1:
        assert np.array_equal(picture.pixels, samples[..., :3])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("colours", "photometric", "kinds"),
    [
        (1, 1, (2,)),
        (1, 1, (0,)),
        (1, 0, (0, 2)),
        (3, 2, (0,)),
        (3, 2, (1,)),
        (3, 2, (0, 2)),
        (3, 2, (2, 0)),
        (3, 2, (0, 0, 0)),
        (4, 5, (2,)),
        (4, 5, (0,)),
        (1, 0, ()),
    ],
)
def test_channels_besides_the_colours_are_transparency_or_left_out(colours, photometric, kinds, dtype, separate, order):
    samples = np.maximum(noise((8, 9, colours + len(kinds)), dtype), np.iinfo(dtype).max // 2)
    if photometric == 5:
        samples[..., 3] = 0  # black
    data = tiff_of(samples, photometric, kinds, separate, order)
    white = np.iinfo(dtype).max
    expected = samples[..., : min(colours, 3)].astype(float)
    if kinds == (1,):
        expected = expected / (samples[..., 3:] / white)
    picture = decode(data)
    assert picture.pixels.dtype == dtype
    assert picture.grey == (colours == 1)
    expected = white - expected if photometric in (0, 5) else expected
    assert close(picture.pixels, np.broadcast_to(expected.clip(0, white), (8, 9, 3)), 0.5)
    has_alpha = kinds[:1] in ((1,), (2,))
    assert (picture.alpha is not None) == has_alpha
    assert not has_alpha or np.array_equal(picture.alpha, samples[..., colours])
    left = len(kinds) - has_alpha
    assert picture.lost == ((OTHER.replace("1", str(left), 1),) if left else ())


@pytest.mark.parametrize(("channels", "photometric"), [(1, 2), (2, 2), (1, 5), (2, 5), (3, 5)])
def test_samples_that_lack_a_colour_are_damage(channels, photometric):
    with pytest.raises(DecodeError, match="contradicts itself"):
        decode(tiff_of(noise((8, 9, channels), np.uint16), photometric, (), False, "<"))


def test_numbers_of_64_bits_in_a_classic_file_are_damage():
    block = Block(written(noise((8, 9, 3), np.uint16)))
    tags = {256: [9], 257: [8], BITS: [16], PHOTOMETRIC: [2], STRIP: [8], SAMPLES: [3], 278: [8], STRIP_BYTES: [432]}
    block.replace_main(
        {tag: block.entry(16, 1, struct.pack(f"{block.order}Q", *numbers)) for tag, numbers in tags.items()}
    )
    with pytest.raises(DecodeError, match="its directory cannot be read"):
        decode(bytes(block.data))


def test_too_many_channels_are_named():
    samples = noise((8, 9, 9), np.uint16)
    assert decode(tiff_of(samples[..., :8], 2, (0,) * 5, False, "<")).pixels.shape == (8, 9, 3)
    with pytest.raises(DecodeError, match="it has 9 channels; save it with at most 8"):
        decode(tiff_of(samples, 2, (0,) * 6, False, "<"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_without_compression_a_predictor_means_nothing(dtype):
    samples = np.maximum(noise((8, 9, 5), dtype), 1)
    picture = decode(changed(tiff_of(samples, 2, (2, 0), False, "<"), t317=2))
    assert np.array_equal(picture.pixels, samples[..., :3])


def test_the_limit_is_that_of_the_px_and_not_of_the_samples(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8 * 9)
    for dtype in (np.uint8, np.uint16):
        samples = np.maximum(noise((8, 9, 4), dtype), 1)
        assert np.array_equal(decode(written(samples)).pixels, samples[..., :3])
    with pytest.raises(TooLargeError):
        decode(written(noise((80, 90, 3), np.uint16)), Settings(max_input_mp=0.001))


def test_the_height_that_is_checked_is_the_one_that_is_read():
    """A height whose value lies over others is not the one that counts, which Pillow does not know."""
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 11)
    pixels = 8 + 2 + 12 * 11 + 4
    size = pixels + 10 * 10 * 2
    rows = ((254, 7, size - 7, 7), (257, 16, 1, pixels), (257, 4, 1, 10), (256, 4, 1, 10), (258, 4, 1, 16))
    rows += ((259, 4, 1, 1), (262, 4, 1, 1), (273, 4, 1, pixels), (277, 4, 1, 1), (278, 4, 1, 10), (279, 4, 1, 200))
    data += b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    data += struct.pack("<Q", 100_000).ljust(200, b"\0")
    assert decode(data).pixels.shape == (10, 10, 3)


def test_colours_of_16_bits_are_those_of_the_profile_or_of_adobe_rgb(monkeypatch):
    samples = noise((8, 9, 3), np.uint16)
    expected = deep_to_srgb(samples, spaces.of_adobe_rgb(), [])
    assert not np.array_equal(expected, samples)
    block = Block(written(samples))
    block.replace_main(
        block.main_entries() | {34675: block.entry(7, len(spaces.of_adobe_rgb()), spaces.of_adobe_rgb())}
    )
    assert np.array_equal(decode(bytes(block.data)).pixels, expected)
    monkeypatch.setattr(metadata, "is_adobe_rgb", lambda described: True)
    assert np.array_equal(decode(written(samples)).pixels, expected)


def test_pixels_compressed_as_jpeg_are_left_to_pillow():
    for compression, reads in ((5, True), (7, False)):
        reader = Reader(io.BytesIO(changed(tiff_of(noise((8, 9, 2)), 1, (0,), False, "<"), t259=compression)))
        assert tiff_samples.reads(reader, reader.first_page()) == reads


def test_a_pillow_image_of_a_reduced_copy_is_that_copy():
    pages = noise((16, 24, 3)), noise((64, 96, 3))
    block = Block(cv2.imencodemulti(".tiff", pages)[1].tobytes())
    block.set_number(block.main, 254, 1)
    with Image.open(io.BytesIO(bytes(block.data))) as image:
        assert decode(image).pixels.shape == (16, 24, 3)
    kind = {254: block.entry(2, 2, b"1\0")}  # a text
    block.replace_main(block.main_entries() | kind)
    with Image.open(io.BytesIO(bytes(block.data))) as image:
        assert decode(image).pixels.shape == (16, 24, 3)


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def test_to_find_the_picture_and_to_tell_a_raw_file_no_other_values_are_read():
    data = with_classic_pages(changed(written(noise((6, 5, 3)))), 400, 1 << 18)
    for look in (tiff.is_raw, lambda reader: len([*reader.pages()]) < 400):
        stream = Counted(data)
        assert not look(Reader(stream))
        assert stream.count < 1 << 18


def test_to_tell_a_raw_file_few_of_many_sub_directories_are_read():
    data = changed(written(noise((6, 5, 3))), t330=(8,) * 10_000)
    stream = Counted(data)
    assert not tiff.is_raw(Reader(stream))
    assert stream.count < 2 * len(data)


def test_cmyk_of_16_bits_keeps_16_bits():
    samples = noise((20, 30, 4), np.uint16)
    picture = decode(changed(written(samples), without=[EXTRA], t262=CMYK))
    light = 65535 - samples.astype(float)
    assert picture.pixels.dtype == np.uint16
    assert picture.alpha is None
    assert close(picture.pixels, light[..., :3] * light[..., 3:] / 65535, 1)
    flat = Image.fromarray((samples // 257).astype(np.uint8), "CMYK")
    assert close(picture.pixels / 257, decode(saved(flat, "tiff")).pixels, 2)


@pytest.mark.parametrize(
    ("tags", "reason", "remedy"),
    [
        ({"t339": 2}, "its samples are not unsigned numbers", "save it with unsigned 8 or 16 bits"),
        ({"t258": (32, 32, 32)}, "its samples have more than 16 bits", "save it with unsigned 8 or 16 bits"),
        ({"t259": 50001}, "compressed with WebP", "save it with LZW compression"),
        (
            {"t262": 9},
            r"colours are not read \(PhotometricInterpretation 9, 16 bits\)",
            "save it as RGB with 8 or 16 bits",
        ),
        ({"t258": (10, 10, 10)}, r"colours are not read \(.* 2, 10 bits\)", "save it as RGB with 8 or 16 bits"),
    ],
)
def test_pixels_that_are_not_read_are_named(tags, reason, remedy):
    with pytest.raises(DecodeError, match=rf"cannot read the picture: .*{reason}.*; {remedy}"):
        decode(changed(written(noise((8, 9, 3), np.uint16)), **tags))


@pytest.mark.parametrize("photometric", [4, 9])
def test_a_mask_and_colours_of_icc_are_not_taken_for_others(photometric):
    with pytest.raises(DecodeError, match=rf"colours are not read \(PhotometricInterpretation {photometric}, 8 bits\)"):
        decode(changed(written(noise((8, 9, 3))), t262=photometric))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_reduced_copy_is_not_the_picture(dtype):
    pixels = noise((64, 96, 3), dtype)
    pages = [np.ascontiguousarray(page[..., ::-1]) for page in (pixels[::4, ::4], pixels, pixels[::2, ::2])]
    for count, several in ((2, False), (3, True)):
        block = Block(cv2.imencodemulti(".tiff", pages[:count])[1].tobytes())
        block.set_number(block.main, 254, 1)
        picture = decode(bytes(block.data))
        assert np.array_equal(picture.pixels, pixels)
        assert (ONLY_FIRST in picture.lost) == several


def test_the_size_in_the_header_is_not_that_of_a_reduced_copy(tmp_path):
    pages = noise((16, 24, 3)), noise((64, 96, 3))
    block = Block(cv2.imencodemulti(".tiff", pages)[1].tobytes())
    block.set_number(block.main, 254, 1)
    (tmp_path / "copy.tif").write_bytes(bytes(block.data))
    assert headers.read(tmp_path / "copy.tif").size == (64, 96)


def big(data):
    """A classic TIFF as a BigTIFF, with 64 bits for each offset."""
    reader = Reader(io.BytesIO(data))
    out = bytearray(16) + data

    def pack(code, *numbers):
        return struct.pack(f"{reader.order}{code}", *numbers)

    def put(content):
        out.extend(content)
        return pack("Q", len(out) - len(content))

    def add(directory):
        rows = b""
        for tag, value in sorted(directory.values.items()):
            kind, body, numbers = value.kind, value.data, [*reader.numbers(directory, tag)]
            if tag == STRIP:
                kind, body = 16, pack(f"{len(numbers)}Q", *(number + 16 for number in numbers))
            elif tag in CHILDREN:
                kind, body = 18, add(reader.directory(numbers[0]))
            rows += pack("HHQ", tag, kind, value.count) + (body if len(body) <= 8 else put(body)).ljust(8, b"\0")
        return put(pack("Q", len(directory.values)) + rows + bytes(8))

    link = 8
    for directory in reader.directories():
        out[link : link + 8] = add(directory)
        link = len(out) - 8
    out[:8] = (b"II" if reader.order == "<" else b"MM") + pack("HHH", 43, 8, 0)
    return bytes(out)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [0, 2])
def test_the_fourth_channel_of_a_bigtiff_is_alpha_where_it_says_so(kind, dtype):
    samples = np.maximum(noise((6, 5, 4), dtype), 1)
    picture = decode(big(changed(written(samples), t338=kind)))
    assert (picture.alpha is not None) == (kind == 2)
    assert np.array_equal(picture.pixels, samples[..., :3])
    assert (OTHER in picture.lost) == (kind == 0)


def described(exif):
    """The values of a block, wherever they are in it."""
    reader = Reader(io.BytesIO(exif))

    def of(directory):
        return {
            tag: of(reader.directory(reader.first(directory, tag)))
            if tag in CHILDREN
            else (value.kind, value.count, value.data)
            for tag, value in directory.values.items()
        }

    return of(reader.first_directory())


@pytest.mark.parametrize("seed", range(12))
def test_a_bigtiff_is_read_as_the_classic_file_with_all_it_says(seed):
    dtype = [np.uint8, np.uint16][seed % 2]
    samples = np.maximum(noise((6, 5, 4), dtype), 1)
    alpha = samples[..., 3] if dtype == np.uint16 else None
    exif = bytes(made(seed).data)
    told = Metadata(exif, b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", b"\x1c\x02\x05\0\5title")
    data = changed(encode(Picture(samples[..., :3], alpha, metadata=told), "tiff"), t274=seed % 8 + 1)
    classic, read = decode(data), decode(big(data))
    assert np.array_equal(read.pixels, classic.pixels)
    assert np.array_equal(read.alpha, classic.alpha)
    assert described(read.metadata.exif) == described(classic.metadata.exif)
    assert (read.metadata.xmp, read.metadata.iptc) == (classic.metadata.xmp, classic.metadata.iptc) != (None, None)
    as_it_is = data[:2] == b"II" and dtype == np.uint8  # it is not made into a classic file
    moved = ("offsets inside the MakerNote (it had to move)",) if as_it_is else ()
    assert (read.lost, read.metadata.lost) == (classic.lost, classic.metadata.lost + moved)


@pytest.mark.parametrize("kind", ["planes", "CMYK", "premultiplied"])
def test_every_kind_of_16_bits_in_a_bigtiff_is_read_as_in_the_classic_file(kind):
    samples = np.maximum(noise((40, 30, 4), np.uint16), 1)
    data = {
        "planes": lambda: in_planes(samples),
        "CMYK": lambda: changed(written(samples), without=[EXTRA], t262=CMYK),
        "premultiplied": lambda: changed(written(samples), t338=1),
    }[kind]()
    classic, read = decode(data), decode(big(data))
    assert np.array_equal(read.pixels, classic.pixels)
    assert (read.alpha is None) == (kind == "CMYK")
    assert np.array_equal(read.alpha, classic.alpha)


@needs("vips")
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "zstd", "packbits"])
def test_a_bigtiff_of_another_program_is_read_exactly(tmp_path, compression):
    samples = noise((150, 200, 3), np.uint16)
    (tmp_path / "in.png").write_bytes(encode(Picture(samples), "png"))
    options = f"bigtiff,compression={compression},predictor=horizontal,tile,tile-width=64,tile-height=48"
    subprocess.run(["vips", "copy", "in.png", f"out.tif[{options}]"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out.tif").read_bytes()[2:4] == b"+\0"
    assert np.array_equal(decode(tmp_path / "out.tif").pixels, samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_a_bigtiff_the_first_page_that_is_no_reduced_copy_is_read(tmp_path, dtype):
    pages = noise((16, 24, 3), dtype), noise((64, 96, 3), dtype)
    block = Block(cv2.imencodemulti(".tiff", [*pages, pages[0]])[1].tobytes())
    block.set_number(block.main, 254, 1)
    (tmp_path / "big.tif").write_bytes(big(bytes(block.data)))
    picture = decode(tmp_path / "big.tif")
    assert np.array_equal(picture.pixels, pages[1][..., ::-1])
    assert ONLY_FIRST in picture.lost
    assert headers.read(tmp_path / "big.tif").size == (64, 96)


def with_classic_pages(data, count, length):
    """A little-endian TIFF with more pages, which share a value of this length."""
    data = bytearray(data)
    start = len(data) + length
    data[-4:] = struct.pack("<I", start)  # the next page
    data += bytes(length)
    for index in range(1, count + 1):
        data += struct.pack("<HHHII", 1, 60000, 7, length, start - length) + struct.pack("<I", start + 18 * index)
    data[-4:] = bytes(4)
    return bytes(data)


def with_pages(data, length, places):
    """A little-endian BigTIFF with one more page for each place of a value of this length, 0 for its start."""
    data = bytearray(data)
    data[-8:] = struct.pack("<Q", len(data) + 2 * length)  # the next page
    start = len(data)
    data += bytes(2 * length)
    for place in places:
        field = struct.pack("<HHQQ", 60000, 7, length, start + place)
        data += struct.pack("<Q", 1) + field + struct.pack("<Q", len(data) + 36)
    return bytes(data)


def test_pages_of_a_bigtiff_may_share_a_value():
    samples = noise((6, 5, 3), np.uint16)
    assert np.array_equal(decode(with_pages(big(written(samples)), 1 << 20, [0] * 5)).pixels, samples)


def test_values_of_a_bigtiff_that_overlap_take_no_more_memory_than_the_file():
    data = big(written(noise((6, 5, 3), np.uint16)))
    with pytest.raises(DecodeError, match="its values overlap"):
        decode(with_pages(data, 1 << 20, [0, 1, 2]))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_bigtiff_of_8_bits_is_not_read_into_the_memory_by_the_program(tmp_path, compression):
    path = tmp_path / "big.tif"
    path.write_bytes(big(saved(Image.fromarray(scene()), "tiff", compression=compression)))
    os.truncate(path, 1 << 29)
    code = """
import sys
from facemend.files.decode import decode
def peak(): return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
before = peak()
decode(sys.argv[1])
print(peak() - before)
"""
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 100_000  # kB


def test_a_bigtiff_is_not_read_into_the_memory(tmp_path):
    path = tmp_path / "big.tif"
    path.write_bytes(big(written(noise((6, 5, 3)))))
    os.truncate(path, 1 << 26)
    tracemalloc.start()
    for _ in range(2):
        assert headers.read(path).size == decode(path).pixels.shape[:2]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 23


def test_a_bigtiff_that_does_not_fit_into_a_classic_one_is_refused(monkeypatch):
    data = big(written(noise((6, 5, 3), np.uint16)))
    monkeypatch.setattr(bigtiff, "LARGEST", len(data) - 1)
    with pytest.raises(DecodeError, match="it is a BigTIFF of more than 2 GB; save it in parts"):
        decode(data)


@pytest.mark.parametrize("offset", [2**40 + 5, 2**64 - 1])
@pytest.mark.parametrize("of", ["pixels", "directory"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_bigtiff_with_an_offset_beyond_its_end_is_refused(tmp_path, dtype, of, offset):
    data = bytearray(big(written(noise((6, 5, 3), dtype))))
    at = 8 if of == "directory" else data.index(struct.pack("<HHQ", STRIP, 16, 1)) + 12
    data[at : at + 8] = struct.pack("<Q", offset)
    (tmp_path / "big.tif").write_bytes(data)
    for source in (tmp_path / "big.tif", bytes(data)):
        with pytest.raises(DecodeError, match="damaged"):
            decode(source)


def test_values_over_each_other_take_no_more_memory_than_the_file():
    length, count = 1 << 20, 40
    fields = [struct.pack("<HHII", 60000 + i, 7, length, 8 + 2 + 12 * count + 4) for i in range(count)]
    data = b"II*\0" + struct.pack("<IH", 8, count) + b"".join(fields) + bytes(4) + bytes(length)
    directory = Reader(io.BytesIO(data)).first_directory()
    assert sum(len(value.data) for value in directory.values.values()) <= len(data)


def test_metadata_of_a_file_with_nothing_but_a_reduced_copy_is_kept():
    data = saved(Image.fromarray(scene()), "tiff", tiffinfo={254: 1, 315: "an artist"})
    metadata = decode(data).metadata
    assert b"an artist" in metadata.exif
    assert metadata.lost == ()


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_with_more_than_8_bits_is_read_with_16(bits, mode):
    ramp = np.linspace(0, 65535, 256 * 64).astype(np.uint16).reshape(64, 256)
    samples = ramp if mode == "L" else np.dstack([ramp, ramp, ramp, np.maximum(ramp, 999)][: len(mode)])
    stream = io.BytesIO()
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    try:
        file = pillow_heif.from_bytes(f"{mode};16", (256, 64), samples.tobytes())
        file.save(stream, quality=-1, chroma=444)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    picture = decode(stream.getvalue())
    assert picture.pixels.dtype == np.uint16
    assert picture.grey == (mode == "L")
    assert close(picture.pixels[..., 0], ramp, 65535 / 2**bits * 3)
    assert picture.pixels.max() == 65535
    assert len(np.unique(picture.pixels[..., 0])) > 0.8 * 2**bits
    assert (picture.alpha is not None) == (mode == "RGBA")


def test_libtiff_and_pillow_write_nothing_to_stderr(capfd, caplog):
    """Of a TIFF with an unknown tag it would write a warning, and of one cut short an error."""
    data = saved(Image.fromarray(scene()), "tiff", compression="tiff_lzw")
    odd = Block(data)
    odd.replace_main(odd.main_entries() | {65000: odd.entry(SHORT, 1, b"\0\0")})
    assert decode(bytes(odd.data)).pixels.shape == (32, 48, 3)
    broken = [data.replace(data[8:200], bytes(192))]
    broken += [changed(data, **tag) for tag in ({"t259": 50001}, {"t278": 5}, {"t277": 60000})]
    deep = cv2.imencode(".tiff", noise((8, 9, 3), np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()
    broken.append(deep.replace(deep[8:100], bytes(92)))
    for one in broken:
        with contextlib.suppress(DecodeError):
            decode(one)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def in_planes_of_tiles(samples, side=16):
    """Its height and width are multiples of the tile's side."""
    height, width, channels = samples.shape
    squares = samples.reshape(height // side, side, width // side, side, channels).transpose(4, 0, 2, 1, 3)
    data, size, count = written(samples), side * side * samples.itemsize, squares.size // side**2
    offsets = tuple(len(data) + size * index for index in range(count))
    tags = {"t284": 2, "t322": side, "t323": side, "t324": offsets, "t325": (size,) * count}
    return changed(data + squares.tobytes(), without=[STRIP, STRIP_BYTES, 278], **tags)


def test_planes_of_tiles_are_read_exactly():
    samples = noise((32, 48, 3), np.uint16)
    assert np.array_equal(decode(in_planes_of_tiles(samples)).pixels, samples)


def test_a_profile_that_is_a_number_is_not_used():
    samples = noise((8, 9, 3))
    picture = decode(changed(written(samples), t34675=1))
    assert np.array_equal(picture.pixels, samples)
    assert "colour profile (damaged, or for other pixels)" in picture.lost


def in_one_tile(samples, side):
    """The tile has what is read, and fewer bytes where its side is longer than 2048 px."""
    height, width, channels = samples.shape
    tile = np.zeros((min(side, 2048), min(side, 2048), channels), samples.dtype)
    tile[:height, :width] = samples
    data, packed = written(samples), zlib.compress(tile.tobytes(), 1)
    tags = {"t259": 8, "t322": side, "t323": side, "t324": (len(data),), "t325": (len(packed),)}
    return changed(data + packed, without=[STRIP, STRIP_BYTES, 278], **tags)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_that_need_much_more_memory_than_the_picture_are_refused(dtype):
    """One tile of 32000 x 32000 px in a file of 166 bytes took 2 GB."""
    samples = noise((16, 32, 3), dtype)
    assert np.array_equal(decode(in_one_tile(samples, 2048)).pixels, samples)
    with pytest.raises(DecodeError, match="its tiles of 32000 x 32000 pixels are much larger than the picture"):
        decode(in_one_tile(samples, 32000))


def test_premultiplied_16_bits_that_are_invisible_take_the_colour_of_their_neighbours():
    samples = np.full((3, 3, 4), (1000, 2000, 3000, 32768), np.uint16)
    samples[1, 1] = 0
    picture = decode(changed(written(samples), t338=1))
    assert picture.alpha[1, 1] == 0
    assert close(picture.pixels, np.full((3, 3, 3), (2000, 4000, 6000)), 1)


@pytest.mark.parametrize(("stored", "read"), [(-5, -5), (-(2**40), -(2**31)), (2**40, 2**31 - 1)])
def test_a_signed_number_of_64_bits_becomes_the_nearest_of_32(stored, read):
    data = big(changed(written(noise((6, 5, 3))), t60000=(1,)))
    row, signed = struct.pack("<HHQ", 60000, LONG, 1), struct.pack("<HHQq", 60000, 17, 1, stored)
    at = data.index(row)
    picture = decode(data[:at] + signed + data[at + len(signed) :])
    assert described(picture.metadata.exif)[60000] == (9, 1, struct.pack("<i", read))


def test_all_of_many_fields_are_kept():
    fields = {f"t{60000 + number}": number for number in range(200)}
    data = changed(written(noise((6, 5, 3))), **fields)
    for one in (data, big(data)):
        kept = described(decode(one).metadata.exif)
        assert [kept[60000 + number][2] for number in range(200)] == [struct.pack("<H", n) for n in range(200)]


def test_a_page_that_the_file_links_to_again_counts_once():
    data = bytearray(changed(written(noise((6, 5, 3)))))
    data[-4:] = data[4:8]  # the next page
    assert decode(bytes(data)).lost == ()


def test_the_page_after_one_with_many_fields_is_found():
    data = changed(written(noise((6, 5, 3))), **{f"t{60000 + number}": number for number in range(600)})
    assert decode(data[:-4] + data[4:8]).lost == ()  # the same page
    following = struct.pack("<I", len(data)) + data[int.from_bytes(data[4:8], "little") :]
    assert decode(data[:-4] + following).lost == (ONLY_FIRST,)


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("is_big", [False, True])
def test_a_tiff_that_pillow_has_opened_keeps_its_exif(is_big, loaded):
    stream, fields = io.BytesIO(), Image.Exif()
    fields[271] = "Maker"
    Image.fromarray(scene()).save(stream, "TIFF", big_tiff=is_big, exif=fields)
    image = Image.open(stream)
    if loaded:
        image.load()
    metadata = decode(image).metadata
    assert described(metadata.exif)[271] == (2, 6, b"Maker\0")
    assert metadata.lost == ()
    assert image.getexif().bigtiff == is_big


def test_a_tiff_that_ends_within_the_offset_of_the_next_page_is_read():
    samples = noise((6, 5, 3))
    data = changed(written(samples))
    assert np.array_equal(decode(data[:-2]).pixels, samples)


@pytest.mark.parametrize("as_big", [False, True])
def test_a_tiff_without_pages_is_refused(as_big):
    data = bytearray(written(noise((6, 5, 3))))
    data[4:8] = bytes(4)
    with pytest.raises(DecodeError, match="damaged"):
        decode(big(bytes(data)) if as_big else bytes(data))


def test_a_field_of_an_unknown_type_is_left_out():
    data = changed(written(noise((6, 5, 3))), t315=7, t60000=7)
    data = data.replace(struct.pack("<HHI", 60000, SHORT, 1), struct.pack("<HHI", 60000, 99, 1))
    metadata = decode(data).metadata
    assert [one.tag for one in Block(metadata.exif).main if one.tag >= 315] == [315]
    assert metadata.lost == ()


def test_the_size_in_the_header_of_a_big_endian_bigtiff_is_that_of_the_picture(tmp_path):
    exif = next(block.data for block in map(made, range(9)) if block.order == ">")
    (tmp_path / "big.tif").write_bytes(big(encode(Picture(scene(), metadata=Metadata(exif)), "tiff")))
    assert headers.read(tmp_path / "big.tif").size == (32, 48)


def document(order, *blocks):
    """What Photoshop adds to a TIFF; a block is a key, its mark, and the content."""
    turn, data = (-1 if order == "<" else 1), tiff.DOCUMENT_MARK
    for key, mark, content in blocks:
        size = struct.pack(f"{order}{'Q' if mark == tiff.WIDE_BLOCK else 'I'}", len(content))
        data += mark[::turn] + key[::turn] + size + content + bytes(-len(content) % 4)
    return data


def with_document(data, added):
    block = Block(data)
    entry = block.entry(tiff.UNDEFINED, len(added), added)
    block.replace_main({**block.main_entries(), tiff.DOCUMENT: entry})
    return bytes(block.data)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("key", "mark"), [*((key, b"8BIM") for key in tiff.LAYERS), (b"Layr", tiff.WIDE_BLOCK)])
@pytest.mark.parametrize(("count", "lost"), [(2, ("layers",)), (-2, ("layers",)), (1, ()), (-1, ()), (0, ())])
def test_layers_of_photoshop_are_named_as_lost(order, key, mark, count, lost):
    """The picture of all layers is the one that is read."""
    layers = struct.pack(f"{order}h", count) + bytes(9)
    added = document(order, (b"LMsk", b"8BIM", bytes(13)), (key, mark, layers))
    samples = noise((8, 9, 3))
    read = decode(with_document(tiff_of(samples, tiff.RGB, (), False, order), added))
    assert read.lost == lost
    np.testing.assert_array_equal(read.pixels, samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_layers_longer_than_metadata_are_named_too(dtype):
    added = document("<", (b"Layr", b"8BIM", struct.pack("<h", 3) + bytes(LONGEST_VALUE)))
    data = with_document(tiff_of(noise((8, 9, 3), dtype), tiff.RGB, (), False, "<"), added)
    assert decode(data).lost == ("layers",)


@pytest.mark.parametrize(
    "added",
    [
        document("<"),
        document("<", (b"Layr", b"8BIM", struct.pack("<h", 9)))[:-3],  # cut short
        document("<", (b"Layr", b"8BIM", b"")),
        document("<", (b"Layr", b"xxxx", bytes([9] * 8))),
        b"another " + document("<", (b"Layr", b"8BIM", bytes([9] * 8))),
        document("<", *[(b"Patt", b"8BIM", b"")] * tiff.MOST_BLOCKS, (b"Layr", b"8BIM", bytes([9] * 8))),
    ],
)
def test_what_photoshop_adds_without_layers_is_not_named(added):
    assert decode(with_document(tiff_of(noise((8, 9, 3)), tiff.RGB, (), False, "<"), added)).lost == ()
