"""Enlarge a picture by redrawing it: Stable Diffusion with ControlNet tile, in windows that share one latent.

ControlNet: Zhang, Rao and Agrawala 2023, arXiv 2302.05543. Sampling one latent jointly in overlapping windows:
Bar-Tal et al. 2023, MultiDiffusion, arXiv 2302.08113.

Each step of the sampler predicts the noise of all windows from the same latent, adds the predictions with weights that
sum to 1, and then changes the whole latent once. So a window sees what its neighbours drew in the step before, the
order of the windows has no influence, and there are no seams to repair.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facemend.creative import DEFAULT_CREATIVE, Creative
from facemend.errors import NonFiniteError, Remedy, TooLargeError
from facemend.machine import memory
from facemend.records import (
    DEFAULT_SETTINGS,
    Box,
    Pixels,
    Settings,
    Size,
    StageProgress,
    peak,
)
from facemend.stages import Upscaler
from facemend.stages.diffusion import CELL, Diffusion
from facemend.stages.fitting import Outcome, in_fitting_tiles
from facemend.stages.recolour import finish, inside
from facemend.stages.seams import Seams
from facemend.stages.tiles import Span, cut
from facemend.stages.windows import joined, weighted, windows

log = logging.getLogger(__name__)

PADDED = 8  # the sides of the latent are multiples of it, as the UNet halves them three times
OVERLAP = 16  # cells that neighbouring windows share, at most a quarter of a window
VAE_WINDOW = 96  # cells at least: the VAE normalises over a window, so small ones differ in tone
SMALLEST = 16  # cells of a window of the VAE where memory is short
LONGEST = 1000  # steps of a schedule, as the networks were trained with so many
STRIDES = 0.7549, 0.5698  # parts of a cycle by which the windows move along each axis from step to step (R2 sequence)
REPEATING = 0.5  # creativity above which the subject of a prompt may show in every window

Grid = tuple[list[Span], list[Span]]  # the windows along the height and along the width


class CreativeUpscaler:
    """Enlarges with another upscaler, and redraws the result.

    Args:
        networks: the diffusion networks.
        first: the other upscaler.
        creative: how the picture is redrawn.

    Raises:
        OptionError: a prompt is too long.
    """

    name = "creative"

    def __init__(self, networks: Diffusion, first: Upscaler, creative: Creative) -> None:
        self.first = first
        self.creative = creative
        self._networks = networks
        networks.check(creative)

    def quickest(self) -> "CreativeUpscaler":
        """The same networks, with a single step of sampling."""
        return CreativeUpscaler(self._networks, self.first, Creative(steps=1))

    @property
    def base(self) -> str:
        """The name of the networks that draw."""
        return self._networks.name

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
            TooLargeError: the result is larger than `Creative.max_cpu_mp`, and the device is a CPU.
            NonFiniteError: the networks computed NaN or infinity.
            MemoryLimitError: a window of the UNet, or the VAE's smallest window, does not fit into the memory.
        """
        creative = self.creative
        if not creative.creativity:
            return self.first(pixels, size, settings, progress)
        self._check_size(size, settings)
        run = Run(self._networks, creative, size, progress)
        if run.is_tiled and creative.creativity > REPEATING and creative.prompt not in ("", DEFAULT_CREATIVE.prompt):
            log.warning(
                "every tile is drawn with the prompt, so its subject may repeat; lower the creativity to %g", REPEATING
            )
        plain = self.first(pixels, size, settings, lambda *_: run.report())
        height, width = pixels.shape[:2]
        ratio = size[1] / width, size[0] / height
        boxes = [tuple(value * ratio[index % 2] for index, value in enumerate(box)) for box in keep]
        return run(plain, settings.seed or 0, boxes if creative.keep_faces else [])

    def _check_size(self, size: Size, settings: Settings) -> None:
        limit = round(self.creative.max_cpu_mp * 1e6)
        if self._networks.device.place.type == "cpu" and size[0] * size[1] > limit:
            what = f"redrawing on a CPU takes minutes to hours for a megapixel; the output of {size[1]} x {size[0]} px"
            lower = [Remedy("lower {}", "scale")] if settings.scale > 1 else []
            remedies = *lower, Remedy("raise {}", "max_cpu_mp")
            raise TooLargeError(what, size[0] * size[1], limit, *remedies)


