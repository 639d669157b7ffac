"""What the start of a file says, without decoding its pixels."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from facemend.errors import DecodeError
from facemend.files import formats, headers
from tests.files.samples import scene
from tests.hostile import saved


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (300, 2)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(("kind", "lossless"), [("gif", True), ("webp", True), ("webp", False)])
def test_the_announced_size_is_that_of_the_picture(kind, lossless, mode, size):
    image = Image.fromarray(np.full((*size, len(mode)), 90, np.uint8), mode)
    data = saved(image, kind, lossless=lossless)
    assert headers.announced_size(data[: formats.HEAD], kind) == size


@pytest.mark.parametrize(("head", "kind"), [(b"GIF89a\1\0\1", "gif"), (b"RIFF    WEBPVP8X".ljust(29, b"\0"), "webp")])
def test_a_file_that_is_cut_short_announces_no_size(head, kind):
    assert headers.announced_size(head, kind) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
def test_a_pipe_is_not_read(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    os.write(end, saved(Image.fromarray(scene()), "jpeg").ljust(2 * formats.HEAD, b"\0"))
    with pytest.raises(DecodeError, match="is a pipe"):
        headers.read(pipe)
    os.close(end)


def test_the_size_of_a_raw_file_is_not_that_of_its_first_directory(tmp_path):
    path = tmp_path / "A.NEF"
    path.write_bytes(saved(Image.fromarray(scene()), "tiff"))
    with pytest.raises(DecodeError, match="not known without decoding"):
        headers.read(path)
