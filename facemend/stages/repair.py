"""Find and fill scratches, dust, creases and cracks, before anything else looks at the picture.

A network finds thin damage in an enlarged copy of the picture, or in the picture itself if that is large, and wide
damage in a reduced copy. The network does not fill: for thin damage, `fill` is closer to the truth than what a network
of this size has learned. A torn corner becomes a blur of what is around it.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import Floats, Pixels, Size, StageProgress, Tiling, peak
from facemend.stages.fill import fill
from facemend.stages.lines import BESIDE, Line, lines
from facemend.stages.tiled import Tiled

# An area of px with at least the second probability is damaged if a px of it has the first. All probabilities were
# chosen on held-out training pictures.
SOUND = (0.85, 0.47)
# The same in a worn picture, of which at least the share `WORN_SHARE` is thin damage by the probabilities above. Damage
# is thin if it is less than half as wide as areas that are left alone; one wide line makes no picture worn. The reduced
# copy is judged by itself. Of the tuning pictures without damage, at most 0.4 % is thin damage.
WORN = (0.7, 0.4)
WORN_SHARE = 1 / 90
SURE = 0.95  # the probability of every px of a torn corner
PARTS = 1000  # into which the progress of the whole work is divided
ENLARGED = 2  # largest size of the enlarged copy, relative to the picture
ENLARGED_PX = 2**21  # px of the enlarged copy; pictures of more px are not enlarged, as their damage is wider
REDUCED = 1 / 2  # largest size of the reduced copy, relative to the picture
REDUCED_SIDE = 2048  # px of the longer side of the reduced copy
# Limits of the width in the reduced copy from which damage there counts. Narrower damage is found in the enlarged copy,
# or in the picture itself.
WIDE_PX = (3, 5)
# Areas as wide as this share of the shorter side, within limits in px, are left alone with their edges, as they are
# more likely plain parts of the picture. Thin damage is measured at the size of the picture, wide damage in the reduced
# copy.
WIDEST, WIDEST_PX = 1 / 32, (6, 16)
# A straight line is filled all the same, if it is at most `LINE_WIDTH` times as wide as areas that are left alone, and
# at least `LINE_LENGTH` times as long.
LINE_WIDTH, LINE_LENGTH = 2, 8
# A thin straight line that is at least as long as `LONG`, a share of the shorter side, usually goes on where it is
# harder to see. There, px on the line with at least the probability `FAINT` are damaged.
LONG, FAINT = 1 / 2, 0.3
# A line that is shorter, but at least as long as `SHORT`, may be a piece of one. In the gap before the next damage on
# its axis, px with at least the probability `FAINT` are damaged, if the gap is at most `GAP` times as long as the line,
# and if at least the share `SEEN` of the gap has such px.
SHORT, GAP, SEEN = 0.04, 3, 0.5
# In the reduced copy of a picture whose longer side has at most this number of px, only straight lines and torn corners
# count: other areas are mostly parts of the picture, such as collars.
LARGE = 2048
# An area in a corner of the picture is a torn corner, and is filled however wide it is, if it is smaller than this
# share of the picture, and if at least two other corners differ from it by more than this share of white. Three or four
# equal corners are those of an oval picture, or of paper around a picture.
TORN = 0.03
ALIKE = 1 / 16

Found = NDArray[np.uint8]  # (H, W), 1 where there is damage
Probability = NDArray[np.uint8]  # (H, W), of damage, times 255


class NetRepairer:
    """Repairs with a network, tile by tile.

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
        size = pixels.shape[:2]
        enlarged = resized(pixels, min(max(math.sqrt(ENLARGED_PX / math.prod(size)), 1), ENLARGED))
        reduced = resized(pixels, min(REDUCED, REDUCED_SIDE / max(size)))
        share = enlarged.size / (enlarged.size + reduced.size)
        probability = self._probability(enlarged, size, part_of(progress, 0, share))
        found = damaged(probability, self._find_wide(reduced, size, part_of(progress, share, 1)))
        return fill(pixels, found), found.astype(np.float32)

    def _probability(self, pixels: Pixels, size: Size, progress: StageProgress | None) -> Probability:
        """Run the network, and resize the probability to `size`."""
        probability = np.empty(size, np.uint8)

        def write(values: Tensor, where: tuple[slice, slice]) -> None:
            probability[where] = (values[0] * 255).byte().cpu().numpy()

        self._tiled.run(pixels, size, write, progress)
        return probability

    def _find_wide(self, reduced: Pixels, size: Size, progress: StageProgress | None) -> Found:
        """Find torn corners, and lines and spots that are too wide to be found or filled at the size of the picture."""
        probability = self._probability(reduced, reduced.shape[:2], progress)
        torn = torn_corners(probability, reduced)
        least = round(widest(size) * max(reduced.shape[:2]) / max(size)) - 1  # as the px at the edges are mixed
        wide = opened(damaged(probability, torn), int(np.clip(least, *WIDE_PX)))
        if max(size) <= LARGE:
            wide = straight_lines(wide, widest(reduced.shape[:2]))
        torn = cv2.dilate(torn, disc(3)).astype(np.uint8, copy=False)  # its edge is only known to 1 px
        return cv2.resize(wide | torn, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)


