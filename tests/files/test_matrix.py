"""Each cell of the table in docs/formats.md: the reader reads what its row says, and the writer writes it."""

import io
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from facemend.files import formats
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.exif import Block
from facemend.files.formats import ABILITIES, FORMATS, METADATA
from facemend.records import Metadata, Picture
from tests.files import rare
from tests.files.blocks import made
from tests.files.samples import noise, scene
from tests.files.test_carried import COMMENT, PARAMETERS, RECORDS, UPRIGHT
from tests.files.test_colour import profile
from tests.hostile import chunk, saved

EXIF = made(4).data
SWAPPED = profile(swap=True)  # red and green
ALPHA = np.maximum(noise((32, 48)), 1)
DESCRIBED = Metadata(EXIF, UPRIGHT, RECORDS, COMMENT, ((b"tEXt", PARAMETERS),))
BRIGHT = np.full((32, 48, 3), 0.5, np.float32)
BRIGHT[0, 0] = 4


def by_vips(kind, data):
    if not shutil.which("vips"):
        pytest.skip("vips is not installed, see docs/CONTRIBUTING.md")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.png").write_bytes(data)
        subprocess.run(["vips", "copy", "in.png", f"out.{kind}[lossless]"], cwd=folder, check=True)
        return Path(folder, f"out.{kind}").read_bytes()


def png_like(ability):
    if ability == "profile":
        return saved(Image.fromarray(scene()), "png", icc_profile=SWAPPED)
    data = encode(Picture(scene()), "png")
    return data[:33] + chunk(b"cICP", bytes((9, 16, 0, 1))) + data[33:]


def by_pillow(kind, ability):
    image = Image.fromarray(np.dstack((scene(), ALPHA)) if ability == "alpha" else scene())
    options = {"profile": {"icc_profile": SWAPPED}, "exif": {"exif": b"Exif\0\0" + EXIF}, "xmp": {"xmp": UPRIGHT}}
    if kind == "gif":
        options |= {"comment": {"comment": COMMENT}}
        image = image.convert("RGB").quantize()
        options |= {"alpha": {"transparency": 0}}
    data = saved(image, kind, **options.get(ability, {}))
    if ability == "hdr":
        place = data.index(b"colrnclx") + 8
        return data[:place] + struct.pack(">HH", 9, 16) + data[place + 4 :]
    return data


def heif(ability):
    deep, samples = ability == "deep", np.dstack((scene(), ALPHA)) if ability == "alpha" else scene()
    if deep:
        file = pillow_heif.from_bytes("RGB;16", (48, 32), (scene().astype(np.uint16) * 257).tobytes())
    else:
        file = pillow_heif.from_pillow(Image.fromarray(samples))
    options = {"exif": EXIF} if ability == "exif" else {"xmp": UPRIGHT} if ability == "xmp" else {}
    file[0].info.update({"icc_profile": SWAPPED, "icc_profile_type": "prof"} if ability == "profile" else {})
    stream = io.BytesIO()
    file.save(stream, quality=-1, chroma=444, **options)
    data = stream.getvalue()
    if ability == "hdr":
        place = data.index(b"colrnclx") + 8
        return data[:place] + struct.pack(">HH", 9, 16) + data[place + 4 :]
    return data


def psd(ability):
    samples = scene().astype(np.uint16) * 257 if ability == "deep" else scene()
    if ability == "alpha":
        samples = np.dstack((samples, ALPHA))
    resources = {"profile": {1039: SWAPPED}, "exif": {1058: EXIF}, "xmp": {1060: UPRIGHT}, "iptc": {1028: RECORDS}}
    return rare.psd_of(samples, resources.get(ability, {}))


def exr(ability):
    if ability == "alpha":
        alpha = np.full((32, 48, 1), 0.5, np.float32)
        return rare.exr(np.dstack((BRIGHT * alpha, alpha)))
    return rare.exr(BRIGHT if ability == "hdr" else np.minimum(BRIGHT, 1))


def jxl(ability):
    if ability == "profile":
        return by_vips("jxl", png_like(ability))
    options = {"exif": EXIF, "use_container": True} if ability == "exif" else {}
    samples = np.dstack((scene(), ALPHA)) if ability == "alpha" else scene()
    return rare.jxl(Image.fromarray(samples), lossless=True, **options)


def written(kind, ability):
    """Metadata and depth, by the writers of this package, which other programs check in other tests."""
    if ability == "profile" or (kind, ability) == ("png", "hdr"):
        return png_like(ability) if kind == "png" else by_pillow(kind, ability)
    pixels = scene().astype(np.uint16) * 257 if ability == "deep" else scene()
    return encode(Picture(pixels, ALPHA if ability == "alpha" else None, metadata=DESCRIBED), kind)


def file(kind, ability):
    if FORMATS[kind].writer:
        return written(kind, ability)
    special = {
        "heif": heif,
        "psd": psd,
        "exr": exr,
        "jxl": jxl,
        "raw": lambda ability: rare.dng(),
        "radiance": lambda ability: rare.radiance(BRIGHT),
    }
    return special[kind](ability) if kind in special else by_pillow(kind, ability)


def has(picture, ability):
    """Whether a picture was read with something."""
    if ability == "deep":
        return picture.pixels.dtype == np.uint16
    if ability == "alpha":
        return picture.alpha is not None
    if ability == "profile":  # red and green are exchanged
        return picture.pixels[0, -1].argmax() == 1 and picture.pixels[-1, 0].argmax() == 0
    if ability == "hdr":
        return any("tone-mapped" in one for one in picture.lost)
    return bool(getattr(picture.metadata, ability))


@pytest.mark.parametrize(
    ("kind", "ability"), [(row.name, ability) for row in FORMATS.values() for ability in row.reads]
)
def test_the_reader_reads_what_its_row_says(kind, ability):
    row = FORMATS[kind]
    if not row.installed:
        pytest.skip(f"{row.package} is not installed, see docs/CONTRIBUTING.md")
    picture = decode(file(kind, ability))
    assert picture.format == kind
    assert has(picture, ability)
    if ability == "exif" and kind != "raw":
        assert Block(picture.metadata.exif).whole


@pytest.mark.parametrize(
    ("kind", "ability"),
    [(row.name, ability) for row in formats.WRITABLE for ability in (*ABILITIES, *METADATA) if row.writes(ability)],
)
def test_the_writer_writes_what_its_row_says_and_the_reader_reads_it(kind, ability):
    assert ability in FORMATS[kind].reads
    assert has(decode(written(kind, ability)), ability)


def test_every_name_in_a_row_is_a_column():
    for row in FORMATS.values():
        assert set(row.reads) <= {*ABILITIES, *METADATA}
