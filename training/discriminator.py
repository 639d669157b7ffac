"""A patch discriminator: tells restored from real, patch by patch, and lends its features to compare the two."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from training import loop

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


def opinion(judge: Discriminator, result: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """What the discriminator has against each result: how unlike the truth it looks, how sure it is that it is none.

    Returns:
        Two (N,), both to be made small by the network that made the results; the first is the mean difference of the
        features, each layer in units of its truth's strength.
    """
    judge.requires_grad_(False)
    with torch.autocast(result.device.type, torch.bfloat16):
        score, seen = judge(result)
        with torch.no_grad():
            _, wanted = judge(truth)
    pairs = [(a.float(), b.float()) for a, b in zip(seen, wanted, strict=True)]
    unlike = [(a - b).abs().flatten(1).mean(1) / (b.abs().mean() + 1e-3) for a, b in pairs]
    return torch.stack(unlike).mean(0), -score.float().flatten(1).mean(1)


def learn(judge: Discriminator, optimizer: torch.optim.Optimizer, rate: float, result: Tensor, truth: Tensor) -> Tensor:
    """One step of the discriminator itself; its (hinge) loss."""
    judge.requires_grad_(True)
    with torch.autocast(result.device.type, torch.bfloat16):
        real, fake = judge(truth)[0].float(), judge(result.detach())[0].float()
    loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    loop.descend(loss, optimizer, rate, largest=5.0)
    return loss
