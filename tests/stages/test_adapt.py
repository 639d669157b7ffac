from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from facemend.files.decode import decode
from facemend.loader import Loader
from facemend.records import Crop
from facemend.stages import adapt
from facemend.stages.adapt import share
from facemend.stages.align import align
from facemend.stages.condition import blocks, colour_noise, real_side
from tests.pictures import face_at, similarity, smooth

OLD = Path(__file__).parents[2] / "examples" / "old.jpg"


@pytest.fixture(scope="module")
def drawn():
    """A sharp picture of one hue, 700 px wide."""
    rng = np.random.default_rng(0)
    picture = np.ascontiguousarray(smooth(700, 700)[..., 0])
    for _ in range(160):
        centre, axes = rng.integers(0, 700, 2).tolist(), rng.integers(4, 40, 2).tolist()
        level, degrees, width = int(rng.integers(70, 190)), int(rng.integers(180)), int(rng.integers(1, 4))
        cv2.ellipse(picture, centre, axes, degrees, 0, 360, level, width, cv2.LINE_AA)
    return np.rint(picture[..., None] * (1, 0.95, 0.9)).astype(np.uint8)


def cut(picture, shrink=1.0, degrees=3):
    """The crop of a picture that was shrunk before."""
    return align(picture, face_at(similarity(shrink, degrees, -80, -100)).landmarks)


def share_of(picture, shrink=1.0):
    return share(cut(picture, shrink), picture)


def blurred(picture, sigma):
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture


def shrunk(picture, factor):
    return cv2.resize(picture, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)


def noisy(picture, sigma):
    noise = np.random.default_rng(1).normal(0, sigma, picture.shape)
    return np.rint(picture + noise).clip(0, 255).astype(np.uint8)


def with_noise_of_colours(picture, sigma, coarse=3):
    """The same brightness, and noise of grains of `coarse` px in its colours."""
    rng = np.random.default_rng(1)
    height, width = picture.shape[:2]
    noise = cv2.resize(rng.normal(0, sigma, (height // coarse, width // coarse, 3)), (width, height))
    noise -= (noise @ (0.299, 0.587, 0.114))[..., None]
    return np.rint(picture + noise).clip(0, 255).astype(np.uint8)


def with_specks(picture, part):
    chance = np.random.default_rng(1).random(picture.shape[:2])
    specked = picture.copy()
    specked[chance < part / 2] = 0
    specked[chance > 1 - part / 2] = 255
    return specked


def compressed(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("sharpness", "expected"),
    [((1, 1, 1), 0), ((adapt.FINEST[0], 1, 1), 1), ((1, adapt.FINE[0], 1), 1), ((1, 1, adapt.EVENNESS[0]), 1)],
)
def test_one_bad_measure_of_sharpness_is_enough(drawn, monkeypatch, sharpness, expected):
    monkeypatch.setattr(adapt, "sharpness", lambda grey: sharpness)
    assert share_of(drawn) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("measure", "limits"), [(0, adapt.FINEST), (1, adapt.FINE)])
def test_blur_lowers_both_measures_of_sharpness_below_their_limits(drawn, measure, limits):
    def measured(picture):
        return adapt.sharpness(cv2.cvtColor(cut(picture).pixels, cv2.COLOR_RGB2GRAY).astype(np.float32))[measure]

    assert measured(blurred(drawn, 3)) < limits[0] < limits[1] < measured(drawn)


@pytest.mark.parametrize("factor", [1, 1.5, 2])
def test_good_faces_are_left_as_they_are(drawn, factor):
    assert share_of(shrunk(drawn, factor), factor) < 0.02


def test_bad_faces_are_restored_completely(drawn):
    assert share_of(blurred(drawn, 3)) == 1
    assert share_of(noisy(drawn, 15)) == 1
    assert share_of(noisy(blurred(drawn, 3), 4)) == 1
    assert share_of(compressed(drawn, 30)) == 1
    assert share_of(compressed(drawn, 30)[3:, 5:]) == 1, "the grid of blocks may start anywhere"
    assert share_of(with_noise_of_colours(drawn, 12)) == 1
    assert share_of(with_noise_of_colours(drawn, 18, coarse=6)) == 1
    assert share_of(compressed(with_noise_of_colours(drawn, 18), 80)) > 0.5
    assert share_of(with_specks(drawn, 0.02)) == 1
    assert share_of(shrunk(drawn, 3), 3) == 1
    assert share_of(shrunk(drawn, 20), 20) == 1


@pytest.mark.parametrize("factor", [0.65, 0.8, 0.9, 1.25, 1.5])
def test_a_face_that_was_resized_after_compression_is_judged_by_its_blocks(drawn, factor):
    def resized(quality):
        return cv2.resize(compressed(drawn, quality), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)

    assert share_of(resized(10), 1 / factor) > 0.95
    assert share_of(resized(95), 1 / factor) < 0.02


def test_a_grid_of_8_px_counts_less_than_that_of_a_resized_picture(drawn):
    assert share_of(compressed(drawn, 80)) < 0.02


@pytest.mark.parametrize("colour", [(0, -0.344, 1.772), (1.402, -0.714, 0)])
def test_noise_of_one_colour_is_enough(drawn, colour):
    """Of blue-yellow, or of red-green."""
    noise = cv2.resize(np.random.default_rng(1).normal(0, 12, (234, 234)), (700, 700))[..., None]
    assert share_of(np.rint(drawn + noise * colour).clip(0, 255).astype(np.uint8)) == 1


@pytest.mark.parametrize("factor", [4, 6, 7.5])
def test_enlarged_px_count_as_blocks(drawn, factor):
    small = shrunk(drawn, factor)
    assert share_of(cv2.resize(small, (700, 700), interpolation=cv2.INTER_NEAREST)) == 1


def test_fine_patterns_in_one_direction_are_no_blocks(drawn):
    striped = drawn.copy()
    striped[:, ::6] = striped[:, ::6] // 2
    assert blocks(striped, cut(striped)) < adapt.BLOCKS[1] < blocks(compressed(drawn, 15), cut(drawn))


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 135])
@pytest.mark.parametrize("length", [15, 31])
def test_motion_blurred_faces_are_restored_completely(drawn, degrees, length):
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), degrees, 1)
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    kernel = cv2.warpAffine(line, turn, (length, length))
    assert share_of(cv2.filter2D(drawn, -1, kernel / kernel.sum())) == 1


