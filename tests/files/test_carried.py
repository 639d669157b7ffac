"""XMP, IPTC, comments and texts: kept where the format of the result holds them, and named where it does not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from facemend.files import formats, iptc, metadata, png, xmp
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.exif import Block
from facemend.records import Metadata, Picture
from facemend.result import Result
from tests.files.samples import close, noise, scene
from tests.hostile import chunk, saved, saved_heif
from tests.programs import exiftool, needs

PACKET = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" tiff:Orientation="%d" tiff:ImageWidth="48">
<exif:PixelXDimension>48</exif:PixelXDimension><tiff:ImageLength>32</tiff:ImageLength>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">W\xc4\x99gry 1956</rdf:li></rdf:Alt></dc:title>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
UPRIGHT = PACKET % 1
RECORDS = b"\x1c\x01\x5a\0\3\x1b%G" + b"\x1c\2\x78\0\x0f" + "Großvater, 1".encode().ljust(15, b"2")
COMMENT = "Familie Müller".encode()
PARAMETERS = b"parameters\0a photo, 4k\nSteps: 20"
EVERYTHING = Metadata(xmp=UPRIGHT, iptc=RECORDS, comment=COMMENT, text=((b"tEXt", PARAMETERS),))
TITLES = {"xmp": "XMP", "iptc": "IPTC", "comment": "comment (", "text": "PNG texts"}
WRITTEN = [row.name for row in formats.WRITABLE]


@pytest.mark.parametrize(
    ("kind", "dtype"), [(kind, np.uint8) for kind in WRITTEN] + [("png", np.uint16), ("tiff", np.uint16)]
)
def test_each_part_is_in_the_file_or_named_as_lost(kind, dtype):
    row = formats.FORMATS[kind]
    picture = Picture(scene().astype(dtype), metadata=EVERYTHING)
    again = decode(encode(picture, kind)).metadata
    lost = " ".join(row.fitted(EVERYTHING).lost)
    for part, title in TITLES.items():
        held = part in row.holds
        before = xmp.sized(UPRIGHT, 32, 48) if part == "xmp" else getattr(EVERYTHING, part)
        assert getattr(again, part) == (before if held else getattr(Metadata(), part))
        assert (title in lost) != held


def test_texts_of_a_png_that_ends_within_a_chunk_are_named():
    text = Metadata(text=EVERYTHING.text)
    described = decode(encode(Picture(scene(), metadata=text), "png")[:-8]).metadata
    assert described.text == EVERYTHING.text
    assert described.lost == ("PNG texts (damaged)",)


@needs("exiftool")
@pytest.mark.parametrize("kind", WRITTEN)
def test_another_program_reads_them(tmp_path, kind):
    path = tmp_path / f"new.{kind}"
    path.write_bytes(encode(Picture(scene(), metadata=EVERYTHING), kind))
    (found,) = exiftool(path)
    held = formats.FORMATS[kind].holds
    assert found["XMP-dc:Title"] == "Węgry 1956"
    assert found["XMP-exif:ExifImageWidth"] == 48
    assert ("IPTC:Caption-Abstract" in found) == ("iptc" in held)
    assert found.get("IPTC:Caption-Abstract", "Großvater").startswith("Großvater")
    assert (found.get("PNG:Parameters") == "a photo, 4k\nSteps: 20") == ("text" in held)
    if kind == "png":
        assert found["PNG:Comment"] == COMMENT.decode()
    assert found.get("File:Comment") == (COMMENT.decode() if kind == "jpeg" else None)


@pytest.mark.parametrize("size", [(32, 48), (64, 96)])
@pytest.mark.parametrize("kind", WRITTEN)
def test_orientation_and_sizes_in_xmp_are_those_of_the_result(kind, size):
    turned = decode(saved(Image.fromarray(scene()), "jpeg", xmp=PACKET % 6))
    assert turned.pixels.shape == (48, 32, 3)
    packet = decode(encode(Picture(np.zeros((*size, 3), np.uint8), metadata=turned.metadata), kind)).metadata.xmp
    for before, after in (
        (b'Orientation="6"', b'Orientation="1"'),
        (b'Width="48"', b'Width="%d"' % size[1]),
        (b"Length>32<", b"Length>%d<" % size[0]),
        (b"XDimension>48<", b"XDimension>%d<" % size[1]),
    ):
        assert packet.count(after) == 1
        assert before == after or before not in packet
    assert len(packet) == len(PACKET % 6)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "heif"])
def test_xmp_is_read_from_files_of_another_program(kind):
    image = Image.fromarray(scene())
    image.info["xmp"] = UPRIGHT
    if kind == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", UPRIGHT.decode())
        data = saved(image, kind, pnginfo=info)
    elif kind == "tiff":
        data = saved(image, kind, tiffinfo={700: UPRIGHT})
    else:
        data = saved_heif(image) if kind == "heif" else saved(image, kind, xmp=UPRIGHT)
    assert decode(data).metadata.xmp == UPRIGHT


@pytest.mark.parametrize("depth", [8, 16])
def test_png_texts_keep_every_byte_wherever_they_are(depth):
    texts = [
        (b"tEXt", b"Title\0caf\xe9"), (b"zTXt", b"parameters\0\0" + zlib.compress(b"steps " * 99)),
        (b"iTXt", "Autor\0\0\0pl\0Autor\0Łucja".encode()), (b"tEXt", b"Title\0a second one"),
    ]  # fmt: skip
    pixels = scene() if depth == 8 else scene().astype(np.uint16) * 257
    data = encode(Picture(pixels), "png")
    before, after = b"".join(chunk(*one) for one in texts[:2]), b"".join(chunk(*one) for one in texts[2:])
    picture = decode(data[:33] + before + data[33:-12] + after + data[-12:])
    assert list(picture.metadata.text) == texts
    assert [one for one in png.chunks(encode(picture, "png")) if one[0] in (b"tEXt", b"zTXt", b"iTXt")] == texts


@pytest.mark.parametrize("comment", [b"plain", "Łódź".encode(), b"caf\xe9", b"two\0parts"])
def test_the_comment_of_a_jpeg_keeps_its_bytes_in_a_jpeg_and_its_text_in_a_png(comment):
    picture = decode(saved(Image.fromarray(scene()), "jpeg", comment=comment))
    assert decode(encode(picture, "jpeg")).metadata.comment == comment
    text = Image.open(io.BytesIO(encode(picture, "png"))).text["Comment"]
    plain = comment.replace(b"\0", b"")
    assert text in (plain.decode(errors="replace"), plain.decode("latin-1"))
    assert "\ufffd" not in text


@pytest.mark.parametrize("wrapped", [True, False])
def test_iptc_in_a_png_is_read_as_two_programs_write_it(wrapped):
    body = iptc.resource(RECORDS) if wrapped else RECORDS
    text = b"Raw profile type iptc\0" + png.profile("iptc", body)
    data = encode(Picture(scene()), "png")
    picture = decode(data[:33] + chunk(b"tEXt", text) + data[33:])
    assert (picture.metadata.iptc, picture.metadata.text) == (RECORDS, ())


def test_iptc_in_a_png_of_exiftool_is_read():
    text = b"Raw profile type iptc\0\nIPTC profile\n%8d\n%s\n" % (len(RECORDS), RECORDS.hex().encode())
    data = encode(Picture(scene()), "png")
    metadata = decode(data[:33] + chunk(b"tEXt", text) + data[33:]).metadata
    assert (metadata.iptc, metadata.lost) == (RECORDS, ())


def test_xmp_in_a_png_of_imagemagick_is_read():
    text = (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(png.profile("xmp", PACKET % 6)))
    data = encode(Picture(scene()), "png")
    for others in ((), ((b"iTXt", metadata.XMP_KEYWORD + bytes(5) + PACKET % 6),)):
        chunks = b"".join(chunk(*one) for one in (*others, text))
        picture = decode(data[:33] + chunks + data[33:])
        assert picture.pixels.shape == (48, 32, 3)
        assert picture.metadata.xmp == UPRIGHT
        assert (picture.metadata.text, picture.metadata.lost) == ((), ())


@pytest.mark.parametrize(
    "said",
    [
        b'<mwg-rs:AppliedToDimensions stDim:w="48" stDim:h="32" stDim:unit="pixel"/>',
        b"<mwg-rs:AppliedToDimensions><stDim:w>48</stDim:w><stDim:h>32</stDim:h></mwg-rs:AppliedToDimensions>",
    ],
)
def test_only_the_size_that_face_regions_refer_to_becomes_that_of_the_result(said):
    page = b'<xmpTPg:MaxPageSize stDim:w="210" stDim:h="297" stDim:unit="Millimeters"/>'
    changed = said.replace(b"48", b"96").replace(b"32", b"64")
    assert xmp.sized(page + said + page, height=64, width=96) == page + changed + page


@pytest.mark.parametrize("start", [b"<mwg-rs:AppliedToDimensions ", b"<mwg-rs:Regions>", b"<hdrgm:Version "])
def test_many_elements_of_xmp_without_an_end_are_read_once(start):
    packet = start * 200_000  # if each was compared with all that follow, hours
    assert xmp.sized(xmp.without_regions(xmp.upright(packet)), height=64, width=96) == packet


def test_several_comments_of_a_jpeg_become_one_of_several_lines():
    data = saved(Image.fromarray(scene()), "jpeg", comment=b"second")
    first = b"\xff\xfe" + (2 + len(b"first")).to_bytes(2, "big") + b"first"
    assert decode(data[:2] + first + data[2:]).metadata.comment == b"first\nsecond"


@pytest.mark.parametrize(("stored", "kept"), [(72, 300), (300, 300)])
def test_the_resolution_of_a_png_is_that_of_its_own_chunk(stored, kept):
    exif = Image.Exif()
    exif[282], exif[283], exif[296], exif[315] = stored, stored, 2, "me"
    picture = decode(saved(Image.fromarray(scene()), "png", dpi=(300, 300), exif=exif))
    block = Block(picture.metadata.exif)
    assert block.dpi == (kept, kept)
    assert b"me" in block.data
    with Image.open(io.BytesIO(encode(picture, "png"))) as image:
        assert round(image.info["dpi"][0]) == 300


def test_several_comments_of_a_png_stay_its_texts():
    texts = (b"tEXt", b"Comment\0one"), (b"tEXt", b"Comment\0two")
    picture = decode(encode(Picture(scene(), metadata=Metadata(text=texts)), "png"))
    assert (picture.metadata.comment, picture.metadata.text) == (None, texts)
    assert decode(encode(picture, "png")).metadata.text == texts


@pytest.mark.parametrize("part", ["xmp", "iptc", "comment"])
def test_what_is_too_long_for_a_jpeg_is_named(part):
    longest = formats.FORMATS["jpeg"].longest[part]
    for length, kept in ((longest, True), (longest + 1, False)):
        picture = Picture(scene(), metadata=Metadata(**{part: b"x" * length}))
        fitted = formats.FORMATS["jpeg"].fitted(picture.metadata)
        assert (fitted.lost == ()) == kept
        assert kept or "too long for JPEG" in fitted.lost[0]
        assert (getattr(decode(encode(picture, "jpeg")).metadata, part) is not None) == kept


def test_sizes_in_a_packet_that_become_longer_count():
    longest = formats.FORMATS["jpeg"].longest["xmp"]
    packet = (PACKET % 1).replace(b"</x:xmpmeta>", b"")
    packet += b" " * (longest - len(packet) - len(b"</x:xmpmeta>")) + b"</x:xmpmeta>"
    wide = Picture(np.zeros((2, 20000, 3), np.uint8), metadata=Metadata(xmp=packet))
    assert len(metadata.sized(wide.metadata, 2, 20000).xmp) > longest
    assert decode(encode(wide, "jpeg")).metadata.xmp is None
    result = Result(wide, wide, (), "none", "lanczos", {})
    assert any("too long for JPEG" in one for one in result.lost("a.jpg"))


@pytest.mark.parametrize("keyword", [b"Comment", b"Raw profile type iptc", b"Raw profile type xmp"])
def test_damaged_texts_of_a_png_are_named(keyword):
    data = saved(Image.fromarray(scene()), "png")
    end = data.index(b"IDAT") - 4
    picture = decode(data[:end] + chunk(b"zTXt", keyword + b"\0\0damaged") + data[end:])
    assert any("damaged" in one for one in picture.metadata.lost)


@pytest.mark.parametrize("keyword", [b"Raw profile type iptc", b"Raw profile type xmp"])
def test_a_text_of_a_png_with_bytes_is_read_once(keyword, monkeypatch):
    """Each of them was taken for the last one: thousands of empty ones before a long one took 10 seconds."""
    read = []
    monkeypatch.setattr(png, "of_profile", lambda text: read.append(text) or b"")
    data = saved(Image.fromarray(scene()), "png")
    end = data.index(b"IDAT") - 4
    texts = 9 * chunk(b"tEXt", keyword + b"\0") + chunk(b"tEXt", keyword + b"\0last")
    picture = decode(data[:end] + texts + data[end:])
    assert read == ["last"]
    assert len(picture.metadata.lost) == 1


def with_element(packet, element):
    return packet.replace(b"<dc:title", element + b"<dc:title")


@pytest.mark.parametrize("name", [b"mwg-rs:Regions", b"MP:RegionInfo", b"Iptc4xmpExt:ImageRegion"])
@pytest.mark.parametrize(
    "body", [b"/>", b' rdf:parseType="Resource"><stArea:x>0.2</stArea:x><mwg-rs:RegionList/></%s>']
)
def test_face_regions_of_a_turned_picture_are_removed_and_named(name, body):
    region = b"<" + name + (body % name if b"%" in body else body)
    turned, upright = (
        decode(saved(Image.fromarray(scene()), "jpeg", xmp=with_element(PACKET % way, region))).metadata
        for way in (6, 1)
    )
    assert (turned.xmp, turned.lost) == (UPRIGHT, ("face regions in XMP (the picture is turned)",))
    assert (upright.xmp, upright.lost) == (with_element(UPRIGHT, region), ())


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        (b"<hdrgm:Version>1.0</hdrgm:Version>", ("HDR gain map",)),
        (b"<hdrgm:GainMapMax><rdf:Seq/></hdrgm:GainMapMax>", ("HDR gain map",)),
        (b"<GCamera:MotionPhoto>1</GCamera:MotionPhoto>", ("video",)),
        (
            b"<GCamera:MicroVideo>1</GCamera:MicroVideo><GCamera:MicroVideoOffset>9</GCamera:MicroVideoOffset>",
            ("video",),
        ),
        (b"<GCamera:MotionPhoto>0</GCamera:MotionPhoto>", ()),
        (b"<Container:Directory><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>", ()),
        (b"<xmp:Thumbnails><rdf:Alt><rdf:li/></rdf:Alt></xmp:Thumbnails>", ()),
        (b"<xmpNote:HasExtendedXMP>4F27A007</xmpNote:HasExtendedXMP>", ()),
    ],
)
def test_xmp_does_not_announce_what_the_result_does_not_have(part, lost):
    picture = decode(saved(Image.fromarray(scene()), "jpeg", xmp=with_element(UPRIGHT, part)))
    assert (picture.metadata.xmp, picture.lost) == (UPRIGHT, lost)


def test_attributes_of_xmp_are_removed_too():
    packet = UPRIGHT.replace(b" tiff:Ori", b""" hdrgm:Version="1.0" GCamera:MotionPhoto = '1' tiff:Ori""")
    assert xmp.upright(packet) == UPRIGHT


def test_a_webp_without_loss_stays_so():
    pixels = noise((32, 48, 3))
    alpha = np.maximum(noise((32, 48), seed=1), 1)
    for given in (Image.fromarray(pixels), Image.fromarray(np.dstack((pixels, alpha)))):
        picture = decode(saved(given, "webp", lossless=True))
        assert picture.lossless
        again = decode(encode(picture, "webp"))
        assert again.lossless
        assert np.array_equal(again.pixels, pixels)
        assert not decode(encode(picture, "webp", 80)).lossless
    picture = decode(saved(Image.fromarray(pixels), "webp"))
    assert not picture.lossless
    assert not decode(encode(picture, "webp")).lossless
    assert close(decode(encode(picture, "webp", "lossless")).pixels, picture.pixels, 0)
    assert decode(encode(picture, "jpeg", "lossless")).pixels.shape == (32, 48, 3)


def test_clipping_paths_of_photoshop_are_named():
    path = b"8BIM" + struct.pack(">HHI", 2000, 0, 26) + bytes(26)
    body = iptc.PHOTOSHOP + iptc.resource(RECORDS) + path
    data = saved(Image.fromarray(scene()), "jpeg", extra=struct.pack(">BBH", 0xFF, 0xED, 2 + len(body)) + body)
    described = decode(data).metadata
    assert (described.iptc, described.lost) == (RECORDS, ("clipping paths",))


def test_iptc_is_found_after_other_resources_of_photoshop():
    named = b"8BIM" + struct.pack(">H", 1000) + b"\4name\0" + struct.pack(">I", 3) + bytes(4)
    assert iptc.of_resources(named + iptc.resource(RECORDS)) == RECORDS
    assert iptc.of_resources(named) is None


def test_the_resolution_of_a_heic_that_its_reader_turns_is_exchanged():
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x011A: 300.0, 0x011B: 150.0, 0x0128: 2})
    picture = decode(saved_heif(Image.fromarray(scene()), exif.tobytes()))
    assert picture.pixels.shape == (48, 32, 3)
    assert Block(picture.metadata.exif).dpi == (150, 300)
    assert Block(picture.metadata.exif).orientation == 1
