"""A patch discriminator: tells restored from real, patch by patch, and lends its features to compare the two."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (32, 64, 128, 128)


class Discriminator(nn.Module):
    """Strided convolutions with spectral norm (Miyato et al. 2018, arXiv:1802.05957).

    Takes (N, 3, H, W) in [-1, 1]; gives a score for each patch (above 0: real) and the features of every layer.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(widths))
        self.score = spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge pictures; scores (N, 1, H / 16, W / 16)."""
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def alike(result: list[Tensor], truth: list[Tensor]) -> Tensor:
    """(N,) mean difference of features, each layer in units of its truth's strength."""
    terms = [(a - b).abs().flatten(1).mean(1) / (b.abs().mean() + 1e-3) for a, b in zip(result, truth, strict=True)]
    return torch.stack(terms).mean(0)
