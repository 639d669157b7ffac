"""LiteRestorer: the small face restorer bundled with the package.

A residual U-Net, fast on a CPU. There is no paper. Designed and trained for this project (`training/restorer.py`).
Licence of the weights: CC0-1.0.

Input and output: (N, 3, 512, 512) RGB in [-1, 1], a face aligned to the template; the output is not clamped.

The network predicts what to add to the input, so a good face is returned nearly unchanged. At the deepest level a
learned position embedding is added. It helps because aligned faces always have eyes, nose and mouth at the same
positions. In the decoder, noise is added (as in StyleGAN: Karras et al., 2019, arXiv:1812.04948): without noise a
network draws skin and cloth as a regular pattern. The noise is stored with the weights, so results are repeatable.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.unet import UNet

FACE_SIZE = 512  # px
DEEPEST = 16  # px of the face per position at the deepest level
NOISY_LEVELS = 2  # levels of the decoder to which noise is added, from the finest on


class LiteRestorer(UNet):
    """Restore aligned faces."""

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 192), blocks: tuple[int, ...] = (1, 2, 2, 4)) -> None:
        super().__init__(3, widths, blocks)
        self.place = nn.Parameter(torch.zeros(1, widths[-1], FACE_SIZE // DEEPEST, FACE_SIZE // DEEPEST))
        self.from_noise = nn.ModuleList(
            nn.Conv2d(4 ** (level + 1), width, 1, bias=False) for level, width in enumerate(widths[:NOISY_LEVELS])
        )
        self.noise: Tensor
        self.register_buffer("noise", torch.randn(1, 1, FACE_SIZE, FACE_SIZE))

    def forward(self, x: Tensor, place: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Restore faces.

        Args:
            x: (N, 3, 512, 512) RGB in [-1, 1].
            place: for training on crops of aligned faces, the part of `self.place` for each item.
            noise: for training, standard normal noise in place of `self.noise`, (N, 1, height, width of x).

        Returns:
            (N, 3, 512, 512) RGB, about [-1, 1].
        """
        noise = self.noise if noise is None else noise
        scaled = [layer(F.pixel_unshuffle(noise, 2 ** (i + 1))) for i, layer in enumerate(self.from_noise)]
        return x + self.values(x, self.place if place is None else place, scaled)
