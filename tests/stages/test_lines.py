import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from facemend.stages.lines import lines

SIDE = 240  # px


def drawn(angle, length, width):
    """A mask with a straight line through its middle, at an angle in degrees."""
    corners = cv2.boxPoints(((SIDE / 2, SIDE / 2), (length - 1, width - 1), angle))
    return cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [np.rint(corners).astype(np.int32)], 1)


@example(98.0, 209, 8)
@given(st.floats(0, 180), st.integers(80, 220), st.integers(5, 9))
def test_a_line_is_found_with_its_length_width_and_direction(angle, length, width):
    areas = drawn(angle, length, width)
    (line,) = lines(areas, length - 4, width + 2)
    assert abs(line.length - length) <= 4
    assert abs(line.width - width) <= 2
    turned = np.deg2rad(angle)
    assert abs(np.dot(line.axis.direction, (np.cos(turned), np.sin(turned)))) > 0.999
    assert np.allclose(line.axis.off(np.array([[SIDE / 2, SIDE / 2]])), 0, atol=1.5)
    x, y = line.px.T
    assert areas[y, x].all()
    assert int(areas.sum()) - len(line.px) <= 4, "px of the corners may be a little too far from the axis"


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_a_line_is_measured_along_its_axis(angle):
    areas = drawn(angle, 100, 7)
    assert len(list(lines(areas, 96, 9))) == 1
    assert not list(lines(areas, 104, 9))
    assert not list(lines(areas, 96, 5))


def test_every_line_is_found():
    areas = np.zeros((SIDE, SIDE), np.uint8)
    areas[20:23, 10:200] = areas[60:200, 100:104] = areas[150:160, 10:22] = 1
    found = sorted((line.px[:, 0].min(), line.px[:, 1].min()) for line in lines(areas, 50, 6))
    assert found == [(10, 20), (100, 60)]
