"""A patch discriminator, which tells restored images from real ones; its features also serve to compare the two."""

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

    Takes (N, 3, H, W) in [-1, 1]; returns a score for each patch (above 0: real) and the features of every layer.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(widths))
        self.score = spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score images: scores (N, 1, H / 16, W / 16), and the features."""
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features


class Adversary:
    """A discriminator with its optimizer, trained alongside the network whose results it scores."""

    def __init__(self, device: str | torch.device) -> None:
        self.net = Discriminator().to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), betas=(0.5, 0.99), weight_decay=1e-4)

    def state_dict(self) -> dict[str, Any]:
        """The state of discriminator and optimizer."""
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])

    def losses(self, result: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of the network that made `result`, one value per item.

        Args:
            result: (N, 3, H, W) in [-1, 1].
            truth: the real images, same shape and range.

        Returns:
            The feature matching loss (N,): mean absolute difference of the features, each layer divided by the mean
            size of the truth's features. The adversarial loss (N,): the negated score.
        """
        self.net.requires_grad_(False)
        with torch.autocast(result.device.type, torch.bfloat16):
            score, features = self.net(result)
            with torch.no_grad():
                _, wanted = self.net(truth)
        pairs = [(a.float(), b.float()) for a, b in zip(features, wanted, strict=True)]
        matching = [(a - b).abs().flatten(1).mean(1) / (b.abs().mean() + 1e-3) for a, b in pairs]
        return torch.stack(matching).mean(0), -score.float().flatten(1).mean(1)

    def learn(self, rate: float, result: Tensor, truth: Tensor) -> Tensor:
        """Train the discriminator for one step at this learning rate; returns its hinge loss."""
        self.net.requires_grad_(True)
        with torch.autocast(result.device.type, torch.bfloat16):
            real, fake = self.net(truth)[0].float(), self.net(result.detach())[0].float()
        loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        loop.descend(loss, self.optimizer, rate, max_norm=5.0)
        return loss
