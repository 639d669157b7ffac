"""Enlarge a picture: with a network in tiles, with Lanczos interpolation, or with a function of the caller's."""

import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facemend.errors import FacemendError, MemoryLimitError, NotInstalledError
from facemend.machine import memory
from facemend.machine.device import Device
from facemend.records import Floats, Pixels, Progress, converted, peak
from facemend.weights import blend
from facemend.weights.installed import folders

log = logging.getLogger(__name__)

LARGEST_TILE = 1088  # px of the input; 1024 px and their surroundings are one tile where there is memory for it
SMALLEST_TILE = 96
TILE_STEP = 4  # px; tile sides are whole multiples, as the networks that fold pixels need
OVERLAP = 28  # px of the input a tile sees beyond a seam; with 24, one of the networks differs by two levels
RAMP = 4  # px of the input on each side of a seam over which two tiles are blended
EDGE = 8  # px of the picture's mirror image around it, so that its edge does not look like an edge to the network
BLOCK = 64  # px of the result resampled at once: few, as each only needs the px of the tile around it
LANCZOS = 3  # lobes of the filter between the network's scale and the scale asked for

Reals = npt.NDArray[np.float64]
UpscalerFunction = Callable[[Pixels], Pixels]  # (H, W, 3) uint8 RGB -> (H * k, W * k, 3) uint8 RGB


