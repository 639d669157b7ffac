import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemend.records import Landmarks
from facemend.stages.align import TEMPLATE, align, turn, whole
from tests.pictures import face_at, similarity, smooth


@settings(max_examples=25)
@given(st.floats(0.3, 4), st.floats(-180, 180))
def test_finds_the_similarity(scale, degrees):
    matrix = similarity(scale, degrees, 40, 60)
    crop = align(smooth(64, 64), face_at(matrix).landmarks)
    np.testing.assert_allclose(crop.matrix, matrix, rtol=1e-3, atol=0.05)


def test_upright_face_at_native_size_is_cut_out_exactly():
    picture = smooth(700, 800)
    crop = align(picture, face_at(similarity(1, 0, -100, -50)).landmarks)
    np.testing.assert_allclose(crop.matrix, similarity(1, 0, -100, -50), atol=1e-2)
    assert abs(crop.pixels.astype(int) - picture[50:562, 100:612]).max() <= 1


def test_other_crop_sizes_scale_the_template():
    face = face_at(similarity(1, 0, 0, 0))
    crop = align(smooth(512, 512), face.landmarks, size=256)
    eye = crop.matrix @ (*face.landmarks.left_eye, 1)
    np.testing.assert_allclose((eye + 0.5) * 2 - 0.5, TEMPLATE.left_eye, atol=0.05)


def test_large_face_is_averaged_not_sampled():
    board = (np.indices((2048, 2048)).sum(axis=0) % 2 * 200).astype(np.uint8)
    crop = align(np.dstack([board] * 3), face_at(similarity(0.25, 3, 0, 0)).landmarks)
    assert abs(crop.pixels[100:-100, 100:-100].astype(int) - 100).max() <= 8


def test_outside_the_picture_is_its_mirror_image():
    picture = smooth(300, 300)
    crop = align(picture, face_at(similarity(1, 0, 100, 0)).landmarks)
    assert abs(crop.pixels[:300, 40:100].astype(int) - picture[:300, 60:0:-1]).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1)])
def test_a_picture_of_one_px_in_height_or_width_has_nothing_to_mirror(size):
    picture = np.full((*size, 3), 70, np.uint8)
    for crop in (whole(picture), align(picture, face_at(similarity(8, 0, 0, 0)).landmarks)):
        assert (crop.pixels == 70).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_keeps_the_depth(dtype):
    assert align(smooth(90, 90, dtype), face_at(similarity(4, 0, 0, 0)).landmarks).pixels.dtype == dtype


def roll(matrix):
    return np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))


@settings(max_examples=50)
@given(st.lists(st.floats(-0.25, 0.25), min_size=10, max_size=10), st.lists(st.floats(-9, 9), min_size=10, max_size=10))
def test_landmarks_that_move_a_little_turn_the_crop_a_little(moves, expression):
    """In two frames of a film, say; eyes are 67 px apart, and no face is exactly the template."""
    points = face_at(similarity(1.9, 6, -20, -60)).landmarks.array() + np.reshape(expression, (5, 2))
    crops = [
        align(smooth(64, 64), Landmarks(*map(tuple, each.tolist())))
        for each in (points, points + np.reshape(moves, (5, 2)))
    ]
    assert abs(roll(crops[0].matrix) - roll(crops[1].matrix)) <= 0.7


def test_one_landmark_that_is_far_off_hardly_turns_the_crop():
    landmarks = face_at(similarity(2, 0, 0, 0)).landmarks
    wrong = landmarks._replace(left_mouth=(landmarks.left_mouth[0] - 60, landmarks.left_mouth[1] - 50))
    assert abs(roll(align(smooth(64, 64), wrong).matrix)) < 8
    even = np.linalg.lstsq(
        np.array([(x, -y, 1, 0) for x, y in wrong] + [(y, x, 0, 1) for x, y in wrong]),
        np.array([x for x, _ in TEMPLATE] + [y for _, y in TEMPLATE]),
        rcond=None,
    )[0]
    assert abs(np.degrees(np.arctan2(even[1], even[0]))) > 1.3 * abs(roll(align(smooth(64, 64), wrong).matrix))


def test_landmarks_in_one_point_fit_no_face():
    assert align(smooth(90, 90), Landmarks(*[(5.0, 5.0)] * 5)) is None


def test_whole_picture_at_512_is_itself():
    picture = smooth(512, 512)
    np.testing.assert_array_equal(whole(picture).pixels, picture)


def test_whole_picture_of_another_size_is_resized():
    crop = whole(smooth(600, 606))
    assert crop.pixels.shape == (512, 512, 3)
    expected = cv2.resize(smooth(600, 606), (512, 512), interpolation=cv2.INTER_AREA)
    assert abs(crop.pixels.astype(int) - expected).max() <= 6


def test_a_wrong_landmark_counts_as_little_in_a_smaller_crop():
    landmarks = face_at(similarity(1, 0, 0, 0)).landmarks
    wrong = landmarks._replace(nose=(landmarks.nose[0] + 120, landmarks.nose[1]))
    large, small = (align(smooth(512, 512), wrong, size).matrix for size in (512, 256))
    np.testing.assert_allclose(2 * small[:, :2], large[:, :2], atol=1e-6)


@pytest.mark.parametrize("away", [(9000, 0), (-9000, 0), (0, 9000), (0, -9000)])
def test_a_face_beside_the_picture_is_no_crop(away):
    assert align(smooth(90, 90), face_at(similarity(1, 0, *away)).landmarks) is None


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("degrees", [0, 30, 180])
def test_the_turn_of_a_head_is_where_its_nose_is(size, degrees):
    points = TEMPLATE.array()
    points[2, 0] += 30
    placed = points @ cv2.getRotationMatrix2D((0, 0), degrees, 0.5)[:, :2].T + 400
    landmarks = Landmarks(*map(tuple, placed.tolist()))
    crop = align(np.zeros((800, 800, 3), np.uint8), landmarks, size)
    assert turn(landmarks, crop) == pytest.approx(30, abs=1)
