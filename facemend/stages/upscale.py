"""Enlarge a picture: with a network in tiles, with Lanczos interpolation, or with a function of the caller's."""

import functools
import logging
import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import nn

from facemend.errors import FacemendError, MemoryLimitError, NonFiniteError, Remedy
from facemend.machine import memory
from facemend.machine.device import Device
from facemend.machine.network import Network, is_finite
from facemend.records import DEFAULT_SETTINGS, Pixels, Settings, Size, StageProgress, Tiling, converted, peak
from facemend.stages.resampling import Resampling
from facemend.stages.seams import Seams
from facemend.stages.tiles import cut, spans
from facemend.weights import blend

log = logging.getLogger(__name__)

LARGEST_TILE = 1088  # px of the input; 1024 px and their surroundings are one tile where there is memory for it
SMALLEST_TILE = 96  # px of the input
HALF_PRECISION = 0.5  # memory of a network in half precision over that in float32
RGB_FLOATS = 12  # bytes of a px in float32
RESAMPLED_COPIES = 3  # of a tile of the result at the peak
MIXTURES = 4  # mixtures of a network and its companion that are kept

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
        self._tiling = tiling
        self._device = device
        self._network: Callable[[float], Network]  # denoise -> the network to use
        if companion is None:
            network = Network(name, net, device)
            self._network = lambda denoise: network
        else:
            blended = functools.partial(blend, net, companion)
            self._network = functools.lru_cache(MIXTURES)(lambda denoise: Network(name, blended(denoise), device))

    def __call__(
        self, pixels: Pixels, size: Size, settings: Settings = DEFAULT_SETTINGS, progress: StageProgress | None = None
    ) -> Pixels:
        """As an `Upscaler`."""
        network = self._network(settings.denoise)
        canvas = np.empty((*size, 3), pixels.dtype)
        exact = self._device.dtype == torch.float32 or pixels.dtype == np.uint16
        ratio = max(after / before for after, before in zip(size, pixels.shape[:2], strict=True))
        tile = self._whole_steps(min(max(self._fitting(exact, ratio), SMALLEST_TILE), LARGEST_TILE))
        while True:
            try:
                self._fill(canvas, network, pixels, tile, exact, progress)
                return canvas
            except NonFiniteError:
                if exact:
                    raise
                network.warn_of_overflow()
                exact = True
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

    def _fitting(self, exact: bool, ratio: float) -> int:
        """The px of a side of a tile for which there is memory; a side of the result has `ratio` times as many."""
        in_network = self._tiling.bytes_per_pixel * (1 if exact else HALF_PRECISION)
        in_resampling = RGB_FLOATS * (self._tiling.scale**2 + RESAMPLED_COPIES * ratio**2)
        return math.isqrt(int(memory.working(self._device.place) / max(in_network, in_resampling)))

    def _whole_steps(self, tile: int) -> int:
        return max(tile // self._tiling.step, 1) * self._tiling.step

    def _fill(
        self,
        canvas: Pixels,
        network: Network,
        pixels: Pixels,
        tile: int,
        exact: bool,
        progress: StageProgress | None,
    ) -> None:
        """Fill the canvas, tile by tile.

        Raises:
            NonFiniteError: the network computed NaN or infinity. The canvas holds no result then.
        """
        place, scale = self._device.place, self._tiling.scale
        rows, columns = (
            spans(before, after, tile, self._tiling.step)
            for before, after in zip(pixels.shape[:2], canvas.shape[:2], strict=True)
        )
        across = [Resampling(column, scale, place) for column in columns]
        seams = Seams(rows, columns, place)
        for y, row in enumerate(rows):
            down = Resampling(row, scale, place)
            finite = torch.ones((), dtype=torch.bool, device=place)
            for x, column in enumerate(columns):
                image = self._device.tensor(cut(pixels, row, column)[None]) / peak(pixels)
                out = network.unchecked(image, exact=exact)[0]  # (3, h * scale, w * scale)
                finite &= is_finite(out)
                part = across[x](down(out.contiguous()).mT.contiguous()).mT.clamp(0, 1)
                part.mul_(down.weight[:, None]).mul_(across[x].weight)
                complete, where = seams.add(part, y, x)
                canvas[where] = self._device.pixels(complete[None], pixels.dtype)[0]
                if progress:
                    progress(y * len(columns) + x + 1, len(rows) * len(columns))
            if not finite:  # asked once a row, as a GPU has to finish its work before it answers
                raise NonFiniteError(self.name)