def test_a_bad_face_that_was_enlarged_is_still_bad(drawn):
    small = shrunk(drawn, 8)
    assert share_of(cv2.resize(small, (700, 700), interpolation=cv2.INTER_CUBIC)) == 1


def test_faces_larger_than_the_crop_count_as_they_look_in_it(drawn):
    large = cv2.resize(drawn, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert share_of(large, 1 / 3) < 0.02
    assert share_of(compressed(large, 60), 1 / 3) < 0.02


def test_blocks_of_a_large_face_are_seen_at_the_size_of_the_picture(drawn):
    large = cv2.resize(drawn, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_CUBIC)
    assert share_of(large, 1 / 1.3) < 0.02
    assert share_of(compressed(large, 15), 1 / 1.3) > 0.9


def test_a_face_outside_the_picture_has_no_blocks(drawn):
    assert blocks(drawn, Crop(drawn[:512, :512], similarity(1, 0, 5000, 0))) == 0


def test_the_face_of_an_old_photograph_is_restored_completely():
    picture = decode(OLD).pixels
    (face,) = Loader(device="cpu").detector("lite")(picture)
    crop = align(picture, face.landmarks)
    assert share(crop, picture) == 1
    as_if_large = replace(crop, matrix=similarity(1, 0, 0, 0))
    assert share(as_if_large, picture) == 1, "its blur is enough"


def test_more_blur_never_lowers_the_share_and_it_does_not_jump(drawn):
    shares = [share_of(blurred(drawn, sigma)) for sigma in np.arange(0, 3.05, 0.05)]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert all(before <= after + 1e-6 for before, after in pairwise(shares))
    assert max(after - before for before, after in pairwise(shares)) < 0.3


def test_the_share_is_continuous_in_the_size(drawn):
    picture = shrunk(drawn, 2)
    crop = cut(picture, 2)
    shares = [share(replace(crop, matrix=crop.matrix * factor), picture) for factor in np.arange(1, 1.6, 0.01)]
    assert shares[0] < 0.02
    assert shares[-1] == 1
    assert max(abs(after - before) for before, after in pairwise(shares)) < 0.15


@pytest.mark.parametrize("sigma", [0, 2])
def test_depth_does_not_matter(drawn, sigma):
    picture = blurred(drawn, sigma)
    crop = cut(picture)
    deep = replace(crop, pixels=crop.pixels.astype(np.uint16) * 257)
    assert share(deep, picture.astype(np.uint16) * 257) == pytest.approx(share(crop, picture), abs=1e-3)


def test_grey_pictures_are_judged_by_the_same_measure(drawn):
    grey = np.dstack([cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)] * 3)
    assert share_of(grey) < 0.02
    assert share_of(blurred(grey, 3)) == 1


