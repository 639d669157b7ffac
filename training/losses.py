"""Loss terms. Images are (N, 3, H, W), black to white as the trainer has it.

Every term has one value per item, to be weighted.
"""

from torch import Tensor
from torch.nn import functional


def per_item(x: Tensor) -> Tensor:
    """Mean over all but the first dimension."""
    return x.flatten(1).mean(1)


def pixel(result: Tensor, truth: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Absolute difference; `weight` (N, 1, H, W) lets eyes and mouth count more."""
    return per_item((result - truth).abs() * weight)


def colour(result: Tensor, truth: Tensor, patch: int = 16) -> Tensor:
    """Absolute difference of patch means: blotches of colour that the eye sees and single pixels hide."""
    return per_item(functional.avg_pool2d(result - truth, patch).abs())


def gradient(result: Tensor, truth: Tensor, weight: Tensor | float = 1.0, scales: int = 3) -> Tensor:
    """Absolute difference of first differences, at full, half and quarter size."""
    difference = (result - truth) * (weight**0.5)
    total = result.new_zeros(len(result))
    for scale in range(scales):
        if scale:
            difference = functional.avg_pool2d(difference, 2)
        total = total + per_item(difference.diff(dim=2).abs()) + per_item(difference.diff(dim=3).abs())
    return total


def energy(result: Tensor, truth: Tensor, patch: int = 16) -> Tensor:
    """Difference of the amount of detail (mean size of first differences) in patches, wherever the detail lies.

    Pixel terms reward blur where detail cannot be known to the pixel; this one asks for the right amount of it. Means
    of 2x2 px are looked at: else a network supplies the amount as a fine chequered screen, which no photograph has.
    """
    grey = [functional.avg_pool2d(x.mean(1, keepdim=True), 2, stride=1) for x in (result, truth)]
    total = result.new_zeros(len(result))
    for dimension in (2, 3):
        amounts = [functional.avg_pool2d(x.diff(dim=dimension).abs(), patch, ceil_mode=True) for x in grey]
        total = total + per_item((amounts[0] - amounts[1]).abs())
    return total
