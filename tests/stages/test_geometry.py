import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemend.stages.geometry import bounds, compose, inverse, magnification, scaling, shift, shrunk, warp
from tests.pictures import similarity, smooth

maps = st.builds(
    similarity, st.floats(0.1, 8), st.floats(-180, 180), st.floats(-500, 500), st.floats(-500, 500)
)  # fmt: skip


@given(maps)
def test_inverse_composed_with_the_map_is_the_identity(matrix):
    np.testing.assert_allclose(compose(inverse(matrix), matrix), [[1, 0, 0], [0, 1, 0]], atol=1e-9)


@given(maps, maps)
def test_magnifications_multiply(first, second):
    product = magnification(first) * magnification(second)
    np.testing.assert_allclose(magnification(compose(first, second)), product, rtol=1e-9)


@given(maps, st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_bounds_contain_every_pixel_of_the_picture(matrix, height, width, canvas_height, canvas_width):
    rows, columns = bounds(matrix, (height, width), (canvas_height, canvas_width))
    y, x = np.mgrid[:height, :width]
    points = np.column_stack((x.ravel(), y.ravel(), np.ones(x.size))) @ matrix.T
    seen = (points >= -0.5).all(axis=1) & (points < (canvas_width - 0.5, canvas_height - 0.5)).all(axis=1)
    for x, y in np.rint(points[seen]).astype(int):
        assert columns.start <= x < columns.stop
        assert rows.start <= y < rows.stop


@given(maps, st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]))
def test_warp_keeps_uniform_pictures_uniform_with_any_map(matrix, height, width, dtype):
    picture = np.full((height, width, 3), 200, dtype)
    seen = warp(picture, matrix, (30, 50), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REPLICATE)
    assert seen.dtype == dtype
    assert seen.shape == (30, 50, 3)
    assert abs(seen.astype(int) - 200).max() <= 1


def test_scaling_keeps_the_top_left_corner():
    corner = np.array([-0.5, -0.5, 1])
    np.testing.assert_allclose(scaling(3, 0.4) @ corner, (-0.5, -0.5))


def test_compose_applies_the_last_map_first():
    np.testing.assert_allclose(compose(scaling(2, 2), shift(1, 0)) @ (0, 0, 1), (2.5, 0.5))


def test_bounds_lie_inside_the_canvas_even_for_a_far_away_picture():
    rows, columns = bounds(shift(1000, -1000), (10, 10), (50, 60))
    assert (rows.stop - rows.start) * (columns.stop - columns.start) == 0
    assert 0 <= rows.start <= 50
    assert 0 <= columns.start <= 60


def test_bounds_contain_the_whole_outermost_pixels():
    rows, columns = bounds(compose(shift(10, 20), scaling(8, 4)), (1, 1), (50, 60))
    assert columns.start <= 10
    assert columns.stop >= 18
    assert rows.start <= 20
    assert rows.stop >= 24


def test_warp_averages_when_it_shrinks():
    """A one-pixel checkerboard becomes uniform grey, without moire."""
    board = np.indices((400, 400)).sum(axis=0) % 2 * np.uint8(200)
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    small = warp(
        board, similarity(0.2, 7, 30, 0), (80, 80), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101
    )
    inner = small[10:-10, 25:-10].astype(int)
    assert abs(inner - 100).max() <= 8


@pytest.mark.parametrize(("scale", "side"), [(0.3, 30), (0.7, 70), (0.95, 95), (1, 100), (1.5, 100)])
def test_every_reduction_averages_and_no_enlargement_does(scale, side):
    """A one-pixel checkerboard tells them apart: averaging reduces its contrast."""
    board = np.repeat((np.indices((100, 100)).sum(axis=0) % 2 * 200)[..., None], 3, axis=2).astype(np.uint8)
    small, rest = shrunk(board, scaling(scale, scale))
    assert small.shape == (side, side, 3)
    assert (small.std() < board.std()) == (scale < 1)
    np.testing.assert_allclose(compose(rest, scaling(side / 100, side / 100)), scaling(scale, scale), atol=1e-9)


@pytest.mark.parametrize("scale", [2, 0.1])
def test_warp_draws_no_border_inside_the_picture(scale):
    picture = np.full((600, 700, 3), 200, np.uint8)
    matrix = similarity(scale, 7, -300 * scale, -200 * scale)
    seen = warp(picture, matrix, (20, 24), interpolation=cv2.INTER_LANCZOS4, border=cv2.BORDER_CONSTANT)
    assert (seen == 200).all()


def test_warp_of_a_region_equals_warp_of_the_whole():
    picture = smooth(300, 400)
    matrix = similarity(1.5, 20, -120, -150)
    ours = warp(picture, matrix, (90, 110), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)
    whole = cv2.warpAffine(picture, matrix, (110, 90), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    assert abs(ours.astype(int) - whole).max() <= 1
