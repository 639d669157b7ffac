"""The loss on likeness, with a small network of random weights."""

import numpy as np
import pytest
import torch

from tests.training.runs import recognition
from training import identity
from training.identity import Descriptor, Likeness

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return recognition(tmp_path / "recognition")


def noise(count=2, size=512):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_weights_are_read_in_order_and_scaled(folder):
    stored = np.frombuffer((folder / "face_recognition_model.bin").read_bytes(), np.uint8)
    state = identity.read(folder)
    kernel = state["first_down/conv/filters"]
    np.testing.assert_allclose(kernel.numpy().ravel(), stored[: kernel.numel()] * 0.004 - 0.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state["fc"].numpy().ravel(), stored[-4 * 16 * 128 :].view(np.float32))


def test_the_scale_is_part_of_the_convolution(folder):
    state = identity.read(folder)
    x = noise(1, 20)
    layer = identity.convolution(state, "first_down")
    scale, shift, bias = (
        state[f"first_down/{name}"][:, None, None] for name in ("scale/weights", "scale/biases", "conv/bias")
    )
    plain = torch.nn.functional.conv2d(x, state["first_down/conv/filters"].permute(3, 2, 0, 1), stride=2)
    torch.testing.assert_close(layer(x), (plain + bias) * scale + shift)


def test_descriptors_have_128_numbers_and_the_network_is_not_trained(folder):
    net = Descriptor(folder)
    assert net(noise(2, identity.SIDE)).shape == (2, 128)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_descriptors_are_those_of_the_code_that_was_compared_with_dlib(folder):
    """With the real weights, that code gave descriptors 0.04 from dlib's; this network is small and random."""
    found = Descriptor(folder)(noise(1, identity.SIDE))[0, :4]
    np.testing.assert_allclose(found.numpy(), [-7.4879, -1.0427, -0.239, -0.1748], rtol=1e-3)


def test_the_loss_is_least_for_the_true_face_and_leads_to_it(folder):
    likeness, truth = Likeness(folder, CPU), noise()
    assert (likeness(0, truth, truth) < 0.01).all()
    result = (truth * 0.8).requires_grad_(True)
    loss = likeness(0, result, truth)
    assert loss.shape == (2,)
    assert (loss > 0.01).all()
    (slope,) = torch.autograd.grad(loss.sum(), result)
    with torch.no_grad():
        assert likeness(0, result - 0.01 * slope / slope.abs().max(), truth).sum() < loss.sum()


def test_the_square_is_that_of_dlib_and_varies_with_the_step():
    drawn = torch.stack([identity.squares(step, 4) for step in range(50)])
    assert torch.equal(drawn[7], identity.squares(7, 4))
    assert len(torch.unique(drawn[:, :, 0, 0, 0])) == 200
    px = (drawn.flatten(0, 1) + 1) * 256 - 0.5
    centres, widths = px.mean((1, 2)), px[:, 0, -1, 0] - px[:, 0, 0, 0]
    np.testing.assert_allclose(centres.mean(0), (257, 311), atol=2)
    np.testing.assert_allclose(centres.std(0), (7, 7), rtol=0.15)
    assert abs(float(widths.mean()) - 336 * (1 - 1 / 150)) < 3
    assert 0.03 < float(widths.std() / widths.mean()) < 0.05
    assert (px.amin((0, 1, 2)) > 0).all()
    assert (px.amax((0, 1, 2)) < 512).all()


def test_a_square_is_cut_from_its_place():
    column = torch.arange(512.0).expand(1, 3, 512, 512)
    sampled = identity.squares(3, 1)
    wanted = (sampled[..., 0] + 1) * 256 - 0.5
    torch.testing.assert_close(identity.cut(column, sampled)[:, 0], wanted, rtol=0, atol=0.01)


def test_no_detail_is_skipped_where_a_square_is_cut():
    checks = (torch.arange(512)[:, None] + torch.arange(512)).remainder(2).float().expand(1, 3, 512, 512)
    assert (identity.cut(checks, identity.squares(3, 1)) - 0.5).abs().max() < 1e-4
