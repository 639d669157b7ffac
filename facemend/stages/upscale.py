"""Enlarge a picture: with a network in tiles, with Lanczos interpolation, or with a function of the caller's."""

import logging
import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facemend.errors import FacemendError, MemoryLimitError, Remedy
from facemend.machine import memory
from facemend.machine.device import Device
from facemend.records import DEFAULT_SETTINGS, Pixels, Settings, Size, StageProgress, Tiling, converted, peak
from facemend.stages.tiles import Span, cut, resampled, spans
from facemend.weights import blend

log = logging.getLogger(__name__)

LARGEST_TILE = 1088  # px of the input; 1024 px and their surroundings are one tile where there is memory for it
SMALLEST_TILE = 96  # px of the input

UpscalerFunction = Callable[[Pixels], Pixels]  # (H, W, 3) uint8 RGB -> (H * k, W * k, 3) uint8 RGB


def lanczos(pixels: Pixels, size: Size) -> Pixels:
    """Enlarge (H, W, 3), uint8 or uint16, to `size` = (height, width); what has to shrink is averaged."""
    if pixels.shape[:2] == size:
        return np.array(pixels)
    grows = all(after >= before for after, before in zip(size, pixels.shape[:2], strict=True))
    interpolation = cv2.INTER_LANCZOS4 if grows else cv2.INTER_AREA
    resized: Pixels = cv2.resize(pixels, size[::-1], interpolation=interpolation)
    return resized


def linear(alpha: Pixels, size: Size) -> Pixels:
    """Enlarge a mask (H, W), uint8 or uint16, to `size`; unlike Lanczos, it leaves no rings along an edge."""
    resized: Pixels = cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized


class LanczosUpscaler:
    """Enlarges without a network."""

    name = "lanczos"

    def __call__(
        self, pixels: Pixels, size: Size, settings: Settings = DEFAULT_SETTINGS, progress: StageProgress | None = None
    ) -> Pixels:
        """As an `Upscaler`; at once, so it reports no progress."""
        return lanczos(pixels, size)


class FunctionUpscaler:
    """Enlarges with a function of the caller's, by the factor it happens to have.

    Args:
        function: (H, W, 3) uint8 RGB -> (H * k, W * k, 3) uint8 RGB.
    """

    def __init__(self, function: UpscalerFunction) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function

    def __call__(
        self, pixels: Pixels, size: Size, settings: Settings = DEFAULT_SETTINGS, progress: StageProgress | None = None
    ) -> Pixels:
        """As an `Upscaler`; at once, so it reports no progress."""
        out = self._function(np.array(converted(pixels, np.uint8)))  # a copy, which the function may write to
        height, width = pixels.shape[:2]
        factor = out.shape[0] // height if isinstance(out, np.ndarray) and out.ndim == 3 else 0
        if factor < 1 or out.shape != (height * factor, width * factor, 3) or out.dtype != np.uint8:
            got = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
            raise FacemendError(
                f"the upscaler {self.name} returned {got} for a picture of ({height}, {width}, 3); "
                "return uint8 RGB of a whole multiple of that height and width"
            )
        return lanczos(converted(out, pixels.dtype), size)


class NetUpscaler:
    """Enlarges with a network, tile by tile: the network's memory does not grow with the picture.

    Args:
        name: the model's name.
        net: (N, 3, H, W) RGB in [0, 1] -> (N, 3, H * scale, W * scale).
        device: where it runs.
        tiling: the network's scale, and how its input is cut.
        companion: the same network trained to keep noise; `Settings.denoise` says how much of it is mixed in.
    """

    def __init__(
        self,
        name: str,
        net: nn.Module,
        device: Device,
        tiling: Tiling,
        *,
        companion: nn.Module | None = None,
    ) -> None:
        self.name = name
        self._net = device.put(net)
        self._tiling = tiling
        self._device = device
        self._companion = device.put(companion) if companion else None

    def __call__(
        self, pixels: Pixels, size: Size, settings: Settings = DEFAULT_SETTINGS, progress: StageProgress | None = None
    ) -> Pixels:
        """As an `Upscaler`."""
        net = self._mixed(settings.denoise)
        canvas = np.empty((*size, 3), pixels.dtype)
        fitting = math.isqrt(memory.working(self._device.place) // self._tiling.bytes_per_pixel)
        tile = self._whole_steps(min(max(fitting, SMALLEST_TILE), LARGEST_TILE))
        while True:
            try:
                self._fill(canvas, net, pixels, tile, progress)
                return canvas
            except Exception as error:
                if not memory.exhausted(error):
                    raise
                if tile <= SMALLEST_TILE:
                    raise MemoryLimitError(
                        f"{self.name} does not fit into the memory of {self._device.place} even in tiles of {tile} px",
                        "close other programs",
                        Remedy("use {} cpu", "device"),
                        Remedy("use {} lanczos", "upscaler"),
                    ) from error
            tile = self._whole_steps(max(tile // 2, SMALLEST_TILE))
            log.warning("%s ran out of memory; it continues in tiles of %d px", self.name, tile)

    def _whole_steps(self, tile: int) -> int:
        return max(tile // self._tiling.step, 1) * self._tiling.step

    def _mixed(self, denoise: float) -> nn.Module:
        if self._companion is None or denoise == 1:
            return self._net
        return blend(self._net, self._companion, denoise)

    def _fill(self, canvas: Pixels, net: nn.Module, pixels: Pixels, tile: int, progress: StageProgress | None) -> None:
        """Fill the canvas, one row of tiles after the other; only the height of one row is held in float."""
        height, width = canvas.shape[:2]
        rows = spans(pixels.shape[0], height, tile, self._tiling.step)
        columns = spans(pixels.shape[1], width, tile, self._tiling.step)
        place = self._device.place
        waiting = torch.zeros((3, 0, width), device=place)  # rows that the next row of tiles is added to
        for row_index, row in enumerate(rows):
            band = torch.zeros((3, row.stop - row.start, width), device=place)
            for column_index, column in enumerate(columns):
                down, across = (torch.from_numpy(span.weight).to(place) for span in (row, column))
                enlarged = self._enlarge(net, pixels, row, column).mul_(down[:, None]).mul_(across)
                band[:, :, column.start : column.stop] += enlarged
                if progress:
                    progress(row_index * len(columns) + column_index + 1, len(rows) * len(columns))
            band[:, : waiting.shape[1]] += waiting
            done = (rows[row_index + 1].start if row_index + 1 < len(rows) else height) - row.start
            canvas[row.start : row.start + done] = self._device.pixels(band[None, :, :done], pixels.dtype)[0]
            waiting = band[:, done:]

    def _enlarge(self, net: nn.Module, pixels: Pixels, row: Span, column: Span) -> Tensor:
        """One tile's part of the result: (3, h, w) float32 on the device, white = 1; new memory."""
        tile = self._device.tensor(cut(pixels, row, column)[None]) / peak(pixels)
        out = self._device.compute(self.name, net, tile)[0]  # (3, h * scale, w * scale)
        out = resampled(out.contiguous(), row, self._tiling.scale)
        out = resampled(out.mT.contiguous(), column, self._tiling.scale).mT
        return out.clamp(0, 1)
