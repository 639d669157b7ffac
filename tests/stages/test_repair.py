import numpy as np
import pytest
import torch
from torch import nn

from facemend.errors import NonFiniteError
from facemend.nets.repairer import LiteRepairer
from facemend.records import Tiling
from facemend.stages import repair, tiled
from facemend.stages.repair import NetRepairer
from tests.pictures import CPU, Whites, smooth

TILING = Tiling(scale=1, step=16, bytes_per_pixel=600, overlap=64)


def scratched(dtype=np.uint8, size=(90, 130)):
    """A smooth picture with a white line, and where the line is."""
    picture = smooth(*size, dtype)
    picture[40:43] = np.iinfo(dtype).max
    return picture, (picture == np.iinfo(dtype).max).all(axis=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_damage_is_filled_and_nothing_else_changes(dtype):
    picture, line = scratched(dtype)
    copy = picture.copy()
    repaired, mask = NetRepairer("whites", Whites(), CPU, TILING)(picture)
    assert repaired.dtype == dtype
    assert np.array_equal(picture, copy)
    assert np.array_equal(repaired[~line], picture[~line])
    assert np.abs(repaired[line] / np.iinfo(dtype).max - Whites.FILL).max() <= 0.5 / np.iinfo(dtype).max
    assert (mask.dtype, mask.shape) == (np.float32, picture.shape[:2])
    assert np.array_equal(mask, line.astype(np.float32))


class Doubtful(nn.Module):
    """Finds damage with one probability everywhere, and fills with black."""

    def __init__(self, probability):
        super().__init__()
        self.probability = probability

    def forward(self, x):
        return torch.cat([x * 0, torch.full_like(x[:, :1], self.probability)], 1)


@pytest.mark.parametrize("part", [-0.01, 0, 0.25, 1, 1.1])
def test_doubtful_damage_is_filled_in_part(part):
    probability = repair.UNCHANGED + part * (repair.REPLACED - repair.UNCHANGED)
    picture = np.full((40, 40, 3), 200, np.uint8)
    repaired, mask = NetRepairer("doubtful", Doubtful(probability), CPU, TILING)(picture)
    share = min(max(part, 0), 1)
    np.testing.assert_allclose(mask, share, atol=1e-5)
    assert (repaired == round(200 * (1 - share))).all()


def test_tiles_give_the_same_as_the_whole_picture(monkeypatch):
    picture, _ = scratched(size=(210, 700))
    seen = []
    repairer = NetRepairer("whites", Whites(), CPU, TILING)
    whole = repairer(picture)
    monkeypatch.setattr(tiled, "LARGEST_TILE", 192)
    tiles = repairer(picture, lambda done, total: seen.append((done, total)))
    assert all(np.array_equal(a, b) for a, b in zip(whole, tiles, strict=True))
    assert seen[-1][0] == seen[-1][1] > 3


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (64, 500)])
def test_pictures_of_any_size_keep_it(size):
    torch.manual_seed(0)
    repaired, mask = NetRepairer("net", LiteRepairer((4, 4, 4, 4), (1, 1, 1, 1)).eval(), CPU, TILING)(smooth(*size))
    assert repaired.shape == (*size, 3)
    assert mask.shape == size


def test_a_network_that_computes_nan_is_an_error():
    with pytest.raises(NonFiniteError, match="broken"):
        NetRepairer("broken", Doubtful(float("nan")), CPU, TILING)(smooth(20, 20))