def test_does_not_write_to_the_crop_and_repeats_itself(drawn):
    picture = blurred(drawn, 2)
    crop = cut(picture)
    before = crop.pixels.copy(), picture.copy()
    assert share(crop, picture) == share(crop, picture)
    np.testing.assert_array_equal(crop.pixels, before[0])
    np.testing.assert_array_equal(picture, before[1])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_crop_is_restored(level):
    picture = np.full((512, 512, 3), level, np.uint8)
    assert share(Crop(picture, similarity(1, 0, 0, 0)), picture) == 1


@settings(max_examples=30)
@given(
    arrays(np.uint8, (16, 16, 3)),
    st.sampled_from([128, 512]),
    st.floats(0.0002, 400),
    st.floats(-180, 180),
    st.booleans(),
)
def test_stays_between_none_and_all(coarse, side, scale, degrees, deep):
    pixels = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
    pixels = pixels.astype(np.uint16) * 257 if deep else pixels
    assert 0 <= share(Crop(pixels, similarity(scale, degrees, -1e4, 30)), pixels) <= 1


@pytest.mark.weights
def test_shared_old_photos_are_restored_and_good_portraits_are_not(shared):
    detect = Loader(device="cpu").detector("lite")
    for folder, low, high in (("old_photos", 0.9, 1), ("portraits/val", 0, 0.1)):
        for path in sorted((shared / "data" / folder).iterdir())[:8]:
            picture = decode(path).pixels
            for face in detect(picture):
                assert low <= share(align(picture, face.landmarks), picture) <= high, path


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((0, 130), (0, 512), 0),
        ((470, 512), (0, 512), 0),
        ((0, 512), (0, 90), 0),
        ((0, 512), (425, 512), 0),
        ((160, 290), (0, 512), 1),
        ((0, 512), (150, 250), 1),
    ],
)
def test_specks_count_on_the_face_and_not_beside_it(drawn, rows, columns, expected):
    crop = cut(drawn)
    pixels, part = crop.pixels.copy(), (slice(*rows), slice(*columns))
    pixels[part] = with_specks(pixels[part], 0.1)
    assert share(replace(crop, pixels=pixels), drawn) == pytest.approx(expected, abs=0.02)


def test_blocks_are_looked_for_in_the_middle_of_the_face_and_around_it(drawn):
    crop, blocky = cut(drawn), compressed(drawn, 10)
    above, around = drawn.copy(), blocky.copy()
    above[:240] = blocky[:240]
    around[330:480, 290:440] = drawn[330:480, 290:440]
    assert blocks(above, crop) < adapt.BLOCKS[1] < adapt.BLOCKS[0] < blocks(around, crop)


def test_noise_of_colours_in_fine_grains_is_enough(drawn):
    crop = cut(with_noise_of_colours(drawn, 8, coarse=2))
    assert colour_noise(crop.pixels, real_side(crop)) > adapt.COLOUR_NOISE[0]


def test_noise_of_brightness_alone_is_enough(drawn):
    noise = np.random.default_rng(1).normal(0, 3, (700, 700, 1))
    assert share_of(np.rint(drawn + noise).clip(0, 255).astype(np.uint8)) == 1


@pytest.mark.parametrize(("length", "low", "high"), [(5, 0, 0.05), (7, 1, 1)])
def test_motion_blur_counts_from_where_it_is_seen(drawn, length, low, high):
    assert low <= share_of(cv2.blur(drawn, (length, 1))) <= high
