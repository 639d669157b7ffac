"""A patch discriminator, which tells restored images from real ones; its features also serve to compare the two.

It sees the input that an image was made from, and of the image itself only the fine detail. So it teaches the texture
of hair, skin and cloth, and has no influence on anything larger, such as the shape of a face.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from training import loop, losses

WIDTHS = (16, 48, 96, 192, 192)
CUT = 16  # px by which images are larger than what the discriminator sees
DETAIL = 4.0  # by how much fine detail is amplified, to about the range of the input


class Discriminator(nn.Module):
    """Strided convolutions with spectral norm (Miyato et al. 2018, arXiv:1802.05957).

    Takes (N, 6, H, W), what `shown` returns; returns a score for each patch (above 0: real) and the features of every
    layer.
    """

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(6, WIDTHS[0], 3, padding=1)
        halvings = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(WIDTHS)]
        self.layers = nn.ModuleList(spectral_norm(layer) for layer in (first, *halvings))
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
            result: what `shown` returns for it.
            truth: the same for the real images.

        Returns:
            The feature matching loss (N,): mean absolute difference of the features, each layer divided by the mean
            size of the truth's features. The adversarial loss (N,): the negated score.
        """
        self.net.requires_grad_(False)
        with loop.autocast(result.device):
            score, features = self.net(result)
            with torch.no_grad():
                _, wanted = self.net(truth)
        pairs = [(a.float(), b.float()) for a, b in zip(features, wanted, strict=True)]
        matching = [(a - b).abs().flatten(1).mean(1) / (b.abs().mean() + 1e-3) for a, b in pairs]
        return torch.stack(matching).mean(0), -score.float().flatten(1).mean(1)

    def learn(self, rate: float, result: Tensor, truth: Tensor) -> Tensor:
        """Train the discriminator for one step at this learning rate; returns its hinge loss."""
        self.net.requires_grad_(True)
        with loop.autocast(result.device):
            real, fake = self.net(truth)[0].float(), self.net(result.detach())[0].float()
        loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        loop.descend(loss, self.optimizer, rate, max_norm=5.0)
        return loss


def shown(step: int, given: Tensor, result: Tensor, truth: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """What the discriminator sees of a result and of the truth.

    A part of every image is cut off, another one in each step. So the discriminator sees patterns of the network at all
    positions relative to its own strides.

    Args:
        step: number of this step.
        given: the input of the network, (N, 3, H, W) in [-1, 1].
        result: its result, same shape and range.
        truth: the real image, same shape and range.
        sigma: size of fine detail in px.

    Returns:
        (N, 6, H - 16, W - 16): the input and the fine detail, for the result and for the truth.
    """
    y, x = np.random.default_rng(step).integers(CUT + 1, size=2)
    area = ..., slice(y, given.shape[2] - CUT + y), slice(x, given.shape[3] - CUT + x)
    fake, real = (torch.cat([given, DETAIL * losses.fine(image, sigma)], 1)[area] for image in (result, truth))
    return fake, real
