"""The restorer that is bundled with the package: its noise."""

import pytest
import torch

from facemend.nets.lite import FACE_SIZE, LiteRestorer


@pytest.fixture
def net():
    torch.manual_seed(0)
    return LiteRestorer((4, 4, 4, 4), (1, 1, 1, 1)).eval()


def test_results_are_repeatable_as_the_noise_is_stored(net):
    face = torch.zeros(1, 3, FACE_SIZE, FACE_SIZE)
    other = LiteRestorer((4, 4, 4, 4), (1, 1, 1, 1)).eval()
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        assert torch.equal(net(face), other(face))
        assert torch.equal(net(face), net(face, noise=net.noise))


@pytest.mark.parametrize("level", [0, 1])
def test_noise_is_added_at_the_two_finest_levels(net, level):
    face = torch.zeros(1, 3, FACE_SIZE, FACE_SIZE)
    with torch.inference_mode():
        net.from_noise[1 - level].weight.zero_()
        difference = (net(face, noise=net.noise) - net(face, noise=net.noise * 0)).abs()
    assert difference.mean() > 0
