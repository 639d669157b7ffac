import cv2
import numpy as np
import pytest

from facemend.stages.recolour import exposed, finish, inside
from tests.pictures import smooth


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blocks_have_the_colour_of_the_plain_picture(dtype):
    white = np.iinfo(dtype).max
    plain = smooth(300, 333, dtype, cell=60)
    cast = smooth(300, 333, np.uint8, seed=4, cell=300).astype(float) / 255 - 0.5
    noise = np.random.default_rng(0).normal(0, 0.02, plain.shape)
    canvas = ((0.25 + 0.5 * plain / white + 0.1 + 0.1 * cast + noise).clip(0, 1) * white).astype(dtype)
    plain = (white // 4 + plain // 2).astype(dtype)
    before = canvas.copy()
    finish(canvas, plain, [])
    for y in range(0, 300, 64):
        for x in range(0, 333, 64):
            block = slice(y, y + 64), slice(x, x + 64)
            means = canvas[block].mean((0, 1)) - plain[block].mean((0, 1))
            assert np.abs(means).max() <= white / 255
    detail = canvas.astype(float) - cv2.GaussianBlur(canvas.astype(float), (0, 0), 3)
    kept = before.astype(float) - cv2.GaussianBlur(before.astype(float), (0, 0), 3)
    assert np.abs(detail - kept)[20:-20, 20:-20].mean() < white / 255  # sharp detail is as it was


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (7, 9), (257, 5)])
def test_any_size_is_finished(shape):
    canvas, plain = np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 99, np.uint8)
    finish(canvas, plain, [])
    assert (canvas == 99).all()


def test_boxes_hold_the_plain_px_exactly_and_fade_out():
    plain, canvas = smooth(200, 300), smooth(200, 300, seed=1)
    finish(canvas, plain, [(100, 50, 160, 110)])
    assert np.array_equal(canvas[50:111, 100:161], plain[50:111, 100:161])
    assert not np.array_equal(canvas[:30], plain[:30])
    share = inside([(100, 50, 160, 110)], np.arange(200), np.arange(300))
    assert share[80, 130] == 1
    assert share[80, 10] == 0
    assert 0 < share[80, 95] < 1
    assert np.abs(np.diff(share, axis=1)).max() < 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hdr_evens_out_and_changes_nothing_at_0(dtype):
    pixels = smooth(128, 128, dtype)
    white = np.iinfo(dtype).max
    assert np.abs(exposed(pixels, 1e-9).astype(float) - pixels).max() <= 0.02 * white
    dark = (pixels // 4).astype(dtype)
    assert exposed(dark, 1.0).mean() > 1.1 * dark.mean()
    assert exposed(dark, 1.0).dtype == dtype
    grey = np.repeat(dark[..., :1], 3, axis=2)
    assert exposed(grey, 1.0, has_colours=False).mean() > 1.1 * grey.mean()