def lanczos(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Enlarge (H, W, 3), uint8 or uint16, to `size` = (height, width); what has to shrink is averaged."""
    if pixels.shape[:2] == size:
        return np.array(pixels)
    interpolation = cv2.INTER_LANCZOS4 if size >= pixels.shape[:2] else cv2.INTER_AREA
    resized: Pixels = cv2.resize(pixels, size[::-1], interpolation=interpolation)
    return resized


def linear(alpha: Pixels, size: tuple[int, int]) -> Pixels:
    """Enlarge a mask (H, W), uint8 or uint16, to `size`; unlike Lanczos, it leaves no rings along an edge."""
    resized: Pixels = cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized


class LanczosUpscaler:
    """Enlarges without a network."""

    name = "lanczos"

    def __call__(
        self, pixels: Pixels, size: tuple[int, int], *, denoise: float = 0.5, progress: Progress | None = None
    ) -> Pixels:
        """Enlarge (H, W, 3) to `size`; nothing to denoise, no progress to tell."""
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
        self, pixels: Pixels, size: tuple[int, int], *, denoise: float = 0.5, progress: Progress | None = None
    ) -> Pixels:
        """Enlarge (H, W, 3) to `size`.

        Raises:
            FacemendError: the function returned something else than a picture k times as large.
        """
        out = self._function(converted(pixels, np.uint8))
        height, width = pixels.shape[:2]
        factor = out.shape[0] // height if isinstance(out, np.ndarray) and out.ndim == 3 else 0
        if factor < 1 or out.shape != (height * factor, width * factor, 3) or out.dtype != np.uint8:
            got = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
            raise FacemendError(
                f"the upscaler {self.name} returned {got} for a picture of ({height}, {width}, 3): "
                "return uint8 RGB of a whole multiple of that height and width"
            )
        return lanczos(converted(out, pixels.dtype), size)


class NetUpscaler:
    """Enlarges with a network, tile by tile: the network's memory does not grow with the picture.

    Args:
        name: the model's name.
        net: (N, 3, H, W) RGB in [0, 1] -> (N, 3, H * scale, W * scale).
        scale: the network's factor.
        device: where it runs.
        keeps_grain: the same network trained to keep noise, to be mixed in as `denoise` says; None if there is none.
        grain_model: name of that companion where the model has one, for the message that it is not installed.
    """

    def __init__(
        self,
        name: str,
        net: nn.Module,
        scale: int,
        device: Device,
        *,
        keeps_grain: nn.Module | None = None,
        grain_model: str | None = None,
    ) -> None:
        self.name = name
        self._net = device.put(net)
        self._bytes_per_pixel = cast(int, net.bytes_per_pixel)
        self._scale = scale
        self._device = device
        self._keeps_grain = device.put(keeps_grain) if keeps_grain else None
        self._grain_model = grain_model

    def __call__(
        self, pixels: Pixels, size: tuple[int, int], *, denoise: float = 0.5, progress: Progress | None = None
    ) -> Pixels:
        """Enlarge a picture.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16.
            size: (height, width) of the result, any.
            denoise: 1 cleans as much as the network can, 0 keeps grain; for networks with a companion.
            progress: told the tiles done and their total.

        Returns:
            (*size, 3) of the dtype of `pixels`.

        Raises:
            MemoryLimitError: the smallest tile does not fit into the device's memory.
        """
        net = self._mixed(denoise)
        canvas = np.empty((*size, 3), pixels.dtype)
        fitting = math.isqrt(memory.working(self._device.place) // self._bytes_per_pixel) // TILE_STEP * TILE_STEP
        tile = min(max(fitting, SMALLEST_TILE), LARGEST_TILE)
        while True:
            try:
                self._fill(canvas, net, pixels, tile, progress)
                return canvas
            except Exception as error:
                if not memory.exhausted(error):
                    raise
                if tile == SMALLEST_TILE:
                    raise MemoryLimitError(
                        f"{self.name} does not fit into the memory of {self._device.place} even in tiles of "
                        f"{tile} px: close other programs, or use --device cpu or --upscaler lanczos"
                    ) from error
            tile = max(tile // 2, SMALLEST_TILE)
            log.warning("%s ran out of memory: going on in tiles of %d px", self.name, tile)

    def _mixed(self, denoise: float) -> nn.Module:
        if self._grain_model is None or denoise == 1:
            return self._net
        if self._keeps_grain is None:
            raise NotInstalledError(self._grain_model, folders())
        return blend(self._net, self._keeps_grain, denoise)

    def _fill(self, canvas: Pixels, net: nn.Module, pixels: Pixels, tile: int, progress: Progress | None) -> None:
        """One row of tiles after the other; only a row's height of the canvas is ever held in float."""
        height, width = canvas.shape[:2]
        rows = spans(pixels.shape[0], height, tile)
        columns = spans(pixels.shape[1], width, tile)
        place = self._device.place
        waiting = torch.zeros((3, 0, width), device=place)  # rows that the next row of tiles adds to
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

    def _enlarge(self, net: nn.Module, pixels: Pixels, row: "Span", column: "Span") -> Tensor:
        """One tile's part of the result: (3, h, w) float32 on the device, white = 1; new memory."""
        tile = self._device.tensor(_cut(pixels, row, column)[None]) / peak(pixels)
        out = self._device.compute(self.name, net, tile)[0]  # (3, h * scale, w * scale)
        out = _resampled(out.contiguous(), row, self._scale)
        out = _resampled(out.mT.contiguous(), column, self._scale).mT
        return out.clamp(0, 1)


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Attributes:
        first: px of the input where the tile begins; may lie outside the picture.
        length: px of the input.
        start, stop: px of the result it contributes to.
        weight: (stop - start,) float32, its share of each; the shares of neighbours sum to 1.
        ratio: px of the result per px of the input.
    """

    first: int
    length: int
    start: int
    stop: int
    weight: Floats
    ratio: float


def spans(length: int, out_length: int, tile: int) -> list[Span]:
    """Cut an axis into equal, overlapping tiles.

    Args:
        length: px of the input.
        out_length: px of the result.
        tile: px of the input a tile has at most.
    """
    shared = 2 * OVERLAP  # px two neighbours both see
    padded = TILE_STEP * math.ceil((length + 2 * EDGE) / TILE_STEP)
    count = max(1, math.ceil((padded - shared) / (tile - shared)))
    full = TILE_STEP * math.ceil((padded + shared * (count - 1)) / count / TILE_STEP)
    firsts = [round(first) for first in np.linspace(-EDGE, padded - EDGE - full, count)]
    ratio = out_length / length
    ramp = RAMP * ratio
    # Seams in px of the result: the middle between the end of one tile and the beginning of the next.
    seams = [(before + full + after) / 2 * ratio for before, after in itertools.pairwise(firsts)]
    tiles = []
    for first, left, right in zip(firsts, [None, *seams], [*seams, None], strict=True):
        start = 0 if left is None else round(left - ramp)
        stop = out_length if right is None else round(right + ramp)
        centres = np.arange(start, stop) + 0.5
        rise = 1 if left is None else _ramp(centres, left, ramp)
        fall = 0 if right is None else _ramp(centres, right, ramp)
        weight = np.broadcast_to(rise - fall, centres.shape).astype(np.float32)
        tiles.append(Span(first, full, start, stop, weight, ratio))
    return tiles


def _ramp(centres: Reals, seam: float, ramp: float) -> Reals:
    """0 before the seam, 1 behind it, a straight line over 2 * ramp px around it."""
    return np.clip((centres - seam) / (2 * ramp) + 0.5, 0, 1)


def _cut(pixels: Pixels, row: Span, column: Span) -> Pixels:
    """The tile's input, mirrored where it lies outside the picture."""
    height, width = pixels.shape[:2]
    top, bottom = max(row.first, 0), min(row.first + row.length, height)
    left, right = max(column.first, 0), min(column.first + column.length, width)
    return cv2.copyMakeBorder(
        pixels[top:bottom, left:right],
        top - row.first,
        row.first + row.length - bottom,
        left - column.first,
        column.first + column.length - right,
        cv2.BORDER_REFLECT_101,
    )


def _resampled(tile: Tensor, span: Span, scale: int) -> Tensor:
    """Bring the rows of a tile (3, h, w) from the network's scale to the result's px `start` to `stop`."""
    if span.ratio == scale:
        return tile[:, span.start - span.first * scale :][:, : span.stop - span.start]
    blocks = []
    for start in range(span.start, span.stop, BLOCK):
        rows = np.arange(start, min(start + BLOCK, span.stop), dtype=np.float64)
        centres = (rows + 0.5) * (scale / span.ratio) - span.first * scale
        first, weights = _lanczos_weights(centres, scale / span.ratio, span.length * scale)
        blocks.append(torch.from_numpy(weights).to(tile.device) @ tile[:, first : first + weights.shape[1]])
    return torch.cat(blocks, 1)


def _lanczos_weights(centres: Reals, step: float, length: int) -> tuple[int, Floats]:
    """What each px of the result takes from an axis of a tile.

    Args:
        centres: where the px of the result lie on that axis, in px from its first px's edge.
        step: px of the axis per px of the result; where it is above 1, the filter widens and averages.
        length: px of the axis.

    Returns:
        The first px that counts, and (len(centres), n) weights of the n px from there on.
    """
    width = max(step, 1.0)
    below = max(math.floor(centres[0] - LANCZOS * width), 0)
    above = min(math.ceil(centres[-1] + LANCZOS * width), length)
    distance = (np.arange(below, above) + 0.5 - centres[:, None]) / width
    weights = np.sinc(distance) * np.sinc(distance / LANCZOS) * (np.abs(distance) < LANCZOS)
    return below, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
