"""Encoding, and writing files atomically."""

import io
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facemend.errors import OptionError, OutputError
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.files.output import write
from facemend.records import Picture
from tests.files.samples import close, noise, scene


@pytest.mark.parametrize(("quality", "lossless"), [(94, False), (95, True)])
def test_a_lossless_webp_stays_so_from_95_on(quality, lossless):
    picture = Picture(scene(30, 40), lossless=True)
    assert (b"VP8L" in encode(picture, "webp", quality)) == lossless


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([np.uint8, np.uint16]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["png", "tiff"]),
    st.integers(0, 99),
)
@settings(max_examples=80)
def test_lossless_formats_keep_every_value(height, width, dtype, grey, alpha, kind, seed):
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
    if not (grey and alpha and dtype == np.uint16 and kind == "tiff"):  # written as RGBA
        assert again.grey == grey


@pytest.mark.parametrize("quality", [1, 50, 89, 90, 95, 100])
def test_noise_is_encoded_as_jpeg(quality):
    assert decode(encode(Picture(noise((500, 700, 3))), "jpeg", quality)).pixels.shape == (500, 700, 3)


@pytest.mark.parametrize(
    ("picture", "kind", "quality", "words"),
    [
        (Picture(scene(), np.ones((32, 48), np.uint8)), "jpeg", 95, "png"),
        (Picture(scene().astype(np.uint16)), "jpeg", 95, "16 bits per channel"),
        (Picture(scene().astype(np.uint16)), "webp", 95, "16 bits per channel"),
        (Picture(np.zeros((1, 16384, 3), np.uint8)), "webp", 95, "16383"),
        (Picture(np.zeros((65501, 1, 3), np.uint8)), "jpeg", 95, "65500"),
        (Picture(scene()), "gif", 95, "png"),
        (Picture(scene()), "jpeg", 0, "1 to 100"),
        (Picture(scene()), "webp", 101, "1 to 100"),
        (Picture(scene()), "jpeg", True, "1 to 100"),
    ],
)
def test_encode_refuses_what_a_format_cannot_hold(picture, kind, quality, words):
    with pytest.raises(OptionError, match=words):
        encode(picture, kind, quality)


def test_alpha_that_is_opaque_everywhere_is_no_transparency():
    alpha = np.full(scene().shape[:2], 255, np.uint8)
    picture = Picture(scene(), alpha)
    assert decode(encode(picture, "jpeg")).alpha is None
    assert (decode(encode(picture, "png")).alpha == 255).all()
    alpha[0, 0] = 254
    with pytest.raises(OptionError, match="transparency"):
        encode(picture, "jpeg")


def test_grey_pictures_are_written_with_one_channel():
    pixels = np.repeat(noise((5, 6, 1)), 3, axis=2)
    for kind in ("png", "jpeg", "tiff"):
        assert Image.open(io.BytesIO(encode(Picture(pixels, grey=True), kind))).mode == "L"
    with_alpha = Picture(pixels, np.full((5, 6), 9, np.uint8), grey=True)
    assert Image.open(io.BytesIO(encode(with_alpha, "png"))).mode == "LA"


def test_high_quality_jpeg_keeps_full_colour_resolution():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2] = (255, 0, 0)
    assert close(decode(encode(Picture(pixels), "jpg", 98)).pixels, pixels, 25)
    assert len(encode(Picture(scene()), "jpeg", 50)) < len(encode(Picture(scene()), "jpeg", 95))


def test_write_keeps_permissions_and_links(tmp_path):
    path, link = tmp_path / "folder" / "out.png", tmp_path / "link.png"
    path.parent.mkdir()
    link.symlink_to(path)
    for data in (b"new", b"newer"):  # at first the link leads nowhere
        write(link, data)
        assert link.is_symlink()
        assert path.read_bytes() == data
        path.chmod(0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write(path, b"newest")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["out.png"]


def test_write_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    for module, name in (("os", "fsync"), ("pathlib.Path", "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{name}", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
            with pytest.raises(OutputError, match=r"cannot write .*out\.png: disk full; check the"):
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
    for name in ("a\0.png", "\ud800.png"):
        with pytest.raises(OutputError, match="cannot write"):
            write(tmp_path / name, b"new")
    with pytest.raises(OutputError, match="Not a directory"):  # nor can what is left there be removed
        write(plain / "out.png", b"new")
