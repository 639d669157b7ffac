import pytest
import torch

from facemend.errors import MemoryLimitError, Remedy
from facemend.stages.fitting import in_fitting_tiles

CPU = torch.device("cpu")


def fitting(limit, tried, error=MemoryError):
    """Work for which tiles of more than `limit` px are too large; it lists the sides that were tried."""

    def work(tile):
        tried.append(tile)
        if tile > limit:
            raise error("out of memory")
        return f"done in {tile}"

    return work


@pytest.mark.parametrize(
    ("limit", "step", "expected"), [(400, 1, [300]), (80, 1, [300, 150, 75]), (80, 8, [300, 144, 72])]
)
def test_tiles_are_halved_to_whole_steps_until_they_fit(limit, step, expected):
    tried = []
    assert in_fitting_tiles(fitting(limit, tried), 300, 40, "net", CPU, step=step) == f"done in {expected[-1]}"
    assert tried == expected


@pytest.mark.parametrize(("place", "ends"), [("cpu", "use tile 1$"), ("cuda:0", "use tile 1 or use device cpu$")])
def test_the_smallest_tile_is_tried_last_and_the_remedies_fit_the_device(place, ends):
    tried = []
    with pytest.raises(MemoryLimitError, match=f"net .* memory of {place} in tiles of 64 px; .*{ends}"):
        in_fitting_tiles(fitting(0, tried), 100, 64, "net", torch.device(place), Remedy("use {} 1", "tile"))
    assert tried == [100, 64]


def test_other_errors_end_the_work_at_once():
    tried = []
    with pytest.raises(ValueError, match="out of memory"):
        in_fitting_tiles(fitting(0, tried, ValueError), 100, 64, "net", CPU)
    assert tried == [100]
