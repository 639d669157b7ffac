"""EXIF blocks are edited in place: every byte but those of the fields that became false is as it was."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from facemend.files import formats
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.exif import LONG, Block, empty
from facemend.records import Metadata, Picture
from tests.files.blocks import KINDS, THUMBNAIL, made
from tests.files.samples import scene, with_thumbnail
from tests.hostile import saved
from tests.programs import exiftool, needs

COUNT = 200
COMPARED = range(80)  # with another program, which takes longer
TURNED = (5, 6, 7, 8)
# Fields that a restored picture makes false
EDITED = {"main 256", "main 257", "main 274", "exif 40961", "exif 40962", "exif 40963", "interoperability 1", "link"}
RESOLUTION = {"main 282", "main 283"}
FALSE_TAGS = {
    "IFD0:ImageWidth", "IFD0:ImageHeight", "IFD0:Orientation", "IFD0:XResolution", "IFD0:YResolution",
    "ExifIFD:ColorSpace", "ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight", "InteropIFD:InteropIndex",
}  # fmt: skip


def jpeg(block):
    return saved(Image.fromarray(scene()), "jpeg", exif=b"Exif\0\0" + block)


def orientation(block):
    place = block.places.get("main 274")
    return struct.unpack_from(f"{block.order}H", block.data, place.start + 8)[0] if place else 1


def may_change(block):
    """The places of the fields that became false, and of the thumbnail."""
    names = EDITED | (RESOLUTION if orientation(block) in TURNED and block.places.keys() >= RESOLUTION else set())
    ranges = [block.places[name] for name in names & block.places.keys()] + block.thumbnail
    return {place for one in ranges for place in one}


@pytest.mark.parametrize("seed", range(COUNT))
def test_only_fields_that_became_false_change(seed):
    block = made(seed)
    picture = decode(jpeg(block.data))
    assert picture.metadata.lost == ()
    out = encode(picture, "jpeg")
    after = Image.open(io.BytesIO(out)).info["exif"][6:]
    changed = may_change(block)
    assert len(after) <= len(block.data)
    assert all(byte == after[place] for place, byte in enumerate(block.data[: len(after)]) if place not in changed)
    assert changed >= set(range(len(after), len(block.data)))
    assert THUMBNAIL[2:-2] not in after


def test_made_blocks_have_thumbnails_and_every_orientation_in_both_byte_orders():
    blocks = [made(seed) for seed in range(COUNT)]
    assert {(block.order, orientation(block), bool(block.thumbnail)) for block in blocks} == {
        (order, value, there) for order in "<>" for value in range(1, 9) for there in (True, False)
    }


def read_by_exiftool(folder, pictures):
    """What exiftool reads of the EXIF of each of several files."""
    paths = [folder / f"{seed}" for seed in range(len(pictures))]
    for path, data in zip(paths, pictures, strict=True):
        path.write_bytes(data)
    options = ("-IFD0:all", "-ExifIFD:all", "-GPS:all", "-InteropIFD:all", "-u", "-IFD1:all", "-b")
    return exiftool(*paths, options=options)


@pytest.fixture(scope="module")
def befores(tmp_path_factory):
    return read_by_exiftool(tmp_path_factory.mktemp("before"), [jpeg(made(seed).data) for seed in COMPARED])


@needs("exiftool")
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_another_program_reads_the_same_before_and_after(tmp_path, kind, befores):
    afters = read_by_exiftool(tmp_path, [encode(decode(jpeg(made(seed).data)), kind) for seed in COMPARED])
    storage = {f"IFD0:{name}" for name in (
        "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets", "SamplesPerPixel", "RowsPerStrip",
        "StripByteCounts", "ImageWidth", "ImageHeight", "Orientation",
    )} if kind == "tiff" else set()  # fmt: skip
    for seed, before, after in zip(COMPARED, befores, afters, strict=True):
        true = (tag for tag in before if tag not in FALSE_TAGS and not tag.startswith("IFD1:"))
        expected = {tag: before[tag] for tag in true}
        found = {tag: value for tag, value in after.items() if tag not in FALSE_TAGS | storage}
        assert found == expected, seed
        block = made(seed)
        height, width = decode(jpeg(block.data)).pixels.shape[:2]
        assert (after["ExifIFD:ExifImageWidth"], after["ExifIFD:ExifImageHeight"]) == (width, height)
        assert (after["ExifIFD:ColorSpace"], after["InteropIFD:InteropIndex"]) == (
            "sRGB",
            "R98 - DCF basic file (sRGB)",
        )
        assert after.get("IFD0:Orientation", "Horizontal (normal)") == "Horizontal (normal)"
        if block.places.keys() >= RESOLUTION:
            expected = (150, 300) if orientation(block) in TURNED else (300, 150)
            assert (after["IFD0:XResolution"], after["IFD0:YResolution"]) == expected


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_truncated_block_is_kept_or_named_as_lost(seed):
    block = made(seed)
    cut = block.data[: random.Random(seed).randrange(len(block.data))]
    picture = decode(jpeg(cut))
    assert np.array_equal(picture.pixels.shape[2:], (3,))
    if picture.metadata.exif is None or not Block(picture.metadata.exif).whole:
        assert any("EXIF" in one for one in picture.metadata.lost) or not cut
    if picture.metadata.exif is not None:
        changed = {place for place, byte in enumerate(picture.metadata.exif) if byte != cut[place]}
        assert changed <= may_change(block)
        assert set(range(len(picture.metadata.exif), len(cut))) <= may_change(block)


@pytest.mark.parametrize(
    ("kind", "count", "value", "dpi"), [(1, 1, 90, 90), (3, 1, 300, 300), (5, 0, 0, 72), (2, 9, 0, 72)]
)
def test_a_resolution_of_another_type_does_not_make_a_jpeg_unreadable(kind, count, value, dpi):
    block = next(block for block in map(made, range(COUNT)) if block.places.keys() >= RESOLUTION)
    data = bytearray(block.data)
    for name in sorted(RESOLUTION):
        code = {1: "B3x", 3: "H2x"}.get(kind, "I")
        struct.pack_into(f"{block.order}HI{code}", data, block.places[name].start + 2, kind, count, value)
    picture = decode(saved(Image.fromarray(scene()), "webp", exif=b"Exif\0\0" + bytes(data)))
    again = decode(encode(picture, "jpeg"))
    assert Block(again.metadata.exif).dpi == (dpi, dpi)


@pytest.mark.parametrize("kind", [row.name for row in formats.WRITABLE])
def test_the_size_in_exif_is_that_of_the_result(kind):
    block = made(3)
    data = encode(Picture(np.zeros((70, 90, 3), np.uint8), metadata=Metadata(exif=block.data)), kind)
    again = Block(decode(data).metadata.exif)
    sizes = {tag: again.number(one.at + 8, one.kind) for one in again.exif for tag in (one.tag,)}
    assert (sizes[0xA002], sizes[0xA003]) == (90, 70)


def test_a_tiff_keeps_types_and_values_of_another_one(tmp_path):
    """From TIFF to TIFF the values do not move, so a MakerNote with offsets stays readable."""
    block = made(1)
    first = encode(Picture(scene(), metadata=Metadata(exif=block.data)), "tiff")
    picture = decode(first)
    assert picture.metadata.lost == ()
    again = encode(picture, "tiff")
    for name in ("exif 37500", "exif 37510", "exif 33434", "gps 2"):
        place = block.places[name]
        start = struct.unpack_from(f"{block.order}I", block.data, place.start + 8)[0]
        kind, count = struct.unpack_from(f"{block.order}HI", block.data, place.start + 2)
        value = slice(start, start + count * KINDS[kind])
        assert again[value] == first[value] == block.data[value]
        assert first[place.start : place.stop] == block.data[place.start : place.stop]


def test_chromaticities_become_those_of_srgb():
    exif = Image.Exif()
    exif[318] = (0.3127, 0.329)
    exif[319] = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)  # of Adobe RGB
    picture = decode(saved(Image.fromarray(scene()), "jpeg", exif=exif))
    for kind in ("jpeg", "png", "webp"):
        after = Image.open(io.BytesIO(encode(picture, kind))).getexif()
        assert tuple(map(float, after[318])) == (0.3127, 0.329)
        assert tuple(map(float, after[319])) == (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def test_chromaticities_that_lie_on_a_directory_leave_it_as_it_is():
    exif = Image.Exif()
    exif[319] = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    data = bytearray(exif.tobytes()[6:])
    order = "<" if data[:2] == b"II" else ">"
    struct.pack_into(f"{order}I", data, 18, 0)  # the values would be the header and the directory
    block = Block(data)
    block.set_upright(turned=False)
    assert block.data == data[:48]  # without the rest of the values, which no field refers to


def test_bytes_that_many_fields_of_a_thumbnail_share_are_cleared():
    count, length = 40, 100
    fields = b"".join(
        struct.pack("<HHII", 271 + number, 7, length - number, 8 + 18 + 6 + 12 * count) for number in range(count)
    )
    main = struct.pack("<HHHIII", 1, 271, 2, 2, 65, 26)
    data = (
        b"II*\0" + struct.pack("<I", 8) + main + struct.pack("<H", count) + fields + bytes(4) + b"x" * length + b"end"
    )
    block = Block(data)
    block.remove_thumbnail()
    assert block.data == data[:22] + bytes(len(data) - 25) + b"end"


@pytest.mark.parametrize("linked", [False, True])
def test_a_preview_that_follows_the_block_is_removed(linked):
    """Xiaomi's phones append one to the EXIF of a HEIC; no field refers to it."""
    exif = Image.Exif()
    exif.update({271: "Camera", 315: "an artist"})
    plain = exif.tobytes()[6:]
    data = with_thumbnail(plain) if linked else plain
    assert decode(jpeg(data + b"preview" * 200)).metadata.exif == plain


