import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from facemend.stages.windows import MOVES, joined, weighted, windows

SIZES = st.sampled_from([16, 32, 64])


@given(st.integers(1, 4000), SIZES, st.floats(-1, 1), st.sampled_from([1, 8]))
def test_weights_sum_to_1_and_windows_are_inside(cells, size, shift, px):
    total = np.zeros(cells * px)
    spans = windows(cells, size, size // 4, shift, px)
    for span in spans:
        assert span.first >= 0
        assert span.first + span.length <= cells
        assert span.first * px <= span.start < span.stop <= (span.first + span.length) * px
        total[span.start : span.stop] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert all(a.first < b.first and a.start < b.start and a.stop < b.stop for a, b in itertools.pairwise(spans))


@given(st.integers(1, 4000), SIZES, st.floats(-1, 1))
def test_moving_costs_nothing(cells, size, shift):
    assert len(windows(cells, size, size // 4, shift)) == len(windows(cells, size, size // 4))


@given(st.integers(17, 400), st.floats(-1, 1))
def test_the_ends_of_a_window_inside_the_picture_do_not_count(cells, shift):
    for span in windows(cells, 16, 4, shift):
        assert span.first == 0 or span.start > span.first
        assert span.first + 16 == cells or span.stop < span.first + 16


def test_inner_windows_move():
    seen = {tuple(span.first for span in windows(200, 64, 16, shift)) for shift in (-1, 0, 1)}
    assert len(seen) == 3
    assert {(firsts[0], firsts[-1]) for firsts in seen} == {(0, 136)}


def test_the_order_of_windows_has_no_influence():
    rows, columns = windows(90, 32, 8), windows(70, 32, 8)
    values = torch.randn(1, 4, 90, 70, generator=torch.Generator().manual_seed(0))

    def part(row, column):
        cut = values[..., row.first : row.first + row.length, column.first : column.first + column.length]
        return cut + row.first + column.first

    forwards = joined(rows, columns, part)
    assert forwards.shape == values.shape
    assert (forwards - joined(rows[::-1], columns[::-1], part)).abs().max() <= 3e-5  # of values up to 100


def test_inner_windows_move_forward_by_a_positive_shift():
    still, moved = windows(100, 32, 16), windows(100, 32, 16, shift=1)
    step = round(MOVES * 16)
    assert [b.first - a.first for a, b in zip(still, moved, strict=True)] == [0, *[step] * (len(still) - 2), 0]


def test_the_weights_of_the_first_window_are_along_the_height():
    first, second = windows(64, 32, 8)[:2]
    result = weighted(torch.ones(1, 32, 32), first, second)[0]
    np.testing.assert_allclose(result, np.outer(first.weight, second.weight))


def test_a_quarter_of_the_overlap_does_not_count_and_over_half_of_it_the_weight_rises():
    first, second = windows(48, 32, 16)
    assert (first.first, second.first) == (0, 16)
    assert (first.start, first.stop, second.start, second.stop) == (0, 28, 20, 48)
    np.testing.assert_allclose(second.weight[:8], (np.arange(8) + 0.5) / 8)
    assert (second.weight[8:] == 1).all()


def test_there_are_no_more_windows_than_needed():
    assert [len(windows(cells, 32, 8)) for cells in (1, 8, 32, 33, 56, 57, 80, 81)] == [1, 1, 1, 2, 2, 3, 3, 4]
