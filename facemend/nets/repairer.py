"""LiteRepairer: the small network bundled with the package that finds scratches, dust, creases and cracks.

A residual U-Net, fast on a CPU. There is no paper. Designed and trained for this project (`training/repairer.py`).
Licence of the weights: CC0-1.0.
"""

from torch import Tensor

from facemend.nets.unet import UNet

WIDTHS, BLOCKS = (64, 80, 112, 128), (2, 2, 2, 3)


class LiteRepairer(UNet):
    """Find damage."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, blocks: tuple[int, ...] = BLOCKS) -> None:
        super().__init__(1, widths, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Find damage.

        Args:
            x: (N, 3, H, W) RGB in [0, 1]; H and W are multiples of 16.

        Returns:
            (N, 1, H, W): the probability that a pixel is damaged, in [0, 1].
        """
        return self.values(x).float().sigmoid()  # in float32, as half precision cannot tell 0.999 from 1
