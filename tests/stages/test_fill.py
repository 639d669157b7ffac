import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from facemend.stages import fill as module
from facemend.stages.fill import fill
from tests.files.samples import noise
from tests.pictures import smooth

SIZE = 96  # px


def half_plane(angle):
    """A picture with a straight edge through its middle, at an angle in degrees."""
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    distance = x * np.sin(np.radians(angle)) - y * np.cos(np.radians(angle))
    return np.repeat((40 + 180 * np.clip(distance + 0.5, 0, 1))[..., None], 3, 2).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_only_damaged_px_change(dtype):
    picture = noise((70, 50, 3), dtype)
    found = (noise((70, 50)) > 200).astype(np.uint8)
    filled = fill(picture, found)
    assert filled.dtype == dtype
    assert (filled[found == 0] == picture[found == 0]).all()
    assert (filled[found == 1] != picture[found == 1]).any(axis=1).mean() > 0.9
    unchanged = fill(picture, np.zeros_like(found))
    assert (unchanged == picture).all()
    assert not np.shares_memory(unchanged, picture)


@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 135, 160])
@pytest.mark.parametrize(("width", "most"), [(3, 2), (6, 3.5), (10, 5)])
def test_an_edge_goes_on_through_a_scratch(angle, width, most, monkeypatch):
    truth = half_plane(angle)
    found = np.zeros((SIZE, SIZE), np.uint8)
    across = np.radians(angle + 60)
    x, y = (round(SIZE / 2 + 40 * part) for part in (np.cos(across), np.sin(across)))
    cv2.line(found, (x, y), (SIZE - x, SIZE - y), 1, width)
    damaged = truth.copy()
    damaged[found > 0] = 255
    error = np.abs(fill(damaged, found).astype(int) - truth)[found > 0].mean()
    monkeypatch.setattr(module, "STEPS", 0)
    first = np.abs(fill(damaged, found).astype(int) - truth)[found > 0].mean()
    assert error < min(most, 0.8 * first)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_smooth_picture_is_filled_as_it_was(dtype):
    truth = smooth(90, 130, dtype)
    found = np.zeros((90, 130), np.uint8)
    found[40:45] = found[:, 60:66] = 1
    damaged = np.where(found[..., None], np.iinfo(dtype).max, truth).astype(dtype)
    unit = np.iinfo(dtype).max / 255
    assert (np.abs(fill(damaged, found).astype(float) - truth) / unit)[found > 0].mean() < 4.5


@given(arrays.arrays(np.uint8, (60, 40), elements=st.integers(0, 1)))
def test_every_mask_is_filled_with_values_of_the_picture(found):
    picture = 100 + noise((60, 40, 3)) // 8  # 100 to 131
    picture[found > 0] = 255
    filled = fill(picture, found)
    if not found.all():
        assert filled.min() >= 99
        assert filled.max() <= 132


def test_16_bits_are_filled_as_8_bits_are():
    rng = np.random.default_rng(0)
    picture = np.rint(120 + rng.normal(0, 1.2, (80, 80, 3))).astype(np.uint8)  # noise that is no edge
    found = np.zeros((80, 80), np.uint8)
    found[30:36] = 1
    deep = fill(picture.astype(np.uint16) * 257, found) / 257
    assert np.abs(deep - fill(picture, found)).max() < 1


def test_the_layout_of_the_array_changes_nothing():
    picture, found = noise((60, 40, 3)), (noise((60, 40)) > 200).astype(np.uint8)
    assert (fill(np.asfortranarray(picture), found) == fill(picture, found)).all()


@pytest.mark.parametrize("tile", [32, 50])
def test_tiles_give_the_same_as_the_whole_picture(monkeypatch, tile):
    picture = noise((150, 110, 3), np.uint16)
    found = (cv2.blur(noise((150, 110)), (5, 5)) > 140).astype(np.uint8)
    whole = fill(picture, found)
    monkeypatch.setattr(module, "TILE", tile)
    assert np.abs(fill(picture, found).astype(int) - whole).max() <= 1, "the rounding of floats"
