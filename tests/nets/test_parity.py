"""Every network has the names and shapes of its official checkpoint and the outputs of the original implementation."""

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from facemend.machine.device import choose
from facemend.machine.network import Network
from facemend.nets.gfpgan import GFPGAN, ModulatedConv2d
from facemend.nets.swinir import SwinIR
from tests.nets import deterministic, reference
from tests.nets.reference import CASES, Outputs


@dataclass(frozen=True)
class Computed:
    """A network with the weights of the record, and its outputs for the image of the record."""

    name: str
    net: Callable[..., Tensor]
    x: Tensor
    outputs: Outputs


@pytest.fixture(scope="module")
def computed(request: pytest.FixtureRequest) -> Iterator[Computed]:
    """Computed once for each network: pytest runs the tests with the same parameter in succession."""
    net = reference.load(request.param)
    x = CASES[request.param].image().contiguous(memory_format=torch.channels_last)
    yield Computed(request.param, net, x, reference.compute(request.param, net))


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("computed", names, indirect=True)


@pytest.mark.parametrize("name", CASES)
def test_names_and_shapes_are_those_of_the_checkpoint(name: str) -> None:
    with torch.device("meta"):
        net = CASES[name].build()
    ours = {key: (list(value.shape), f"{value.dtype}") for key, value in net.state_dict().items()}
    official = {key: (shape, f"torch.{dtype}") for key, (shape, dtype) in reference.checkpoint_shapes(name).items()}
    assert ours == official


@of(*CASES)
def test_outputs_are_those_of_the_original(computed: Computed) -> None:
    errors = reference.relative_errors(computed.name, computed.outputs)
    tolerance = CASES[computed.name].tolerance
    assert {output: error for output, error in errors.items() if not error <= tolerance} == {}


@of("gfpgan_1.4", "codeformer", "restoreformer", "parsenet")
def test_the_result_does_not_depend_on_the_batch(computed: Computed) -> None:
    x, net = computed.x, computed.net
    with torch.inference_mode():
        if computed.name == "codeformer":
            expected = computed.outputs["output_w0.0"]
            net = functools.partial(net, w=0.0)
        elif computed.name == "gfpgan_1.4":
            expected = computed.outputs["output"]
        else:  # these networks take smaller images
            x = x[:, :, :128, :128]
            expected = net(x)
        result = net(torch.cat((x.flip(3), x)))
    assert torch.linalg.norm(result[1] - expected[0]) <= 1e-4 * torch.linalg.norm(expected)
    assert torch.linalg.norm(result[0] - expected[0]) > 0.1 * torch.linalg.norm(expected)


@of("gfpgan_1.4")
def test_gfpgan_noise_depends_on_the_generator(computed: Computed) -> None:
    net = computed.net
    assert isinstance(net, GFPGAN)
    first, again, other = (net.draw_noise(torch.Generator().manual_seed(seed), batch=2) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[-1][0], first[-1][1])  # each face has its own noise
    with torch.inference_mode():
        result = net(computed.x, [noise[:1] for noise in first])
    assert not torch.allclose(result, computed.outputs["output"], rtol=1e-2, atol=1e-2)


@of("codeformer")
def test_codeformer_fidelity_changes_the_face(computed: Computed) -> None:
    low, middle, high = (computed.outputs[f"output_w{w}"] for w in (0.0, 0.5, 1.0))
    assert torch.linalg.norm(low - middle) > 0.01 * torch.linalg.norm(low)
    assert torch.linalg.norm(middle - high) > 0.01 * torch.linalg.norm(low)


@pytest.mark.parametrize("name", ["gfpgan_1.4", "codeformer", "restoreformer", "parsenet"])
def test_a_network_in_half_precision_returns_half_precision(name: str) -> None:
    with torch.device("meta"), torch.inference_mode():
        result = CASES[name].build().eval().bfloat16()(torch.empty(2, 3, 512, 512, dtype=torch.bfloat16))
    assert result.dtype == torch.bfloat16
    assert result.shape == (2, 19 if name == "parsenet" else 3, 512, 512)


def test_float32_parts_reduce_the_error_of_bfloat16() -> None:
    net = reference.load("realesrgan_x2plus")
    x = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    all_bfloat16 = copy.deepcopy(net).bfloat16()
    with torch.inference_mode():
        expected, without = net(x), all_bfloat16(x.bfloat16()).float()
        result = Network("x2plus", net, choose("cpu", "bf16", "bf16"))(x)
    assert torch.linalg.norm(result - expected) < 0.7 * torch.linalg.norm(without - expected)


def test_swinir_takes_pictures_of_any_size() -> None:
    torch.manual_seed(0)
    net = SwinIR(features=24, heads=2, groups=1, depth=2).eval()
    x = torch.rand((1, 3, 13, 21))
    with torch.inference_mode():
        padded = net(torch.nn.functional.pad(x, (0, 3, 0, 3), "reflect"))
        assert torch.equal(net(x), padded[:, :, : 4 * 13, : 4 * 21])


def test_swinir_can_be_trained_after_it_has_run_in_inference_mode() -> None:
    net, x = SwinIR(features=24, heads=2, groups=1, depth=2), torch.rand((1, 3, 16, 16))
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_modulated_weights_can_be_channels_last() -> None:
    layer = ModulatedConv2d(8, 4, 3)
    before = layer.weight.detach().clone()
    reference.channels_last(layer)
    assert layer.weight[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, before)


def test_weights_depend_on_name_and_seed() -> None:
    shapes = {"a.weight": ([4, 3], "float32"), "b.weight": ([4, 3], "float32"), "steps": ([], "int64")}
    first, other = deterministic.weights(shapes, 1), deterministic.weights(shapes, 2)
    assert not torch.equal(first["a.weight"], first["b.weight"])
    assert not torch.equal(first["a.weight"], other["a.weight"])
    assert first["steps"].dtype == torch.int64


@pytest.mark.parametrize("name", CASES)
def test_images_are_the_recorded_ones(name: str) -> None:
    with np.load(reference.RECORDS / f"{name}.npz") as record:
        np.testing.assert_allclose(CASES[name].image().flatten()[:64].numpy(), record["input_probe"], rtol=1e-6)
