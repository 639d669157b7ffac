"""What the input `image` may be."""

import base64

import cog
import pytest

from facemend.container.upload import source
from facemend.errors import InputError
from tests.cog.serving import png
from tests.pictures import smooth

PICTURE = png(smooth(8, 8))
TEXT = base64.b64encode(PICTURE).decode()


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


def test_a_file_of_the_call_is_its_path(uploads):
    path = cog.Path(uploads / "picture.png")
    path.write_bytes(PICTURE)
    assert source(path, uploads) == path


@pytest.mark.parametrize("text", [TEXT, f"\n {TEXT[:50]}\r\n{TEXT[50:]} "], ids=["plain", "wrapped"])
def test_base64_is_the_bytes_of_the_picture(uploads, text):
    assert source(text, uploads) == PICTURE


@pytest.mark.parametrize("text", [f"DATA:image/png;base64,{TEXT}", f" \tData:image/png;base64,{TEXT}\n"])
def test_a_url_with_another_spelling_is_fetched(uploads, text, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(uploads))
    path = source(text, uploads)
    assert path.parent == uploads
    assert path.read_bytes() == PICTURE


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_text_is_called_empty(uploads, text):
    with pytest.raises(InputError, match=r"^image is empty; give an http\(s\) or data URL, or base64$"):
        source(text, uploads)


@pytest.mark.parametrize(
    "image",
    [
        "x",
        "é",
        "http",
        "/etc/passwd",
        "/etc/group/x",
        "x" * 5000,
        "x\0",
        "ftp://a/b.png",
        TEXT[:-1],
    ],
    ids=lambda image: image[:12],
)
def test_a_text_without_a_picture_is_not_read(uploads, image):
    with pytest.raises(InputError, match="^image is neither a URL nor the whole base64 of a picture; give an"):
        source(image, uploads)


def test_another_file_is_not_read(uploads):
    with pytest.raises(InputError, match="^image is not a file that came with this call; give an"):
        source(cog.Path("/etc/passwd"), uploads)


@pytest.mark.parametrize("text", ["DATA:image/png", f"DATA:image/png;base64,{TEXT[:-1]}"])
def test_a_url_that_cannot_be_fetched_is_named(uploads, text):
    with pytest.raises(InputError, match="^image cannot be fetched: .*; check the URL$"):
        source(text, uploads)
