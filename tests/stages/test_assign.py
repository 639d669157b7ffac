"""The restorer of a face: which faces are bad, and who gets them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemend.errors import OptionError
from facemend.records import Crop
from facemend.stages.assign import BLURRED, FEWEST, Auto, assign
from facemend.stages.condition import contrast_of_detail, grey_levels
from tests.pictures import similarity, smooth

SIDE = 512  # px


@pytest.fixture(scope="module")
def sharp():
    """A crop with lines of many widths, at one picture px per crop px."""
    rng = np.random.default_rng(0)
    pixels = smooth(SIDE, SIDE)
    for _ in range(120):
        centre, axes = rng.integers(0, SIDE, 2).tolist(), rng.integers(4, 40, 2).tolist()
        colour, width = rng.integers(0, 255, 3).tolist(), int(rng.integers(1, 4))
        cv2.ellipse(pixels, centre, axes, int(rng.integers(180)), 0, 360, colour, width, cv2.LINE_AA)
    return Crop(pixels, similarity(1, 0, 0, 0))


def blurred(crop, sigma):
    return replace(crop, pixels=cv2.GaussianBlur(crop.pixels, (0, 0), sigma))


def noisy(crop, sigma):
    noise = np.random.default_rng(1).normal(0, sigma, crop.pixels.shape)
    return replace(crop, pixels=np.rint(crop.pixels + noise).clip(0, 255).astype(np.uint8))


def of_size(crop, real):
    """The same crop, enlarged from this many px."""
    return replace(crop, matrix=similarity(SIDE / real, 0, 0, 0))


class Takes:
    """A restorer of a face size."""

    def __init__(self, name, face_size=512):
        self.name, self.face_size = name, face_size


USUAL, OTHER = Takes("usual"), Takes("other")
BOTH = Auto(USUAL, OTHER)


def test_a_face_with_detail_gets_the_usual_restorer(sharp):
    assert assign(sharp, BOTH) == (USUAL, "enough detail to keep the likeness")


@pytest.mark.parametrize(("real", "restorer"), [(FEWEST - 0.5, OTHER), (FEWEST, USUAL), (8, OTHER), (500, USUAL)])
def test_a_face_of_few_real_pixels_gets_the_other_one(sharp, real, restorer):
    assigned = assign(of_size(sharp, real), BOTH)
    assert assigned.restorer is restorer
    assert (assigned.reason == f"only {int(real)} real px across the crop") == (restorer is OTHER)


def test_a_heavily_blurred_face_gets_the_other_one(sharp):
    assert assign(blurred(sharp, 8), BOTH) == (OTHER, "heavily blurred")
    assert assign(noisy(blurred(sharp, 8), 6), BOTH).restorer is OTHER
    assert assign(blurred(sharp, 2), BOTH).restorer is USUAL
    assert assign(noisy(blurred(sharp, 2), 6), BOTH).restorer is USUAL


def test_a_face_that_was_enlarged_from_few_pixels_counts_as_blurred(sharp):
    small = cv2.resize(sharp.pixels, (32, 32), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    assert assign(replace(sharp, pixels=large), BOTH).restorer is OTHER


def test_a_bad_face_gets_the_usual_one_where_there_is_no_other(sharp):
    reasons = [assign(crop, Auto(USUAL)).reason for crop in (of_size(sharp, 40), blurred(sharp, 8))]
    assert reasons == [
        "only 40 real px across the crop, but there is no other restorer for it",
        "heavily blurred, but there is no other restorer for it",
    ]
    assert assign(of_size(sharp, 40), Auto(USUAL)).restorer is USUAL


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_crop_is_a_bad_face(sharp, level):
    assert assign(replace(sharp, pixels=np.full_like(sharp.pixels, level)), BOTH).restorer is OTHER


def test_more_blur_never_makes_a_face_better(sharp):
    ratios = [contrast_of_detail(grey_levels(blurred(sharp, sigma).pixels)) for sigma in (1, 2, 3, 4, 6, 8, 10)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > BLURRED > ratios[-1]


@given(st.sampled_from([1.0, 6.0, 8.0]), st.floats(30, 512), st.floats(0.3, 1))
def test_depth_and_contrast_do_not_matter(sharp, sigma, real, contrast):
    crop = of_size(blurred(sharp, sigma), real)
    flat = replace(crop, pixels=(crop.pixels * contrast).astype(np.uint8))
    deep = replace(crop, pixels=crop.pixels.astype(np.uint16) * 257)
    assert assign(deep, BOTH) == assign(flat, BOTH) == assign(crop, BOTH)


def test_auto_names_its_restorers():
    assert Auto(Takes("a")).name == "a"
    assert Auto(Takes("a"), Takes("b")).name == "a or b"
    assert [restorer.name for restorer in Auto(Takes("a"), Takes("b")).restorers] == ["a", "b"]


@pytest.mark.parametrize("size", [256, 1024])
def test_both_restorers_take_crops_of_one_size(size):
    with pytest.raises(OptionError, match="for_bad_faces is 'b', but must be for crops of 512 px"):
        Auto(Takes("a"), Takes("b", size))
