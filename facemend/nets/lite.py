"""LiteRestorer: the small face restorer bundled with the package.

A residual U-Net, fast on a CPU. There is no paper. Designed and trained for this project (`training/restorer.py`).
Licence of the weights: CC0-1.0.

Input and output: (N, 3, 512, 512) RGB in [-1, 1], a face aligned to the template; the output is not clamped.

The network predicts what to add to the input, so a good face is returned nearly unchanged. At the deepest level a
learned position embedding is added. It helps because aligned faces always have eyes, nose and mouth at the same
positions.
"""

import torch
from torch import Tensor, nn

from facemend.nets.unet import UNet

FACE_SIZE = 512  # px
DEEPEST = 16  # px of the face per position at the deepest level


class LiteRestorer(UNet):
    """Restore aligned faces."""

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 192), blocks: tuple[int, ...] = (1, 2, 2, 4)) -> None:
        super().__init__(3, widths, blocks)
        self.place = nn.Parameter(torch.zeros(1, widths[-1], FACE_SIZE // DEEPEST, FACE_SIZE // DEEPEST))

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """Restore faces.

        Args:
            x: (N, 3, 512, 512) RGB in [-1, 1].
            place: for training on crops of aligned faces, the part of `self.place` for each item.

        Returns:
            (N, 3, 512, 512) RGB, about [-1, 1].
        """
        return x + self.values(x, self.place if place is None else place)
