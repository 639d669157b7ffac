import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facemend.stages import tiles
from facemend.stages.tiles import spans

STEP = 4
OVERLAP = 28


@given(st.integers(1, 700), st.floats(1, 8), st.sampled_from([96, 160, 360]))
def test_weights_of_overlapping_tiles_sum_to_1(length, scale, tile):
    out_length = round(length * scale)
    total = np.zeros(out_length)
    for span in spans(length, out_length, tile, STEP, OVERLAP):
        assert span.length % STEP == 0
        total[span.start : span.stop] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(st.integers(1, 3000), st.sampled_from([96, 368]), st.sampled_from([4, 16]))
def test_tiles_have_equal_size_and_overlap(length, tile, step):
    cuts = spans(length, length * 4, tile, step, OVERLAP)
    assert len({span.length for span in cuts}) == 1
    assert not any((span.first - cuts[0].first) % step for span in cuts)
    assert cuts[0].first <= -tiles.EDGE
    assert cuts[-1].first + cuts[-1].length >= length + tiles.EDGE
    seen = OVERLAP - tiles.RAMP - 1
    for before, after in itertools.pairwise(cuts):
        assert before.first + before.length >= before.stop / 4 + seen
        assert after.first <= after.start / 4 - seen


def test_beyond_the_picture_its_outermost_px_are_repeated():
    pixels = np.full((12, 20, 3), 90, np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 7  # a frame of 1 px
    row, column = (tiles.Span(-5, length + 10, 0, length, np.ones(length, np.float32), 1) for length in (12, 20))
    window = tiles.cut(pixels, row, column)
    assert np.array_equal(window[5:-5, 5:-5], pixels)
    window[6:-6, 6:-6] = 7
    assert (window == 7).all()


def test_two_tiles_are_blended_over_8_px_of_the_input():
    before, after = spans(200, 600, 160, STEP, OVERLAP)
    shared = slice(after.start, before.stop)
    assert before.stop - after.start == 8 * 3
    np.testing.assert_allclose(after.weight[: 8 * 3], (np.arange(8 * 3) + 0.5) / (8 * 3), atol=1e-6)
    assert (before.weight[: shared.start] == 1).all()


def test_tiles_are_no_longer_than_needed():
    (small,) = spans(10, 20, 360, STEP, OVERLAP)
    assert (small.first, small.length, small.ratio) == (-8, 28, 2)
    assert [span.length for span in spans(400, 600, 360, STEP, OVERLAP)] == [236, 236]
    assert spans(400, 600, 360, STEP, OVERLAP)[0].ratio == 1.5
