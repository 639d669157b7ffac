import cv2
import numpy as np
import pytest

from facemend.records import Crop
from facemend.stages.align import align
from facemend.stages.tone import toned
from tests.pictures import face_at, similarity, smooth

RATIO = (2.0, 2.0)


@pytest.fixture
def picture():
    return smooth(400, 420) // 2 + 40


def cut(picture):
    return align(picture, face_at(similarity(2.2, 20, -10, -290)).landmarks)


def enlarged(picture):
    return cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


def like(crop, pixels):
    return Crop(pixels, crop.matrix)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_face_follows_the_tone_of_its_surroundings(picture, dtype):
    level = np.iinfo(dtype).max // 255
    picture = picture.astype(dtype) * level
    crop = cut(picture)
    restored = like(crop, smooth(512, 512, seed=3).astype(dtype) // 2 * level + 40 * level)
    change = np.array((12, -9, 0.5))
    canvas = (enlarged(picture) + change * level).round().astype(dtype)
    difference = toned(restored, crop, canvas, RATIO).pixels.astype(float) - restored.pixels
    np.testing.assert_allclose(difference / level, np.broadcast_to((11, -8, 0), difference.shape), atol=0.8)


@pytest.mark.parametrize("width", [1, 8])
def test_only_large_areas_count(picture, width):
    crop = cut(picture)
    canvas = enlarged(picture)
    light = np.arange(len(canvas)) // width % 2 == 0
    canvas[light] += 20
    canvas[~light] -= 20
    assert np.abs(toned(crop, crop, canvas, RATIO).pixels.astype(int) - crop.pixels).max() <= 1


def test_a_face_on_a_canvas_of_the_same_tone_is_the_same(picture):
    crop = cut(picture)
    restored = like(crop, smooth(512, 512, seed=3))
    assert toned(restored, crop, enlarged(picture), RATIO) is restored


def test_beyond_the_picture_is_no_other_tone():
    picture = np.full((400, 420, 3), 150, np.uint8)
    crop = align(picture, face_at(similarity(2.2, 20, 150, 120)).landmarks)
    assert toned(crop, crop, enlarged(picture), RATIO) is crop


def test_the_map_of_the_crop_is_used():
    crop = Crop(np.full((64, 64, 3), 100, np.uint8), similarity(1, 0, -100, -100))
    canvas = np.full((800, 840, 3), 100, np.uint8)
    canvas[:, 280:] = 130
    difference = toned(crop, crop, canvas, RATIO).pixels.astype(int) - 100
    assert abs(difference[:, :30]).max() <= 3
    assert abs(difference[:, 50:] - 29).max() <= 3
