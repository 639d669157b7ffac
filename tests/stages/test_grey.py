import cv2
import numpy as np
import pytest

from facemend.records import converted
from facemend.stages.grey import in_tone_of, keep_ink, one_ink, print_in
from tests.pictures import smooth


def test_colourless_allows_noise_and_a_uniform_tint_but_no_colour():
    rng = np.random.default_rng(0)
    base = smooth(80, 90)[..., :1].astype(int)
    noise = rng.normal(0, 1.5, (80, 90, 3))
    sepia = np.clip(base + noise + (20, 0, -30), 0, 255).astype(np.uint8)
    assert one_ink(np.repeat(base, 3, 2).astype(np.uint8)) is not None
    assert one_ink(sepia) is not None
    assert one_ink(sepia.astype(np.uint16) * 257) is not None
    assert one_ink(smooth(80, 90)) is None
    dark = np.zeros((80, 90, 3), np.uint16)
    dark[::2, :, 0] = 250
    assert one_ink(dark) is not None, "a difference of one 8-bit level does not count in 16 bits either"


@pytest.mark.parametrize("stops", [0, 2, 4, 6])
def test_colours_in_the_dark_of_16_bits_are_colours(stops):
    coloured = smooth(60, 60, np.uint16) // 4 + 20000
    grey = np.repeat(coloured[..., :1], 3, axis=2)
    assert one_ink(coloured >> stops) is None
    assert one_ink(grey >> stops) is not None


