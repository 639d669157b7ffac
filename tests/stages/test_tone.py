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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_face_follows_the_tone_of_its_surroundings(picture, dtype):
    level = np.iinfo(dtype).max // 255
    picture = picture.astype(dtype) * level
    crop = cut(picture)
    restored = smooth(512, 512, seed=3).astype(dtype) // 2 * level + 40 * level
    change = np.array((12, -9, 0.5))
    canvas = (enlarged(picture) + change * level).round().astype(dtype)
    difference = toned(restored, crop, canvas, RATIO).astype(float) - restored
    np.testing.assert_allclose(difference / level, np.broadcast_to((11, -8, 0), restored.shape), atol=0.8)


def test_only_large_areas_count(picture):
    crop = cut(picture)
    sharper = enlarged(picture)
    sharper[::2] += 20
    sharper[1::2] -= 20
    assert toned(crop.pixels, crop, sharper, RATIO) is crop.pixels


def test_a_face_on_a_canvas_of_the_same_tone_is_the_same(picture):
    crop = cut(picture)
    restored = smooth(512, 512, seed=3)
    assert toned(restored, crop, enlarged(picture), RATIO) is restored


def test_the_map_of_the_crop_is_used(picture):
    crop = Crop(np.full((64, 64, 3), 100, np.uint8), similarity(1, 0, -100, -100))
    canvas = np.full((800, 840, 3), 100, np.uint8)
    canvas[:, 280:] = 130
    difference = toned(crop.pixels, crop, canvas, RATIO).astype(int) - 100
    assert abs(difference[:, :30]).max() <= 3
    assert abs(difference[:, 50:] - 29).max() <= 3
