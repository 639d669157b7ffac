"""Enlarge a picture: with a network in tiles, with Lanczos interpolation, or with a function of the caller's."""

import functools
from collections.abc import Callable

import cv2
import numpy as np
from torch import Tensor, nn

from facemend.errors import FacemendError, Remedy
from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import DEFAULT_SETTINGS, Pixels, Settings, Size, StageProgress, Tiling, converted
from facemend.stages.tiled import Tiled
from facemend.weights import blend

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
        canvas = np.empty((*size, 3), pixels.dtype)

        def write(values: Tensor, where: tuple[slice, slice]) -> None:
            canvas[where] = self._device.pixels(values[None], pixels.dtype)[0]

        instead = Remedy("use {} lanczos", "upscaler")
        Tiled(self._network(settings.denoise), self._tiling, instead).run(pixels, size, write, progress)
        return canvas