def resized(pixels: Pixels, factor: float) -> Pixels:
    """A copy of this size, relative to the picture; with the factor 1, the picture."""
    if factor == 1:
        return pixels
    height, width = (max(round(side * factor), 1) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)


def part_of(progress: StageProgress | None, start: float, end: float) -> StageProgress | None:
    """The progress of a run of the network; `start` and `end` say which part of the whole work it is, in [0, 1]."""
    if progress is None:
        return None
    return lambda done, total: progress(round(PARTS * (start + (end - start) * done / total)), PARTS)


def widest(size: Size) -> int:
    """The width in px from which areas of a picture of this size are left alone."""
    return int(np.clip(round(WIDEST * min(size)), *WIDEST_PX))


def damaged(probability: Probability, wide: Found) -> Found:
    """Decide what to fill; `wide` is filled in any case."""
    found = probable(probability, SOUND, wide)
    thin = found & ~opened(found, widest(found.shape) // 2)
    if thin.mean() >= WORN_SHARE:
        found = probable(probability, WORN, wide)
    return found | extended(found, probability) | wide


def probable(probability: Probability, limits: tuple[float, float], wide: Found) -> Found:
    """The areas with these probabilities. Plain parts of the picture are left out, unless they are in `wide`."""
    damaged, attached = limits
    count, areas = cv2.connectedComponents((probability > 255 * attached).astype(np.uint8))
    chosen = np.zeros(count, np.uint8)
    chosen[areas[probability > 255 * damaged]] = 1
    found: Found = chosen[areas]
    found[plain_areas(found & ~wide) > 0] = 0
    return found


def extended(found: Found, probability: Probability) -> Found:
    """The rest of straight lines, where damage is less probable: all of long lines, and the gaps in others."""
    rest, side = np.zeros_like(found), min(found.shape)
    faint = probability > 255 * FAINT
    for line in lines(found, SHORT * side, widest(found.shape)):
        if line.length < LONG * side:
            px = on_axis(line, GAP * line.length, faint)
            px = px[in_gaps(line, px, found)]
        else:
            px = on_axis(line, sum(found.shape), faint)
        rest[px[:, 1], px[:, 0]] = 1
    return rest


def on_axis(line: Line, reach: float, where: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(N, 2), x and y of the px of `where` that are on a line, or at most `reach` px beyond its ends."""
    along, beside = line.axis.along(line.px), line.width / 2 + BESIDE
    ends = line.axis.middle + np.outer((along.min() - reach, along.max() + reach), line.axis.direction)
    # Only the px in the box around the strip are looked at, as there may be many lines.
    left, top = np.maximum(np.floor(ends.min(axis=0) - beside), 0).astype(int).tolist()
    right, bottom = np.maximum(np.ceil(ends.max(axis=0) + beside) + 1, 0).astype(int).tolist()
    px: NDArray[np.intp] = np.argwhere(where[top:bottom, left:right])[:, ::-1] + (left, top)
    return px[line.axis.off(px) <= beside]


def in_gaps(line: Line, px: NDArray[np.intp], found: Found) -> NDArray[np.bool_]:
    """Which px (N, 2) on the axis of a line are between its end and the next damage that was found on the axis."""
    chosen = np.zeros(len(px), np.bool_)
    is_found = found[px[:, 1], px[:, 0]] > 0
    for direction in (1, -1):
        end = (direction * line.axis.along(line.px)).max()
        beyond = direction * line.axis.along(px) - end
        # What is nearer belongs to the end of the line itself.
        next_damage = beyond[is_found & (beyond > 2 * BESIDE)]
        if len(next_damage):
            gap = (beyond > 0) & (beyond < next_damage.min())
            seen = len(np.unique(np.rint(beyond[gap])))  # px along the axis, however wide the line is
            if seen >= SEEN * next_damage.min():
                chosen |= gap
    return chosen


def plain_areas(found: Found) -> Found:
    """The wide areas, with their edges, that are probably no damage."""
    limit = widest(found.shape)
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, disc(3)).astype(np.uint8, copy=False)  # without small holes
    wide = opened(found, limit)
    if wide.any():
        # Areas are connected by what is at least two thirds as wide. So no thin scratch makes a wide area a line.
        areas = wide | opened(found, 2 * limit // 3)
        areas[cv2.dilate(opened(areas, LINE_WIDTH * limit), disc(limit)) > 0] = 0
        wide[straight_lines(areas, limit) > 0] = 0
    return cv2.dilate(wide, disc(limit)).astype(np.uint8, copy=False)


def straight_lines(areas: Found, limit: int) -> Found:
    """The lines among areas that are filled although they are wider than `limit` px."""
    chosen = np.zeros_like(areas)
    for line in lines(areas, LINE_LENGTH * limit, LINE_WIDTH * limit):
        chosen[line.px[:, 1], line.px[:, 0]] = 1
    return chosen


def torn_corners(probability: Probability, pixels: Pixels) -> Found:
    """The connected areas in the corners of the picture that are certain and small enough."""
    sure = probability > 255 * SURE
    torn = np.zeros(sure.shape, np.uint8)
    ends = np.ix_((0, -1), (0, -1))
    chosen = sure[ends].ravel() & unlike_others(pixels[ends].reshape(4, 3).astype(np.float32), ALIKE * peak(pixels))
    if not chosen.any():  # most pictures
        return torn
    _, areas = cv2.connectedComponents(sure.astype(np.uint8))
    for area in np.unique(areas[ends].ravel()[chosen]):
        where = areas == area
        if where.sum() < TORN * where.size:
            torn[where] = 1
    return torn


def unlike_others(corners: Floats, difference: float) -> NDArray[np.bool_]:
    """Which of four corners (4, 3) differ from at least two others by more than this."""
    apart: NDArray[np.bool_] = np.abs(corners[:, None] - corners).max(axis=2) > difference
    return np.asarray(apart.sum(axis=1) >= 2)


def opened(found: Found, width: int) -> Found:
    """Keep only what a disc of `width` px fits into."""
    return cv2.morphologyEx(found, cv2.MORPH_OPEN, disc(width)).astype(np.uint8, copy=False)


def disc(diameter: int) -> Found:
    """A disc of `diameter` px, or one more if that is even: a kernel without a middle px shifts what is opened."""
    size = (diameter | 1, diameter | 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size).astype(np.uint8, copy=False)
