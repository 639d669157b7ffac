"""Run a network over a picture tile by tile, so that its memory does not grow with the picture."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from facemend.errors import NonFiniteError, Remedy
from facemend.machine import memory
from facemend.machine.network import Network, is_finite
from facemend.records import Pixels, Size, StageProgress, Tiling, peak
from facemend.stages.fitting import in_fitting_tiles
from facemend.stages.resampling import Resampling
from facemend.stages.seams import Seams
from facemend.stages.tiles import cut, spans

LARGEST_TILE = 1088  # px of the input; 1024 px and their surroundings are one tile where there is memory for it
SMALLEST_TILE = 96  # px of the input, at least; a tile is at least three times as long as its overlap
HALF_PRECISION = 0.5  # memory of a network in half precision over that in float32
RGB_BYTES = 12  # bytes of a px in float32
RESAMPLED_COPIES = 3  # of a tile of the result at the peak

Write = Callable[[Tensor, tuple[slice, slice]], None]  # values (C, h, w) in [0, 1], and their rows and columns


class Tiled:
    """A network with the way in which its input is cut.

    Args:
        network: (N, 3, H, W) RGB in [0, 1] -> (N, C, H * scale, W * scale).
        tiling: the network's scale, and how its input is cut.
        remedies: what else may be done where the memory is too small even for the smallest tile.
    """

    def __init__(self, network: Network, tiling: Tiling, *remedies: Remedy) -> None:
        self._network = network
        self._device = network.device
        self._tiling = tiling
        self._remedies = remedies
        self._smallest = tiling.step * math.ceil(max(SMALLEST_TILE, 3 * tiling.overlap) / tiling.step)

    def run(self, pixels: Pixels, size: Size, write: Write, progress: StageProgress | None = None) -> None:
        """Run the network, and resample its output to another size.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16.
            size: (height, width) of the result in px.
            write: called with the values of each part of the result, on the device. If the network overflows or the
                memory runs out, it is called again for parts that it got before.
            progress: called with the number of tiles done, and of all.

        Raises:
            NonFiniteError: the network computed NaN or infinity.
            MemoryLimitError: the smallest tile does not fit into the device's memory.
        """
        if self._device.dtype != torch.float32 and peak(pixels) == 255:
            try:
                self._run(pixels, size, write, progress, exact=False)
                return
            except NonFiniteError:
                self._network.warn_of_overflow()
        self._run(pixels, size, write, progress, exact=True)

    def _run(self, pixels: Pixels, size: Size, write: Write, progress: StageProgress | None, *, exact: bool) -> None:
        """Run the network, in float32 if `exact` is true."""
        ratio = max(after / before for after, before in zip(size, pixels.shape[:2], strict=True))
        step = self._tiling.step
        in_fitting_tiles(
            lambda tile: self._run_in_tiles(pixels, size, write, tile, exact, progress),
            min(max(self._fitting(exact, ratio), self._smallest), LARGEST_TILE) // step * step,
            self._smallest,
            self._network.name,
            self._device.place,
            *self._remedies,
            step=step,
        )

    def _fitting(self, exact: bool, ratio: float) -> int:
        """The px of a side of a tile for which there is memory; a side of the result has `ratio` times as many."""
        in_network = self._tiling.bytes_per_pixel * (1 if exact else HALF_PRECISION)
        in_resampling = RGB_BYTES * (self._tiling.scale**2 + RESAMPLED_COPIES * ratio**2)
        return math.isqrt(int(memory.working(self._device.place) / max(in_network, in_resampling)))

    def _run_in_tiles(
        self, pixels: Pixels, size: Size, write: Write, tile: int, exact: bool, progress: StageProgress | None
    ) -> None:
        """Run the network in tiles of this size.

        Raises:
            NonFiniteError: the network computed NaN or infinity. What was written is no result then.
        """
        place, scale = self._device.place, self._tiling.scale
        rows, columns = (
            spans(before, after, tile, self._tiling.step, self._tiling.overlap)
            for before, after in zip(pixels.shape[:2], size, strict=True)
        )
        across = [Resampling(column, scale, place) for column in columns]
        seams = Seams(rows, columns, place)
        for y, row in enumerate(rows):
            down = Resampling(row, scale, place)
            finite = torch.ones((), dtype=torch.bool, device=place)
            for x, column in enumerate(columns):
                image = self._device.tensor(cut(pixels, row, column)[None]) / peak(pixels)
                out = self._network.unchecked(image, exact=exact)[0]  # (C, h * scale, w * scale)
                finite &= is_finite(out)
                part = across[x](down(out.contiguous()).mT.contiguous()).mT.clamp(0, 1)
                part.mul_(down.weight[:, None]).mul_(across[x].weight)
                write(*seams.add(part, y, x))
                if progress:
                    progress(y * len(columns) + x + 1, len(rows) * len(columns))
            if not finite:  # asked once a row, as a GPU has to finish its work before it answers
                raise NonFiniteError(self._network.name)
