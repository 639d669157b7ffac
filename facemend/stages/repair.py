"""Find and fill scratches, dust, creases and cracks, before anything else looks at the picture.

A network finds the damage, in the picture and in a copy. Of a picture of up to `LARGE` px, the copy is enlarged, and
a weighted mean of both decides. Of a larger one, the copy is reduced, and what is found in either counts. The damage
is filled by the fast marching method (Telea 2004, doi:10.1080/10867651.2004.10487596): for thin damage it is closer
to the truth than the fills that a network of this size has learned. A torn corner becomes a blur of what is around
it.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import Floats, Pixels, Size, StageProgress, Tiling
from facemend.stages.tiled import Tiled

# A px is damaged above the first probability, or above the second if it touches such a px. All probabilities were
# chosen on held-out training pictures.
DAMAGED, RIM = 0.5, 0.25
RADIUS = 3  # px from which a fill is computed
LARGE = 2048  # px of the longer side; in larger pictures, damage is wider than what the network was trained on
ENLARGED = 2  # size of the enlarged copy, relative to the picture
COPY_WEIGHT = 2 / 3  # weight of the probability in the copy, which finds more thin damage
SURE = 0.85  # a px with this probability in the picture itself is damaged in any case; the copy misses wide damage
# Areas as wide as this share of the picture's shorter side, within limits in px, are left alone with their edges. They
# are more likely plain parts of the picture. Lines are filled all the same: areas that are everywhere narrower than
# twice this width, and at least `LINE_LENGTH` times as long as it.
WIDEST, WIDEST_PX = 1 / 32, (5, 16)
LINE_LENGTH = 8
# An area in a corner of the picture is a torn corner, and is filled however wide it is, if it is smaller than this
# share of the picture, and its probability is at least `SURE`. Bright corners of undamaged pictures have lower ones.
TORN = 0.03

Found = NDArray[np.uint8]  # (H, W), 1 where there is damage
Probability = NDArray[np.uint8]  # (H, W), of damage, times 255


class NetRepairer:
    """Repairs with a network, tile by tile.

    A picture of up to `LARGE` px is also looked at enlarged. In a larger one, wide damage is found on a copy that is
    reduced to `LARGE` px.

    Args:
        name: the model's name.
        net: (N, 3, H, W) RGB in [0, 1] -> (N, 1, H, W), the probability of damage.
        device: where it runs.
        tiling: how the network's input is cut.
    """

    def __init__(self, name: str, net: nn.Module, device: Device, tiling: Tiling) -> None:
        self.name = name
        self._tiled = Tiled(Network(name, net, device), tiling)

    def __call__(self, pixels: Pixels, progress: StageProgress | None = None) -> tuple[Pixels, Floats]:
        """As a `Repairer`."""
        height, width = size = pixels.shape[:2]
        first, second = (part_of(progress, run) for run in range(2))
        probability = self._probability(pixels, size, first)
        torn = torn_corners(probability)  # the network was not trained on corners as wide as in the enlarged copy
        if max(size) > LARGE:
            found = damaged(probability, torn) | self._find_wide(pixels, second)
        else:
            copy = cv2.resize(pixels, (ENLARGED * width, ENLARGED * height), interpolation=cv2.INTER_CUBIC)
            mean = cv2.addWeighted(probability, 1 - COPY_WEIGHT, self._probability(copy, size, second), COPY_WEIGHT, 0)
            mean[probability > 255 * SURE] = 255
            found = damaged(mean.astype(np.uint8, copy=False), torn)
        if found.all():  # there is nothing to fill from
            found[:] = 0
        return fill(pixels, found), found.astype(np.float32)

    def _probability(self, pixels: Pixels, size: Size, progress: StageProgress | None) -> Probability:
        """Run the network, and resize the probability to `size`."""
        probability = np.empty(size, np.uint8)

        def write(values: Tensor, where: tuple[slice, slice]) -> None:
            probability[where] = (values[0] * 255).byte().cpu().numpy()

        self._tiled.run(pixels, size, write, progress)
        return probability

    def _find_wide(self, pixels: Pixels, progress: StageProgress | None) -> Found:
        """Find the damage that is too wide to be filled at the size of the picture itself."""
        height, width = pixels.shape[:2]
        factor = LARGE / max(height, width)
        size = max(round(height * factor), 1), max(round(width * factor), 1)
        copy = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
        probability = self._probability(copy, size, progress)
        found = damaged(probability, torn_corners(probability))
        limit = round(widest((height, width)) * factor) - 1  # as the px at the edges of an area are mixed
        wide = opened(found, max(limit, 3))
        return cv2.resize(dilated(wide), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)


def part_of(progress: StageProgress | None, run: int) -> StageProgress | None:
    """The progress of one of the two runs of the network, each of which counts as a half."""
    return (lambda done, total: progress(run * total + done, 2 * total)) if progress else None


def widest(size: Size) -> int:
    """The width in px from which areas of a picture of this size are left alone."""
    return int(np.clip(round(WIDEST * min(size)), *WIDEST_PX))


def damaged(probability: Probability, torn: Found) -> Found:
    """Decide what to fill; `torn` is where there are torn corners, which are filled however wide they are."""
    found = (probability > 255 * DAMAGED).astype(np.uint8)
    found[plain_areas(found & ~torn) > 0] = 0
    found |= torn
    return found | (dilated(found) & (probability > 255 * RIM))


def plain_areas(found: Found) -> Found:
    """The wide areas, with their edges, that are probably no damage."""
    limit = widest(found.shape)
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, disc(3)).astype(np.uint8, copy=False)  # without small holes
    wide = opened(found, limit)
    if wide.any():
        # Areas are connected by what is at least two thirds as wide. So no thin scratch makes a wide area a line.
        areas = wide | opened(found, 2 * limit // 3)
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(areas)
        lines = statistics[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) >= LINE_LENGTH * limit
        lines[np.unique(labels[opened(areas, 2 * limit) > 0])] = False
        wide[lines[labels]] = 0
    return cv2.dilate(wide, disc(limit)).astype(np.uint8, copy=False)


def torn_corners(probability: Probability) -> Found:
    """The connected areas in the corners of the picture that are certain and small enough."""
    sure = probability > 255 * SURE
    torn = np.zeros(sure.shape, np.uint8)
    corners = [(y, x) for y in (0, -1) for x in (0, -1) if sure[y, x]]
    if not corners:  # most pictures
        return torn
    _, areas = cv2.connectedComponents(sure.astype(np.uint8))
    for area in {int(areas[corner]) for corner in corners}:
        where = areas == area
        if where.sum() < TORN * where.size:
            torn[where] = 1
    return torn


def dilated(found: NDArray[Any]) -> Found:
    """Add the px next to damage."""
    return cv2.dilate(found, np.ones((3, 3), np.uint8)).astype(np.uint8, copy=False)


def opened(found: Found, width: int) -> Found:
    """Keep only what a disc of `width` px fits into."""
    return cv2.morphologyEx(found, cv2.MORPH_OPEN, disc(width)).astype(np.uint8, copy=False)


def disc(diameter: int) -> Found:
    """A disc of `diameter` px, or one more if that is even: a kernel without a middle px shifts what is opened."""
    size = (diameter | 1, diameter | 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size).astype(np.uint8, copy=False)


def fill(pixels: Pixels, found: Found) -> Pixels:
    """Fill (H, W, 3), uint8 or uint16, where `found` is 1, from what is around; the rest is copied."""
    if not found.any():
        return np.array(pixels)
    channels = [cv2.inpaint(np.ascontiguousarray(pixels[..., c]), found, RADIUS, cv2.INPAINT_TELEA) for c in range(3)]
    return np.dstack(channels)
