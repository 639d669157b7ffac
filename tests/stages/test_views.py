import numpy as np
import pytest

from facemend.records import Face
from facemend.stages import views
from tests.pictures import face_at, similarity, smooth

MARKS = face_at(similarity(1, 0, 0, 0)).landmarks


@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_view_maps_back_to_the_px_of_the_picture(quarters):
    picture = smooth(30, 40)
    view = views.whole(picture).turned(quarters)
    for y, x in ((0, 0), (5, 7), (20, 29)):
        column, row = np.rint(view.to_picture @ (x, y, 1)).astype(int)
        np.testing.assert_array_equal(view.pixels[y, x], picture[row, column])


@pytest.mark.parametrize("degrees", [0, 45, 90, 200])
def test_the_box_of_a_face_in_a_turned_square_is_that_of_the_ellipse_in_it(degrees):
    view = views.around(views.whole(smooth(300, 300)), (100, 100, 200, 200), degrees, 2, 128, (0, 0, 0))
    middle, half = 63.5, 16  # px of the view, which has 128 px for 200
    face = view.on_picture(Face((middle - half, middle - half, middle + half, middle + half), MARKS, 0.9))
    assert face.box == pytest.approx((125, 125, 175, 175))


def test_an_ellipse_turned_by_an_eighth_has_equal_sides():
    view = views.around(views.whole(smooth(300, 300)), (100, 100, 200, 200), 45, 2, 128, (0, 0, 0))
    x0, y0, x1, y1 = view.on_picture(Face((43.5, 53.5, 83.5, 73.5), MARKS, 0.9)).box
    assert (x1 - x0, y1 - y0) == pytest.approx([np.hypot(40, 20) / 2**0.5 * 200 / 128] * 2)


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(300, 400, 0.3), (301, 403, 0.11), (30, 40, 2.5), (1, 900, 0.2)]
)
def test_a_scaled_view_maps_its_corners_to_those_of_the_picture(height, width, scale):
    view = views.scaled(views.whole(smooth(height, width)), scale)
    rows, columns = view.pixels.shape[:2]
    assert abs(rows - max(1, height * scale)) <= 1
    assert abs(columns - max(1, width * scale)) <= 1
    tolerance = 1 / scale  # odd rows and columns are left out when a view is halved
    np.testing.assert_allclose(view.to_picture @ (-0.5, -0.5, 1), (-0.5, -0.5), atol=1e-6)
    np.testing.assert_allclose(
        view.to_picture @ (columns - 0.5, rows - 0.5, 1), (width - 0.5, height - 0.5), atol=tolerance
    )


def test_a_squared_view_has_a_border_of_one_colour():
    view = views.squared(views.whole(smooth(30, 41)), 64, (1, 2, 3))
    assert view.pixels.shape == (64, 64, 3)
    np.testing.assert_array_equal(view.pixels[0], np.full((64, 3), (1, 2, 3)))
    np.testing.assert_allclose(view.to_picture @ (11, 17, 1), (0, 0))
    np.testing.assert_array_equal(view.pixels[17:47, 11:52], smooth(30, 41))


@pytest.mark.parametrize("unit", [1, 257])
def test_little_contrast_is_raised_and_enough_is_left(unit):
    dtype = np.uint8 if unit == 1 else np.uint16
    clear = smooth(300, 400).astype(dtype) * dtype(unit)
    assert views.contrasted(views.whole(clear)).pixels is clear
    faint = views.contrasted(views.whole(clear // 8 + dtype(20 * unit))).pixels
    assert np.subtract(*np.percentile(faint.mean(axis=2), (99, 1))) / unit == pytest.approx(128, rel=0.2)
    plain = np.full((300, 400, 3), 7 * unit, dtype)
    assert np.ptp(views.contrasted(views.whole(plain)).pixels) == 0


def test_the_contrast_of_the_middle_is_raised_whatever_is_around_it():
    faded = np.full((300, 400, 3), 255, np.uint8)
    faded[40:260, 40:360] = smooth(220, 320) // 8 + 100
    view = views.whole(faded)
    assert views.contrasted(view) is view
    middle = views.contrasted(view, 1 / 2).pixels[75:225, 100:300]
    assert np.subtract(*np.percentile(middle.mean(axis=2), (99, 1))) == pytest.approx(128, rel=0.2)


def test_the_map_of_a_scaled_view_follows_its_rounded_size():
    view = views.scaled(views.whole(smooth(101, 7)), 0.6)
    height, width = view.pixels.shape[:2]
    np.testing.assert_allclose(view.to_picture @ (width - 0.5, height - 0.5, 1), (6.5, 100.5))


def test_a_plain_picture_gets_little_contrast():
    page = np.random.default_rng(0).integers(100, 102, (64, 64, 3), np.uint8)
    assert np.ptp(views.contrasted(views.whole(page)).pixels) <= views.HIGHEST_GAIN + 1
