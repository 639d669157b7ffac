"""Enlarge a picture by redrawing it: Stable Diffusion with ControlNet tile, in windows that share one latent.

ControlNet: Zhang, Rao and Agrawala 2023, arXiv 2302.05543. Sampling one latent jointly in overlapping windows:
Bar-Tal et al. 2023, MultiDiffusion, arXiv 2302.08113.

Each step of the sampler predicts the noise of all windows from the same latent, adds the predictions with weights that
sum to 1, and then changes the whole latent once. So a window sees what its neighbours drew in the step before, the
order of the windows has no influence, and there are no seams to repair.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facemend.errors import MemoryLimitError, NonFiniteError, Remedy, TooLargeError
from facemend.machine import memory
from facemend.records import (
    DEFAULT_SETTINGS,
    Box,
    Creative,
    Floats,
    Pixels,
    Settings,
    Size,
    StageProgress,
    peak,
    to_dtype,
)
from facemend.stages import Upscaler
from facemend.stages.seams import Seams
from facemend.stages.tiles import Span, cut
from facemend.stages.windows import joined, weighted, windows
from facemend.weights.diffusion import CELL, Diffusion

log = logging.getLogger(__name__)

PADDED = 8  # the sides of the latent are multiples of it, as the UNet halves them three times
OVERLAP = 16  # cells that neighbouring windows share, at most a quarter of a window
SMALLEST = 16  # cells of a window of the VAE
LONGEST = 1000  # steps of a schedule, as the networks were trained with so many
MOVES = 0.7549, 0.5698  # parts of a cycle by which the windows move along each axis from step to step (R2 sequence)
SIGMA = 24  # px of the result; colours are compared after a blur of this size
SMALL = 8  # px of the result that one px of the comparison covers
BAND = 256  # rows of the result that are finished at a time
FEATHER = 0.25  # of a face's box, over which it fades into its redrawn surroundings
EXPOSURES = 0.7, 0.6  # of the brightness, by which the dark and the bright copy for hdr differ
FREE_PROMPT = 0.5  # creativity from which a prompt with a subject shows in every window

Outcome = TypeVar("Outcome")
Grid = tuple[list[Span], list[Span]]  # the windows along the height and along the width


class CreativeUpscaler:
    """Enlarges with another upscaler, and redraws the result.

    Args:
        networks: the diffusion networks.
        first: the other upscaler.
        creative: how the picture is redrawn.
    """

    name = "creative"

    def __init__(self, networks: Diffusion, first: Upscaler, creative: Creative) -> None:
        self.first = first
        self.creative = creative
        self._networks = networks

    def __call__(
        self,
        pixels: Pixels,
        size: Size,
        settings: Settings = DEFAULT_SETTINGS,
        progress: StageProgress | None = None,
        keep: Sequence[Box] = (),
    ) -> Pixels:
        """As an `Upscaler`. `Settings.seed` is the seed of the noise; None is 0.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16.
            size: (height, width) of the result in px.
            settings: those of `first`, and the seed.
            progress: called with the number of windows done, and of all; what it raises ends the work.
            keep: boxes of faces in px of `pixels`. They are not redrawn where `Creative.keep_faces` is true.

        Raises:
            TooLargeError: the result is larger than `Creative.max_cpu_mp`, and there is no GPU.
            NonFiniteError: the networks computed NaN or infinity.
            MemoryLimitError: the smallest windows do not fit into the memory.
        """
        creative = self.creative
        if creative.creativity:
            self._check_size(size)
        run = _Run(self._networks, creative, size, progress)
        source = exposed(pixels, creative.hdr) if creative.hdr else pixels
        plain = self.first(source, size, settings, lambda *_: run.report())
        if not creative.creativity:
            return plain
        height, width = pixels.shape[:2]
        ratio = size[1] / width, size[0] / height
        boxes = [tuple(value * ratio[index % 2] for index, value in enumerate(box)) for box in keep]
        return run(plain, settings.seed or 0, boxes if creative.keep_faces else [])

    def _check_size(self, size: Size) -> None:
        limit = round(self.creative.max_cpu_mp * 1e6)
        if self._networks.device.place.type == "cpu" and size[0] * size[1] > limit:
            what = f"redrawing on a CPU takes minutes for a megapixel; the output of {size[1]} x {size[0]} px"
            remedies = Remedy("use a smaller {}", "scale"), Remedy("raise {}", "max_cpu_mp")
            raise TooLargeError(what, size[0] * size[1], limit, *remedies)


class _Run:
    """The work on one picture.

    Args:
        networks: the diffusion networks.
        creative: how the picture is redrawn.
        size: (height, width) of the result in px.
        progress: called with the number of windows done, and of all.
    """

    def __init__(self, networks: Diffusion, creative: Creative, size: Size, progress: StageProgress | None) -> None:
        self._networks = networks
        self._creative = creative
        self._size = size
        self._progress = progress
        self._cells = tuple(PADDED * -(-length // (PADDED * CELL)) for length in size)
        self._steps, self._schedule = steps(creative)
        self._done = 0
        self._total = (2 + self._steps) * len(self._grid(0)[0]) * len(self._grid(0)[1])

    def __call__(self, plain: Pixels, seed: int, boxes: Sequence[Box]) -> Pixels:
        """Redraw an enlarged picture, except for the px in these boxes."""
        latent = self._in_fitting_windows(lambda tile: self._encoded(plain, tile))
        latent = self._sampled(plain, latent, seed, boxes)
        canvas = self._in_fitting_windows(lambda tile: self._decoded(latent, plain.dtype, tile))
        finish(canvas, plain, boxes)
        return canvas

    def report(self, parts: int = 0) -> None:
        """Report the progress; what the callback raises ends the run."""
        self._done = min(self._done + parts, self._total)
        if self._progress:
            self._progress(self._done, self._total)

    def _grid(self, step: int, tile: int = 0, px: int = 1) -> Grid:
        """The windows of a step."""
        tile = tile or self._creative.tile // CELL
        shifts = (2 * (step * move % 1) - 1 if step else 0 for move in MOVES)
        rows, columns = (
            windows(cells, tile, min(OVERLAP, tile // 4), shift, px)
            for cells, shift in zip(self._cells, shifts, strict=True)
        )
        return rows, columns

    def _tensor(self, pixels: Pixels, row: Span, column: Span) -> Tensor:
        """The px of a window, (1, 3, h, w) in [0, 1] on the device, with a mirror image beyond the picture."""
        spans = (Span(s.first * CELL, s.length * CELL, s.start, s.stop, s.weight, s.ratio) for s in (row, column))
        return self._networks.device.tensor(cut(pixels, *spans)[None]) / peak(pixels)

    def _encoded(self, plain: Pixels, tile: int) -> Tensor:
        def part(row: Span, column: Span) -> Tensor:
            values = self._networks.encode(self._tensor(plain, row, column))
            self.report(1)
            return values

        return joined(*self._grid(0, tile), part)

    def _sampled(self, plain: Pixels, latent: Tensor, seed: int, boxes: Sequence[Box]) -> Tensor:
        """Add noise to a latent, and remove it again step by step."""
        networks, creative = self._networks, self._creative
        texts = networks.texts(creative)
        sampler = networks.sampler(creative.sampler, self._schedule)
        times = sampler.timesteps[self._schedule - self._steps :]
        if hasattr(sampler, "set_begin_index"):  # those with a state
            sampler.set_begin_index(self._schedule - self._steps)
        generator = torch.Generator("cpu").manual_seed(seed)  # so that every device gets the same noise
        noise = torch.randn(latent.shape, generator=generator)
        kept = self._kept(boxes)
        x: Tensor = sampler.add_noise(latent, noise, times[:1])
        for index, t in enumerate(times):
            predicted = self._predicted(plain, sampler.scale_model_input(x, t), t, texts, self._grid(index))
            options = {"generator": generator} if creative.sampler == "euler-a" else {}
            x = sampler.step(predicted, t, x, **options, return_dict=False)[0]
            if not x.isfinite().all():
                raise NonFiniteError(networks.name)
            if kept is not None:
                following = times[index + 1 : index + 2]
                as_noisy = sampler.add_noise(latent, noise, following) if len(following) else latent
                x = torch.lerp(x, as_noisy, kept)
        return x

    def _predicted(self, plain: Pixels, x: Tensor, t: Tensor, texts: Tensor, grid: Grid) -> Tensor:
        """What the networks predict for the whole latent, from all windows."""

        def part(row: Span, column: Span) -> Tensor:
            hint = self._tensor(plain, row, column)
            values = self._networks.predict(_window(x, row, column), t, hint, texts, self._creative)
            self.report(1)
            return values

        try:
            return joined(*grid, part)
        except Exception as error:
            if not memory.exhausted(error):
                raise
            raise self._too_large(self._creative.tile // CELL) from error

    def _kept(self, boxes: Sequence[Box]) -> Tensor | None:
        """How much of the input is kept in each cell, (H, W); None for nothing."""
        if not boxes:
            return None
        rows, columns = (np.arange(cells) * CELL + (CELL - 1) / 2 for cells in self._cells)
        return torch.from_numpy(inside(boxes, rows, columns))

    def _decoded(self, latent: Tensor, dtype: npt.DTypeLike, tile: int) -> Pixels:
        canvas = np.empty((*self._size, 3), dtype)
        rows, columns = self._grid(0, tile, CELL)
        seams = Seams(rows, columns, self._networks.device.place)
        for y, row in enumerate(rows):
            for x, column in enumerate(columns):
                values = weighted(self._networks.decode(_window(latent, row, column))[0], row, column)
                complete, where = seams.add(values, y, x)
                target = canvas[where]  # without the px beyond the picture
                if target.size:
                    shown = complete[:, : target.shape[0], : target.shape[1]]
                    target[:] = self._networks.device.pixels(shown[None], dtype)[0]
                self.report(1)
        return canvas

    def _in_fitting_windows(self, work: Callable[[int], Outcome]) -> Outcome:
        """Do work of the VAE, again in smaller windows where the memory runs out."""
        tile = self._creative.tile // CELL
        while True:
            try:
                return work(tile)
            except Exception as error:
                if not memory.exhausted(error):
                    raise
                if tile <= SMALLEST:
                    raise self._too_large(tile) from error
                tile = max(tile // 2, SMALLEST)
                log.warning("%s ran out of memory; it continues in tiles of %d px", self._networks.name, tile * CELL)

    def _too_large(self, tile: int) -> MemoryLimitError:
        place = self._networks.device.place
        return MemoryLimitError(
            f"{self._networks.name} does not fit into the memory of {place} in tiles of {tile * CELL} px",
            "close other programs",
            Remedy("use a smaller {}", "tile"),
            Remedy("use {} cpu", "device"),
        )


def _window(latent: Tensor, row: Span, column: Span) -> Tensor:
    """The part of a latent that a window covers, (1, C, h, w)."""
    return latent[..., row.first : row.first + row.length, column.first : column.first + column.length]


def steps(creative: Creative) -> tuple[int, int]:
    """Return how many steps are run, and of how many in the whole schedule they are the last ones.

    As many steps are run as asked for, as ComfyUI does, and the schedule is longer in proportion. So creativity has an
    effect however small it is; where a schedule of `LONGEST` steps is too short for that, fewer steps are run.
    """
    count = creative.steps
    schedule = round(count / creative.creativity) if creative.creativity else LONGEST + 1
    if schedule > LONGEST:
        return max(round(LONGEST * creative.creativity), 1), LONGEST
    return count, schedule


def exposed(pixels: Pixels, hdr: float) -> Pixels:
    """Even out dark and bright parts: exposure fusion (Mertens, Kautz and Van Reeth 2007) of three brightnesses.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        hdr: how much the brightnesses differ, 0 to 1.
    """
    white = peak(pixels)
    values = pixels.astype(np.float32) * (255 / white)
    darker, brighter = EXPOSURES
    exposures = [np.clip(values * factor, 0, 255) for factor in (1 - darker * hdr, 1, 1 + brighter * hdr)]
    return to_dtype(cv2.createMergeMertens().process(exposures) * white, pixels.dtype)


def inside(boxes: Sequence[Box], ys: npt.NDArray[Any], xs: npt.NDArray[Any]) -> Floats:
    """Return how much each place belongs to a box, (len(ys), len(xs)): 1 in it, and less around it down to 0."""
    share = np.zeros((len(ys), len(xs)), np.float32)
    for x0, y0, x1, y1 in boxes:
        feather = FEATHER * max(x1 - x0, y1 - y0, 1)
        down, across = (
            np.clip(1 - np.maximum(first - places, places - last) / feather, 0, 1).astype(np.float32)
            for places, first, last in ((ys, y0, y1), (xs, x0, x1))
        )
        np.maximum(share, down[:, None] * across, out=share)
    return share


def finish(canvas: Pixels, plain: Pixels, boxes: Sequence[Box]) -> None:
    """Give a redrawn picture the colours of the plain one, and its px in the boxes; in place, in bands.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16.
        plain: the same picture before it was redrawn.
        boxes: of faces, in px.
    """
    height, width = canvas.shape[:2]
    difference = cv2.GaussianBlur(_small(plain) - _small(canvas), (0, 0), SIGMA / SMALL)
    difference = cv2.resize(difference, (width, len(difference)), interpolation=cv2.INTER_LINEAR)
    columns = np.arange(width)
    for top in range(0, height, BAND):
        rows = np.arange(top, min(top + BAND, height))
        band, before = canvas[rows[0] : rows[-1] + 1], plain[rows[0] : rows[-1] + 1].astype(np.float32)
        places = np.clip((rows + 0.5) / SMALL - 0.5, 0, len(difference) - 1)
        above = places.astype(int)
        below = np.minimum(above + 1, len(difference) - 1)
        share = (places - above).astype(np.float32)[:, None, None]
        values = band + difference[above] * (1 - share) + difference[below] * share
        if boxes:
            values += (before - values) * inside(boxes, rows, columns)[..., None]
        band[:] = to_dtype(values, canvas.dtype)


def _small(pixels: Pixels) -> Floats:
    """A picture averaged over squares of `SMALL` px, (h, w, 3) float32, without a copy of the whole picture."""
    height, width = pixels.shape[:2]
    size = -(-width // SMALL)
    bands = (pixels[top : top + BAND].astype(np.float32) for top in range(0, height, BAND))
    parts = [cv2.resize(band, (size, -(-len(band) // SMALL)), interpolation=cv2.INTER_AREA) for band in bands]
    return np.concatenate(parts)
