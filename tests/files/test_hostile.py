"""Every input gives a picture or an error of one line, fast, in little memory, without partial files."""

import json
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile

from facemend.errors import DecodeError, FacemendError, TooLargeError
from facemend.files import png
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.records import ONLY_FIRST, Picture, Settings
from tests import hostile

SECONDS = 10  # for one picture
MEMORY = 2 << 30  # bytes, of the whole program
# Runs a command and writes its peak memory. It is a separate process, as a child inherits the peak of its parent.
MEASURED = """
import pathlib, resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
pathlib.Path("peak").write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
UNTOLD = {
    "middle-zeroed.webp",
    "middle-zeroed.avif",
    "middle-zeroed.heic",
    "too-few-pixels.png",
}  # no decoder detects these
NO_WHITE = {"float-nan.tiff", "float-infinite.tiff", "float.tiff", "whole-32.tiff"}


def read(source):
    """The picture, or None where it is refused with an error of one line."""
    start = time.perf_counter()
    try:
        picture = decode(source)
    except FacemendError as error:
        assert "\n" not in str(error)
        picture = None
    assert time.perf_counter() - start < SECONDS
    return picture


def readable(files):
    return {name for name, data in files.items() if read(data)}


@pytest.mark.parametrize("group", [hostile.nothing, hostile.cut])
def test_incomplete_files_are_refused(group, capfd):
    assert readable(hostile.whole()) == hostile.whole().keys()
    assert readable(group()) == set()
    assert capfd.readouterr() == ("", "")


def test_damage_is_refused_where_the_format_can_detect_it(capfd):
    assert readable(hostile.damaged()) == UNTOLD
    assert capfd.readouterr() == ("", "")


def test_decompression_bombs_are_refused_or_decoded_small(capfd):
    pictures = {name: read(data) for name, data in hostile.bombs().items()}
    assert {name for name, picture in pictures.items() if picture} == {
        "bomb-in-a-later-frame.gif",
        "bomb-in-a-small.tiff",
        "bomb-of-frames.gif",
        "bomb-of-markers.jpg",
        "bomb-of-pages.tiff",
        "ring-of-pages.tiff",
    }
    assert all(max(picture.pixels.shape) <= 64 for picture in pictures.values() if picture)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["bomb.png", "bomb.tiff", "bomb.webp", "bomb-animated.webp", "bomb.gif", "bomb.heic"])
def test_the_size_of_a_decompression_bomb_is_reported(name):
    with pytest.raises(TooLargeError, match="over the limit of 100; use .* or raise max_input_mp") as caught:
        decode(hostile.bombs()[name])
    assert caught.value.pixels > caught.value.limit == 100_000_000


@pytest.mark.parametrize("name", ["bomb.webp", "bomb-in-a-frame.gif"])
def test_the_limit_of_pillow_is_reported_where_ours_is_higher(name):
    with pytest.raises(DecodeError, match=r"raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        decode(hostile.bombs()[name], Settings(max_input_mp=1e5, max_output_mp=4e5))


def test_a_long_row_is_decoded_at_once(monkeypatch):
    """Pillow joins its blocks one by one: a WebP of 88 bytes, 5 rows of 16,777,216 px, took over a minute."""
    at_once, load = [], ImageFile.ImageFile.load

    def watched(image):
        at_once.append(image.decodermaxblock)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    assert decode(hostile.animated_webp(100_000, 2)).pixels.shape == (2, 100_000, 3)
    assert min(at_once) >= 4 * 100_000


def test_rare_formats_are_decoded():
    pictures = {name: read(data) for name, data in hostile.odd().items()}
    assert {name for name, picture in pictures.items() if picture is None} == NO_WHITE
    assert {name for name, picture in pictures.items() if picture and ONLY_FIRST in picture.lost} == {
        "animated.gif",
        "animated.png",
        "animated.webp",
    }
    assert pictures["really-a-png.jpg"].format == "png"
    assert pictures["65500-wide.jpg"].pixels.shape == (2, 65500, 3)
    assert pictures["1x20000.png"].pixels.shape == (20000, 1, 3)


def test_invalid_metadata_does_not_change_the_pixels():
    picture = Image.fromarray(hostile.noise(40, 30, 3))
    plain = {kind: decode(hostile.saved(picture, kind)).pixels for kind in ("jpeg", "png", "tiff")}
    for name, data in hostile.badly_described().items():
        seen = read(data)
        assert np.array_equal(seen.pixels, plain[seen.format]), name


def test_files_that_cannot_be_opened_are_refused(tmp_path):
    (tmp_path / "picture.png").write_bytes(hostile.whole()["png"])
    (tmp_path / "link.png").symlink_to("picture.png")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "ring.png").symlink_to("ring.png")
    assert read(tmp_path / "link.png").pixels.shape == (64, 64, 3)
    for name in ("", "dangling.png", "ring.png", "x" * 300, "picture.png/inside.png"):
        with pytest.raises(DecodeError, match=r"cannot open .*; check the path"):
            decode(tmp_path / name)


def test_a_file_that_must_not_be_read_is_refused(locked):
    with pytest.raises(DecodeError, match=r"cannot open .*secret\.png: Permission denied; check the path"):
        decode(locked / "secret.png")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="memory of another process is only told on Unix")
def test_the_program_restores_a_folder_of_all_generated_files(tmp_path):
    """One line for each file, no traceback, no partial output, little memory."""
    files = {name: data for name, data in hostile.generated().items() if not name.endswith(".pdf")}
    for name, data in files.items():
        folder = tmp_path / "in" / name  # one folder each, as names that differ only by suffix would share an output
        folder.mkdir(parents=True)
        (folder / name).write_bytes(data)
    (tmp_path / "in" / "dangling.png").symlink_to("nowhere.png")
    arguments = ["restore", "in", "-o", "out", "--model", "none", "--upscaler", "lanczos", "--scale", "1", "--json"]
    with (tmp_path / "lines").open("w") as lines, (tmp_path / "said").open("w") as said:
        command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "facemend", *arguments]
        code = subprocess.run(command, stdout=lines, stderr=said, cwd=tmp_path).returncode
    records = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert code == 2
    assert {record["input"] for record in records} == {f"in/{name}/{name}" for name in files} | {"in/dangling.png"}
    assert len(records) == len(files) + 1
    written = {tmp_path / record["output"] for record in records if "output" in record}
    assert written == {path for path in (tmp_path / "out").rglob("*") if not path.is_dir()}
    for path in written:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # damaged EXIF is kept as it is
            image.load()
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said
    assert "unforeseen" not in said
    assert int((tmp_path / "peak").read_text()) * (1 if sys.platform == "darwin" else 1024) < MEMORY


@pytest.mark.weights
def test_real_broken_files_are_decoded_or_refused(shared, capfd):
    paths = [path for path in sorted((shared / "data" / "hostile").rglob("*")) if path.is_file()]
    assert len(paths) > 100
    for path in paths:
        picture = read(path)
        assert picture is None or isinstance(picture, Picture)
    assert capfd.readouterr() == ("", "")


@pytest.mark.weights
def test_valid_png_suite_equals_pillow(shared):
    paths = [p for p in sorted((shared / "data" / "hostile" / "pngsuite").glob("*.png")) if not p.name.startswith("x")]
    assert len(paths) > 150
    for path in paths:
        chunks = [one for one in png.chunks(path.read_bytes()) if one[0] != b"gAMA"]  # which Pillow ignores
        picture = decode(png.SIGNATURE + b"".join(png.chunk(*one) for one in chunks), Settings(max_input_mp=1))
        with Image.open(path) as image:
            step = {"L;2": 85, "L;4": 17}.get(image.tile[0].args)  # Pillow scales the samples, but not the key
            image.load()
            if step and "transparency" in image.info:
                image.info["transparency"] *= step
            expected = np.asarray(image.convert("RGBA"), dtype=int)
            sixteen = path.stem.endswith("16")
            assert picture.pixels.dtype == (np.uint16 if sixteen else np.uint8), path
            visible = expected[..., 3] > 0
            if image.mode == "I;16":  # Pillow's conversion of this mode to RGBA clips
                grey = np.asarray(image, dtype=int)
                key = image.info.get("transparency")
                assert (picture.pixels == grey[..., None])[grey != key].all(), path
                assert key is None or np.array_equal(picture.alpha == 0, grey == key), path
            else:
                seen = picture.pixels >> 8 if sixteen else picture.pixels
                assert (seen == expected[..., :3])[visible].all(), path
                alpha = np.full(visible.shape, 255) if picture.alpha is None else picture.alpha >> (8 * sixteen)
                if not (sixteen and "transparency" in image.info):  # Pillow compares 8 of the 16 bits
                    assert (alpha == expected[..., 3]).all(), path


@pytest.mark.weights
@pytest.mark.parametrize("kind", ["n0g16", "n2c08"])
def test_pngs_of_the_suite_that_differ_in_their_gamma_look_the_same(shared, kind):
    folder = shared / "data" / "hostile" / "pngsuite"
    gammas = ("03", "04", "05", "07", "10")  # times 10; with 2.5, 8 bits are too few
    pictures = [decode(folder / f"g{gamma}{kind}.png").pixels.astype(float) for gamma in gammas]
    white = 65535 if kind == "n0g16" else 255
    for one in pictures[1:]:
        assert abs(one - pictures[0]).mean() < 0.03 * white
    stored = [np.asarray(Image.open(folder / f"g{gamma}{kind}.png"), float) for gamma in gammas]
    assert abs(stored[0] - stored[-1]).mean() > 0.05 * white


@pytest.mark.weights
def test_broken_png_suite_is_refused(shared):
    paths = sorted((shared / "data" / "hostile" / "pngsuite").glob("x*.png"))
    assert len(paths) > 5
    for path in paths:
        if path.name == "xcsn0g01.png":  # a wrong checksum of valid pixels, which Pillow accepts
            continue
        with pytest.raises(FacemendError):
            decode(path, Settings(max_input_mp=1))


@pytest.mark.weights
def test_sample_files_survive_a_round_trip(shared):
    for path in sorted((shared / "data" / "formats").iterdir()):
        picture = decode(path)
        again = decode(encode(picture, "auto"))
        assert again.pixels.dtype == picture.pixels.dtype
        assert again.grey == picture.grey
        assert picture.format == "jpeg" or np.array_equal(again.pixels, picture.pixels)