@pytest.mark.parametrize("dark", [1, 2, 4, 8])
def test_colours_in_the_dark_of_8_bits_are_colours(dark):
    coloured = (smooth(200, 200) // 4 + 78) // dark
    assert one_ink(coloured) is None
    assert one_ink(np.repeat(coloured[..., :1], 3, axis=2)) is not None
    sepia = np.rint(coloured[..., :1] * (1, 0.9, 0.75)).astype(np.uint8)
    assert one_ink(sepia) is not None


@pytest.mark.parametrize(("mean", "variance"), [(50, 1.5), (30, 1), (20, 0.5), (10, 0.3)])
def test_noise_in_the_dark_of_16_bits_is_no_colour(mean, variance):
    light = smooth(200, 200)[..., :1] / 127 * mean
    noise = np.random.default_rng(0).normal(0, np.sqrt(variance), (200, 200, 3))
    sepia = np.rint(np.clip(light * (1, 0.9, 0.75) + noise, 0, 255) * 257).astype(np.uint16)
    assert one_ink(sepia) is not None


def test_grey_faces_keep_mean_and_contrast_of_the_crop():
    crop = np.repeat(smooth(512, 512)[..., :1], 3, 2)
    np.testing.assert_array_equal(in_tone_of(crop, crop, one_ink(crop)), crop)
    restored = smooth(512, 512, seed=3)
    out = in_tone_of(restored, crop, one_ink(crop))
    assert (out[..., 0] == out[..., 1]).all()
    assert abs(out.mean() - crop.mean()) < 1
    assert abs(out.std() - crop.std()) < 2


@pytest.mark.parametrize("dots", [True, False])
def test_grain_and_the_dots_of_a_print_are_no_contrast_of_the_face(dots):
    truth = cv2.GaussianBlur(smooth(512, 512), (0, 0), 20).mean(axis=2)
    truth = 128 + 35 * (truth - truth.mean()) / truth.std()
    noise = np.random.default_rng(0).normal(0, 40, truth.shape)
    printed = np.where(np.indices(truth.shape).sum(axis=0) % 4 < 2, 40, -40) if dots else noise
    crop, face = (np.clip(grey, 0, 255).astype(np.uint8)[..., None].repeat(3, 2) for grey in (truth + printed, truth))
    out = in_tone_of(face, crop, one_ink(crop))
    assert out.std() == pytest.approx(face.std(), rel=0.06)


def test_painted_lips_of_a_grey_portrait_keep_their_colour():
    crop = np.repeat(smooth(512, 512)[..., :1] // 2 + 60, 3, 2)
    lips = np.zeros((512, 512), np.float32)
    cv2.ellipse(lips, (256, 380), (45, 18), 0, 0, 360, 1, -1)
    painted = np.rint(crop + lips[..., None] * (30, -12, -10)).astype(np.uint8)
    assert one_ink(painted) is not None
    restored = np.repeat(smooth(512, 512, seed=3)[..., :1] // 2 + 60, 3, 2)
    out = in_tone_of(restored, painted, one_ink(painted)).astype(int)
    redness = (out[..., 0] - out[..., 2])[lips > 0]
    assert redness.mean() > 20
    assert abs(out[:200, :, 0] - out[:200, :, 2]).max() <= 3


def test_noise_of_colours_does_not_come_back():
    crop = np.repeat(smooth(512, 512)[..., :1] // 2 + 60, 3, 2)
    noise = np.random.default_rng(0).normal(0, 6, (512, 512, 3))
    noisy = np.rint(crop + noise - noise.mean(axis=2, keepdims=True)).astype(np.uint8)
    assert one_ink(noisy) is not None
    out = in_tone_of(crop, noisy, one_ink(noisy)).astype(int)
    assert (out[..., 0] - out[..., 2]).std() < 1


def test_grey_faces_are_clamped():
    black = np.zeros((512, 512, 3), np.uint8)
    black[:50] = 8
    out = in_tone_of(smooth(512, 512, seed=1), black, one_ink(black))
    assert out.max() < 30


def sepia(height, width, dtype=np.uint8):
    """A print whose tint grows with the light."""
    light = smooth(height, width, seed=4)[..., :1] / 255
    return np.rint(light * (235, 215, 180) * (np.iinfo(dtype).max // 255)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tint_that_grows_with_the_light_is_one_ink_and_is_printed_again(dtype):
    picture = sepia(90, 80, dtype)
    ink = one_ink(picture)
    printed = picture.copy()
    print_in(printed, ink)
    assert abs(printed.astype(int) - picture).max() <= 1.5 * np.iinfo(dtype).max / 255
    coloured = picture.copy()
    coloured[..., 0] //= 2
    print_in(coloured, ink)
    assert one_ink(coloured) is not None


def test_a_black_picture_of_16_bits_has_one_ink():
    assert one_ink(np.zeros((64, 64, 3), np.uint16)) is not None


def marked(chroma):
    """A grey picture with a few red marks, at the limit of what counts as one ink."""
    picture = np.repeat(smooth(300, 300, seed=2)[..., :1], 3, axis=2)
    for i in range(6):
        picture[20 + 40 * i : 25 + 40 * i, 100:105, 0] = np.clip(
            picture[20 + 40 * i, 100, 0].astype(int) + chroma, 0, 255
        )
        picture[20 + 40 * i : 25 + 40 * i, 100:105, 1:] //= 2
    return picture


def test_few_colours_of_a_grey_picture_may_become_stronger_but_new_ones_are_taken_away():
    limit = next(chroma for chroma in range(255, 0, -1) if one_ink(marked(chroma)) is not None)
    before, after = marked(limit), marked(limit + 6)
    assert one_ink(after) is None
    assert np.array_equal(keep_ink(before, after.copy()), after)
    grey = np.repeat(before[..., :1], 3, axis=2)
    assert one_ink(keep_ink(grey, after.copy())) is not None


def test_a_new_tint_is_taken_away():
    picture = sepia(200, 220)
    bluish = np.rint(picture * (0.75, 1, 1)).astype(np.uint8)
    assert one_ink(bluish) is not None
    tint = picture[..., 0].mean() / picture[..., 2].mean()
    kept = keep_ink(picture, bluish)
    assert kept[..., 0].mean() / kept[..., 2].mean() == pytest.approx(tint, abs=0.02)


@pytest.mark.parametrize("noise", [0, 1, 3])
def test_a_blank_page_may_become_brighter(noise):
    values = np.random.default_rng(0).normal(0, noise, (200, 200, 3))
    page = np.rint(np.array((200.0, 185, 150)) + values).astype(np.uint8)
    brighter = page + np.uint8(10)
    assert np.array_equal(keep_ink(page, brighter.copy()), brighter)


def test_a_face_keeps_an_ink_whose_blue_falls_as_the_light_rises():
    light = smooth(512, 512, seed=4)[..., :1] / 255
    duotone = np.rint((1 - light) * (20, 10, 140) + light * (255, 220, 60)).astype(np.uint8)
    out = in_tone_of(smooth(512, 512, seed=3), duotone, one_ink(duotone))
    channels = out.reshape(-1, 3).astype(float).T
    assert np.corrcoef(channels[0], channels[2])[0, 1] < -0.98


def test_the_ink_of_a_page_does_not_depend_on_the_depth():
    page = np.full((64, 64, 3), (200, 180, 150), np.uint8)
    page[:, 32:] += 1
    deep = one_ink(converted(page, np.uint16)) / ((1,), (257,))
    np.testing.assert_allclose(deep, one_ink(page), atol=1e-3)
