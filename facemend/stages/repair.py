"""Find and fill scratches, dust, creases and cracks, before anything else looks at the picture."""

import cv2
import numpy as np
from torch import Tensor, nn

from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import Floats, Pixels, StageProgress, Tiling, peak, to_dtype
from facemend.stages.tiled import Tiled

# Probabilities of damage from which a px is changed and replaced; chosen on held-out training pictures.
UNCHANGED, REPLACED = 0.4, 0.7
LARGE = 2048  # px of the long side; the network has learned damage as wide as it is in pictures of up to this size
WIDE = 7  # px of the reduced copy; narrower damage is repaired at full size


class NetRepairer:
    """Repairs with a network, tile by tile.

    In large pictures, wide damage is repaired first, on a copy that is reduced to `LARGE` px.

    Args:
        name: the model's name.
        net: (N, 3, H, W) RGB in [0, 1] -> (N, 4, H, W), the fill and the probability of damage.
        device: where it runs.
        tiling: how the network's input is cut.
    """

    def __init__(self, name: str, net: nn.Module, device: Device, tiling: Tiling) -> None:
        self.name = name
        self._tiled = Tiled(Network(name, net, device), device, tiling)

    def __call__(self, pixels: Pixels, progress: StageProgress | None = None) -> tuple[Pixels, Floats]:
        """As a `Repairer`."""
        if max(pixels.shape[:2]) <= LARGE:
            return self._repair(pixels, progress)
        first, wide = self._repair_wide(pixels, progress)
        repaired, mask = self._repair(first, progress)
        return repaired, np.maximum(mask, wide)

    def _repair_wide(self, pixels: Pixels, progress: StageProgress | None) -> tuple[Pixels, Floats]:
        """Repair the wide damage of a large picture; returns the picture and where it was repaired."""
        height, width = pixels.shape[:2]
        factor = LARGE / max(height, width)
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        filled, mask = self._repair(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), progress)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDE, WIDE))
        core = cv2.erode(mask, disc, borderValue=1)
        wide = np.minimum(mask, cv2.dilate(core, disc, iterations=2))
        share: Floats = cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
        repaired = np.array(pixels)
        where = share > 0
        filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
        before = pixels[where].astype(np.float32)
        repaired[where] = to_dtype(before + share[where, None] * (filled[where] - before), pixels.dtype)
        return repaired, share

    def _repair(self, pixels: Pixels, progress: StageProgress | None) -> tuple[Pixels, Floats]:
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