def test_bytes_that_a_makernote_may_refer_to_are_kept():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"note"
    block = exif.tobytes()[6:] + b"referred to"
    assert decode(jpeg(block)).metadata.exif == block


@pytest.mark.parametrize(
    ("tag", "kind"), [(273, LONG), (324, LONG), (330, LONG), (0x201, LONG), (0xC634, LONG), (60000, 99)]
)
def test_bytes_that_another_field_may_refer_to_are_kept(tag, kind):
    block = empty()
    block.replace_main(block.main_entries() | {tag: block.entry(kind, 1, struct.pack("<I", 8))})
    data = bytes(block.data) + b"referred to"
    assert decode(jpeg(data)).metadata.exif == data


@pytest.mark.parametrize(
    ("directory", "tag", "value"),
    [
        (0x8825, 2, (52.0, 31.0, 7.0)),
        (0x8769, 0xA005, {1: "R98", 0x1000: "a file of cameras"}),
        (0x8769, 0xA434, "glass"),
    ],
)
def test_values_of_other_directories_at_the_end_of_a_block_are_kept(directory, tag, value):
    exif = Image.Exif()
    exif[271] = "Camera"
    exif.get_ifd(directory)[tag] = value
    data = exif.tobytes()[6:]
    assert decode(jpeg(data)).metadata.exif == data


def test_a_resolution_of_an_unknown_type_becomes_the_usual_one():
    block = empty()
    block.replace_main(block.main_entries() | {tag: struct.pack("<HII", 99, 1, 300) for tag in (282, 283)})
    data = saved(Image.fromarray(scene()), "png", exif=bytes(block.data))
    assert Block(decode(data).metadata.exif).dpi == (72, 72)
