"""Losses. Images are (N, 3, H, W), in the range that the trainer uses; every loss is (N,), one value per item."""

from torch import Tensor
from torch.nn import functional


def per_item(x: Tensor) -> Tensor:
    """Mean over all but the first dimension."""
    return x.flatten(1).mean(1)


def pixel(result: Tensor, truth: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean absolute difference of the pixels, weighted by `weight` (N, 1, H, W)."""
    return per_item((result - truth).abs() * weight)


def colour(result: Tensor, truth: Tensor, patch: int = 16) -> Tensor:
    """Mean absolute difference of the means of patches of `patch` px: errors of colour over larger areas."""
    return per_item(functional.avg_pool2d(result - truth, patch).abs())


def gradient(result: Tensor, truth: Tensor, weight: Tensor | float = 1.0, scales: int = 3) -> Tensor:
    """Mean absolute difference of the image gradients (differences of neighbours), at full, half and quarter size."""
    difference = (result - truth) * (weight**0.5)
    total = result.new_zeros(len(result))
    for scale in range(scales):
        if scale:
            difference = functional.avg_pool2d(difference, 2)
        total = total + per_item(difference.diff(dim=2).abs()) + per_item(difference.diff(dim=3).abs())
    return total


def energy(result: Tensor, truth: Tensor, patch: int = 16) -> Tensor:
    """Mean absolute difference of the amount of detail in patches; where in the patch the detail is does not matter.

    The amount of detail is the mean absolute gradient of the grey image. Losses on pixels reward blur where the place
    of detail cannot be known; this loss does not. Gradients are of means of 2x2 px. Otherwise a network can reduce the
    loss with a fine checkerboard pattern, which no photograph has.
    """
    grey = [functional.avg_pool2d(x.mean(1, keepdim=True), 2, stride=1) for x in (result, truth)]
    total = result.new_zeros(len(result))
    for dimension in (2, 3):
        amounts = [functional.avg_pool2d(x.diff(dim=dimension).abs(), patch, ceil_mode=True) for x in grey]
        total = total + per_item((amounts[0] - amounts[1]).abs())
    return total
