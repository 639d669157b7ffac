import io

import numpy as np
import pytest
from PIL import Image

from facemend.job import run_in_memory
from facemend.records import Picture, Settings
from facemend.web import pictures
from tests.pictures import smooth
from tests.web.photos import jpeg
from tests.web.serving import StandIn


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("height", "width", "size"), [(60, 80, (80, 60)), (1, 40_000, (16_000, 1)), (10_000, 8_000, (6325, 7906))]
)
def test_a_view_is_smaller_only_where_the_picture_is_huge(height, width, size):
    view = opened(pictures.view(Picture(np.zeros((height, width, 3), np.uint8))))
    assert (view.format, view.size) == ("JPEG", size)


def test_a_view_has_8_bits_on_white():
    picture = Picture(smooth(300, 400, np.uint16), alpha=np.zeros((300, 400), np.uint16))
    for data in (pictures.view(picture), pictures.thumbnail(picture)):
        assert np.array_equal(np.asarray(opened(data)), np.full_like(np.asarray(opened(data)), 255))
    assert opened(pictures.thumbnail(picture)).size == (160, 120)


@pytest.mark.parametrize(("format_", "shared"), [("jpg", True), ("png", False)])
def test_a_jpeg_is_its_own_view(format_, shared):
    kept = pictures.restored(run_in_memory(jpeg(smooth(60, 80)), StandIn().pipeline(), Settings(), format=format_))
    assert (kept.view is kept.data) is shared
    assert opened(kept.view).format == "JPEG"
    assert kept.nbytes == len(kept.data) + (0 if shared else len(kept.view))
