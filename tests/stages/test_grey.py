import numpy as np

from facemend.stages.grey import colourless, in_grey
from tests.pictures import smooth


def test_colourless_allows_noise_and_a_uniform_tint_but_no_colour():
    rng = np.random.default_rng(0)
    base = smooth(80, 90)[..., :1].astype(int)
    noise = rng.normal(0, 1.5, (80, 90, 3))
    sepia = np.clip(base + noise + (20, 0, -30), 0, 255).astype(np.uint8)
    assert colourless(np.repeat(base, 3, 2).astype(np.uint8))
    assert colourless(sepia)
    assert colourless(sepia.astype(np.uint16) * 257)
    assert not colourless(smooth(80, 90))
    dark = np.zeros((80, 90, 3), np.uint16)
    dark[::2, :, 0] = 250
    assert colourless(dark), "a difference of one 8-bit level does not count in 16 bits either"


def test_grey_faces_keep_mean_and_contrast_of_the_crop():
    crop = np.repeat(smooth(512, 512)[..., :1], 3, 2)
    np.testing.assert_array_equal(in_grey(crop, crop), crop)
    restored = smooth(512, 512, seed=3)
    out = in_grey(restored, crop)
    assert (out[..., 0] == out[..., 1]).all()
    assert abs(out.mean() - crop.mean()) < 1
    assert abs(out.std() - crop.std()) < 2


def test_grey_faces_are_clamped():
    black = np.zeros((512, 512, 3), np.uint8)
    black[:50] = 8
    out = in_grey(smooth(512, 512, seed=1), black)
    assert out.max() < 30
