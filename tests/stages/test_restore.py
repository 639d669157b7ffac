import numpy as np
import pytest
import torch
from torch import nn

from facemend.errors import FacemendError, MemoryLimitError
from facemend.loader import Loader
from facemend.records import Settings
from facemend.stages import batches
from facemend.stages.restore import FunctionRestorer, NetRestorer
from tests.pictures import CPU, smooth
from tests.precisions import PRECISIONS


class Darker(nn.Module):
    """Halves every value, and records the batch sizes."""

    def __init__(self, limit=99):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.limit = limit
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return (x + 1) * self.share - 1


def grey(level, dtype=np.uint8):
    return np.full((512, 512, 3), level, dtype)


@pytest.mark.parametrize(("dtype", "level"), [(np.uint8, 100), (np.uint16, 30001)])
def test_range_and_depth_are_kept(dtype, level):
    (out,) = NetRestorer("darker", Darker(), CPU)([grey(level, dtype)])
    assert out.dtype == dtype
    assert abs(out.astype(int) - level / 2).max() <= 1


@pytest.fixture
def batched(monkeypatch):
    """The CPU restores several faces in one batch, as a GPU does."""
    monkeypatch.setattr(batches, "LARGEST_BY_TYPE", {})


def test_faces_are_restored_in_batches_and_returned_in_order(batched):
    net, seen = Darker(), []
    out = NetRestorer("darker", net, CPU)(
        [grey(level) for level in range(0, 120, 20)], progress=lambda done, total: seen.append((done, total))
    )
    assert [face[0, 0, 0] for face in out] == [0, 10, 20, 30, 40, 50]
    assert net.batches == [4, 2]
    assert seen == [(4, 6), (6, 6)]


@pytest.mark.parametrize(("limit", "batches"), [(4, [4, 2]), (3, [4, 2, 2, 2]), (1, [4, 2, 1, 1, 1, 1, 1, 1])])
def test_out_of_memory_halves_the_batch(batched, limit, batches):
    net = Darker(limit=limit)
    out = NetRestorer("darker", net, CPU)([grey(level) for level in range(0, 120, 20)])
    assert [face[0, 0, 0] for face in out] == [0, 10, 20, 30, 40, 50]
    assert net.batches == batches


def test_too_little_memory_for_one_face_is_an_error_and_the_next_call_works(batched):
    net = Darker(limit=0)
    darker = NetRestorer("darker", net, CPU)
    with pytest.raises(MemoryLimitError, match="darker"):
        darker([grey(20), grey(40)])
    net.limit = 2
    assert darker([grey(20)])[0][0, 0, 0] == 10


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_face_is_restored_identically_alone_and_in_a_batch(precision):
    lite = Loader(device="cpu", precision=precision).restorer("lite")
    crops = [smooth(512, 512, seed=seed) for seed in range(4)]
    for crop, together in zip(crops, lite(crops), strict=True):
        assert np.array_equal(lite([crop])[0], together)


class Fidelity(nn.Module):
    def forward(self, x, w=0.5):
        return torch.full_like(x, 2 * w - 1)


class Noisy(nn.Module):
    def draw_noise(self, generator):
        return [torch.rand(1, generator=generator)]

    def forward(self, x, noise=None):
        return x * 0 if noise is None else x * 0 + noise[0]


def test_fidelity_is_passed_to_networks_that_have_it():
    (out,) = NetRestorer("fidelity", Fidelity(), CPU)([grey(0)], Settings(fidelity=0.2))
    assert (out == 51).all()


def test_seed_draws_noise_and_without_it_the_stored_noise_is_used():
    restorer = NetRestorer("noisy", Noisy(), CPU)
    plain, again = restorer([grey(9)])[0], restorer([grey(9)])[0]
    one, one_again, two = (restorer([grey(9)], Settings(seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(plain, again)
    np.testing.assert_array_equal(one, one_again)
    assert (one != two).any()
    assert (one != plain).any()


def test_networks_without_noise_ignore_the_seed():
    plain, seeded = (
        Loader("cpu", "fp32").restorer("lite")([grey(9)], settings)[0] for settings in (Settings(), Settings(seed=1))
    )
    np.testing.assert_array_equal(plain, seeded)


def test_a_gpu_replays_recordings_of_restorers():
    assert NetRestorer("darker", Darker(), CPU)._network._fixed_size


def test_16_bits_are_restored_in_float32_on_a_device_in_half_precision():
    """In bfloat16 a face has a quarter of these levels."""
    face = np.broadcast_to(np.linspace(0, 65535, 512).astype(np.uint16)[None, :, None], (512, 512, 3))
    half, exact = (Loader("cpu", precision).restorer("lite")([face])[0] for precision in ("bf16", "fp32"))
    np.testing.assert_array_equal(half, exact)
    assert len(np.unique(half[256, :, 1])) > 480


def test_a_function_is_a_restorer():
    def invert(crops, fidelity):
        assert fidelity == 0.3
        return [255 - crop for crop in crops]

    (out,) = FunctionRestorer(invert)([grey(65535, np.uint16)], Settings(fidelity=0.3))
    assert out.dtype == np.uint16
    assert (out == 0).all()


@pytest.mark.parametrize("answer", [None, [], [None], [np.zeros((512, 512, 3))], [np.zeros((256, 256, 3), np.uint8)]])
def test_a_function_that_returns_other_types_or_shapes_is_an_error(answer):
    with pytest.raises(FacemendError, match="the restorer .* returned"):
        FunctionRestorer(lambda crops, fidelity: answer)([grey(1)])


def test_a_function_may_write_to_the_crops_it_is_given():
    def careless(crops, fidelity):
        for crop in crops:
            crop[:] = 0
        return crops

    crop = grey(200)
    FunctionRestorer(careless)([crop])
    assert (crop == 200).all()