class Run:
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
        self._vae_window = min(max(creative.tile // CELL, VAE_WINDOW), max(self._cells))
        count = self._count()
        self._total = self._steps * count + 2 * self._count(self._vae_window)
        self.is_tiled = count > 1

    def __call__(self, plain: Pixels, seed: int, boxes: Sequence[Box]) -> Pixels:
        """Redraw an enlarged picture, except for the px in these boxes."""
        latent = self.encoded(plain)
        generator = torch.Generator("cpu").manual_seed(seed)  # so that every device gets the same noise
        # One field for all windows
        noise = torch.randn(latent.shape, generator=generator, dtype=latent.dtype, device="cpu")
        latent = self.sampled(plain, latent, noise, generator, boxes)
        canvas = self._in_fitting_windows(lambda tile: self._decoded(latent, plain.dtype, tile))
        finish(canvas, plain, boxes)
        return canvas

    def report(self, parts: int = 0) -> None:
        """Report the progress; what the callback raises ends the run."""
        self._done += parts
        if self._progress:
            self._progress(self._done, self._total)

    def grid(self, step: int, tile: int = 0, px: int = 1) -> Grid:
        """The windows of a step.

        Args:
            step: number of the step; from step to step the windows move.
            tile: cells of a side; 0 for the side that the UNet sees.
            px: of the result for each cell.
        """
        tile = tile or self._creative.tile // CELL
        shifts = (2 * (step * stride % 1) - 1 if step else 0 for stride in STRIDES)
        rows, columns = (
            windows(cells, tile, min(OVERLAP, tile // 4), shift, px)
            for cells, shift in zip(self._cells, shifts, strict=True)
        )
        return rows, columns

    def _count(self, tile: int = 0) -> int:
        """The number of windows of a step; `tile` as for `grid`."""
        return math.prod(map(len, self.grid(0, tile)))

    def _tensor(self, pixels: Pixels, row: Span, column: Span) -> Tensor:
        """The px of a window, (1, 3, h, w) in [0, 1] on the device, with a mirror image beyond the picture."""
        y, x = (replace(span, first=span.first * CELL, length=span.length * CELL) for span in (row, column))
        window = cut(pixels, y, x, border=cv2.BORDER_REFLECT_101)
        return self._networks.device.tensor(window[None]).contiguous() / peak(pixels)

    def encoded(self, plain: Pixels) -> Tensor:
        """Return the latent of a picture, (1, 4, H, W) float32 on the host."""

        def part(row: Span, column: Span) -> Tensor:
            values = self._networks.encode(self._tensor(plain, row, column))
            self.report(1)
            return values

        return self._in_fitting_windows(lambda tile: joined(*self.grid(0, tile), part))

    def sampled(
        self, plain: Pixels, latent: Tensor, noise: Tensor, generator: torch.Generator, boxes: Sequence[Box] = ()
    ) -> Tensor:
        """Add noise to a latent, and remove it again step by step.

        Args:
            plain: the enlarged picture.
            latent: (1, 4, H, W) float32, that of the picture.
            noise: of the same shape.
            generator: for samplers that add more noise in each step.
            boxes: what is kept, in px of the picture.
        """
        networks, creative = self._networks, self._creative
        texts = networks.texts(creative)
        sampler = networks.sampler(creative.sampler, self._schedule)
        times = sampler.timesteps[self._schedule - self._steps :]
        if hasattr(sampler, "set_begin_index"):  # those with a state
            sampler.set_begin_index(self._schedule - self._steps)
        kept = self._kept(boxes)
        x: Tensor = sampler.add_noise(latent, noise, times[:1])
        for index, t in enumerate(times):
            predicted = self._predicted(plain, sampler.scale_model_input(x, t), t, texts, self.grid(index))
            x = sampler.step(predicted, t, x, generator=generator, return_dict=False)[0]
            if not x.isfinite().all():
                raise NonFiniteError(networks.name, in_half=networks.device.dtype != torch.float32)
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

        networks, remedy = self._networks, Remedy("use a smaller {}", "tile")  # other windows would draw otherwise
        parts = f"tiles of {self._creative.tile} px"
        with memory.limited(networks.name, networks.device.place, remedy, parts=parts):
            return joined(*grid, part)

    def _kept(self, boxes: Sequence[Box]) -> Tensor | None:
        """How much of the input is kept in each cell, (H, W); None for nothing."""
        if not boxes:
            return None
        rows, columns = (np.arange(cells) * CELL + (CELL - 1) / 2 for cells in self._cells)
        return torch.from_numpy(inside(boxes, rows, columns))

    def _decoded(self, latent: Tensor, dtype: npt.DTypeLike, tile: int) -> Pixels:
        """The picture of a latent, decoded in windows of `tile` cells a side."""
        canvas = np.empty((*self._size, 3), dtype)
        rows, columns = self.grid(0, tile, CELL)
        seams = Seams(rows, columns, self._networks.device.place)
        for y, row in enumerate(rows):
            for x, column in enumerate(columns):
                values = self._networks.decode(_window(latent, row, column))[0]
                if not values.isfinite().all():
                    raise NonFiniteError(self._networks.name)
                complete, where = seams.add(weighted(values, row, column), y, x)
                target = canvas[where]  # without the px beyond the picture
                if target.size:
                    shown = complete[:, : target.shape[0], : target.shape[1]]
                    target[:] = self._networks.device.pixels(shown[None], dtype)[0]
                self.report(1)
        return canvas

    def _in_fitting_windows(self, work: Callable[[int], Outcome]) -> Outcome:
        """Do work of the VAE; it takes the cells of a side of a window."""
        networks = self._networks
        first, smallest = self._vae_window * CELL, SMALLEST * CELL
        done, others = self._done, self._total - self._count(self._vae_window)

        def attempt(px: int) -> Outcome:
            tile = px // CELL
            self._done, self._total = done, others + self._count(tile)  # without the windows of attempts that failed
            return work(tile)

        return in_fitting_tiles(attempt, first, smallest, networks.name, networks.device.place, step=CELL)


def _window(latent: Tensor, row: Span, column: Span) -> Tensor:
    """The part of a latent that a window covers, (1, C, h, w)."""
    return latent[..., row.first : row.first + row.length, column.first : column.first + column.length]


def steps(creative: Creative) -> tuple[int, int]:
    """Return how many steps are run, and of how many in the whole schedule they are the last ones.

    As many steps are run as asked for, as ComfyUI does, and the schedule is longer in proportion. So creativity has an
    effect however small it is, above 0; where a schedule of `LONGEST` steps is too short for that, fewer steps are run.
    """
    count = creative.steps
    if count > LONGEST * creative.creativity:
        return max(round(LONGEST * creative.creativity), 1), LONGEST
    return count, round(count / creative.creativity)
