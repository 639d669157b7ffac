"""LiteRepairer: the small network bundled with the package that finds and fills scratches, dust, creases and cracks.

A residual U-Net, fast on a CPU. There is no paper. Designed and trained for this project (`training/repairer.py`).
Licence of the weights: CC0-1.0.
"""

import torch
from torch import Tensor

from facemend.nets.unet import UNet


class LiteRepairer(UNet):
    """Find damage and say what was there before."""

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 128), blocks: tuple[int, ...] = (1, 2, 2, 3)) -> None:
        super().__init__(4, widths, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Find and fill damage.

        Args:
            x: (N, 3, H, W) RGB in [0, 1]; H and W are multiples of 16.

        Returns:
            (N, 4, H, W): the fill, RGB, about [0, 1]; and the probability that the pixel is damaged, in [0, 1].
        """
        values = self.values(x)
        # In float32, as half precision cannot tell 0.999 from 1.
        return torch.cat([x + values[:, :3], values[:, 3:].float().sigmoid()], 1)
