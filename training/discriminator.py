"""A patch discriminator: tells restored from real, patch by patch, and lends its features to compare the two."""

from itertools import pairwise
from typing import Any

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


class Judge:
    """The discriminator with the optimizer that trains it beside the network it judges."""

    def __init__(self, device: str | torch.device) -> None:
        self.net = Discriminator().to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), betas=(0.5, 0.99), weight_decay=1e-4)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])

    def opinion(self, result: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """What it has against each result: how unlike the truth it looks, how sure it is that it is none.

        Returns:
            Two (N,), both to be made small by the network that made the results; the first is the mean difference of
            the features, each layer in units of its truth's strength.
        """
        self.net.requires_grad_(False)
        with torch.autocast(result.device.type, torch.bfloat16):
            score, seen = self.net(result)
            with torch.no_grad():
                _, wanted = self.net(truth)
        pairs = [(a.float(), b.float()) for a, b in zip(seen, wanted, strict=True)]
        unlike = [(a - b).abs().flatten(1).mean(1) / (b.abs().mean() + 1e-3) for a, b in pairs]
        return torch.stack(unlike).mean(0), -score.float().flatten(1).mean(1)

    def learn(self, rate: float, result: Tensor, truth: Tensor) -> Tensor:
        """One step of its own at this learning rate; its (hinge) loss."""
        self.net.requires_grad_(True)
        with torch.autocast(result.device.type, torch.bfloat16):
            real, fake = self.net(truth)[0].float(), self.net(result.detach())[0].float()
        loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        loop.descend(loss, self.optimizer, rate, largest=5.0)
        return loss
