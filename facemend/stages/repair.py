"""Find and fill scratches, dust, creases and cracks, before anything else looks at the picture."""

import numpy as np
from torch import Tensor, nn

from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import Floats, Pixels, StageProgress, Tiling, peak, to_dtype
from facemend.stages.tiled import Tiled

# Probabilities of damage from which a px is changed and replaced; chosen on held-out training pictures.
UNCHANGED, REPLACED = 0.4, 0.7


class NetRepairer:
    """Repairs with a network, tile by tile.

    Args:
        name: the model's name.
        net: (N, 3, H, W) RGB in [0, 1] -> (N, 4, H, W), the fill and the probability of damage.
        device: where it runs.
        tiling: how the network's input is cut.
    """

    def __init__(self, name: str, net: nn.Module, device: Device, tiling: Tiling) -> None:
        self.name = name
        self._device = device
        self._tiled = Tiled(Network(name, net, device), device, tiling)

    def __call__(self, pixels: Pixels, progress: StageProgress | None = None) -> tuple[Pixels, Floats]:
        """As a `Repairer`."""
        repaired = np.array(pixels)
        mask = np.empty(pixels.shape[:2], np.float32)

        def write(values: Tensor, where: tuple[slice, slice]) -> None:
            parts = values.nan_to_num().permute(1, 2, 0).cpu().numpy()  # NaN ends the run after the row of tiles
            share = np.clip((parts[..., 3] - UNCHANGED) / (REPLACED - UNCHANGED), 0, 1)
            before = pixels[where].astype(np.float32)
            fill = parts[..., :3] * peak(pixels)
            repaired[where] = to_dtype(before + share[..., None] * (fill - before), pixels.dtype)
            mask[where] = share

        self._tiled.run(pixels, pixels.shape[:2], write, progress)
        return repaired, mask
