"""The fast forms of upsampling and convolution equal the plain ones, also at the border."""

import pytest
import torch
from torch.nn import functional

from facemend.nets.upconv import WORTHWHILE, bilinear_conv, nearest_conv

# Height and width for the plain form, for the fast form, and for the fast form at its smallest width.
SIZES = [(8, 6), (WORTHWHILE, 5), (WORTHWHILE + 1, 2)]


@pytest.fixture(params=SIZES, ids=str)
def operands(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *request.param, generator=generator)
    return x, torch.randn(4, 3, 3, 3, generator=generator), torch.randn(4, generator=generator)


Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def test_bilinear(operands: Operands) -> None:
    x, weight, bias = operands
    plain = functional.conv2d(functional.interpolate(x, scale_factor=2.0, mode="bilinear"), weight, bias, padding=1)
    torch.testing.assert_close(bilinear_conv(x, weight, bias), plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bilinear_conv(x, weight), plain - bias[:, None, None], rtol=1e-4, atol=1e-4)


def test_nearest(operands: Operands) -> None:
    x, weight, bias = operands
    plain = functional.conv2d(functional.interpolate(x, scale_factor=2.0), weight, bias, padding=1)
    torch.testing.assert_close(nearest_conv(x, weight, bias), plain, rtol=1e-4, atol=1e-4)


def test_nearest_reflected(operands: Operands) -> None:
    x, weight, bias = operands
    padded = functional.pad(functional.interpolate(x, scale_factor=2.0), (1, 1, 1, 1), mode="reflect")
    plain = functional.conv2d(padded, weight, bias)
    torch.testing.assert_close(nearest_conv(x, weight, bias, reflect=True), plain, rtol=1e-4, atol=1e-4)
