"""Train the lite upscaler: `python -m training.upscaler --data <shared data folder> --out <folder for checkpoints>`.

In the first phase it learns to enlarge. In the second, a discriminator teaches it fine detail.
"""

import copy
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from facemend import weights
from facemend.nets.realesrgan import SRVGGNetCompact
from facemend.stages.resampling import lanczos_weights
from training import data, degradations, loop, losses, scenes
from training.discriminator import Adversary, shown

SIZE = 48  # px, side of an input
SCALE = 4  # of the network
FACTORS = (2, 2, 4, 4, 4, 4, 8)  # shrink factors of the first phase, one drawn from this list for each batch
TEXTURE_FACTORS = (2, 2, 2, 2, 4, 4, 4, 8)  # those of the second
# How strongly the truth is sharpened, by factor: a network that cannot know the detail predicts a blurred mean.
SHARPEN = {2: 0.45, 4: 1.0, 8: 0.2}
DETAIL = 1.5  # weight of the loss on the amount of detail, at factor 2 only; at 4 and 8 it produces a regular grid
# Weights of the losses of the second phase.
SPECTRUM = 0.01
MATCHING = 0.02
ADVERSARIAL = 0.008
GRID = 0.05
TEXTURED = 0.9  # the file is a mean of the weights: this share of the second phase, and the rest of the first
FINE = 0.5  # px of the input, size of the detail that the discriminator sees
EDGE = 0.75  # px of the input, size of the neighbourhoods in which edges are looked for
CLEAR = 0.2  # change of the grey value, in [0, 1], from a px of the input to the next at a clear edge
# Share of items that are drawn, at the start and the end of the first phase. In trials with one font and few drawn
# items at the end, small letters stayed readable, and PSNR of photographs rose slightly.
DRAWN = (0.3, 0.1)
TEXTURE_DRAWN = (0.15, 0.15)  # the same for the second phase
TEXT = 0.75  # share of text among the drawn items
SMALLEST_LETTERS = 6  # px of the input


class Crops(Dataset[tuple[Tensor, Tensor, np.float32]]):
    """Small degraded crops and the images to restore them to; `alike` consecutive items have the same factor.

    Each item: input (3, 48, 48) and truth (3, 48 * factor, 48 * factor), uint8; and whether the discriminator counts
    for it: 1 for a part of a photograph, 0 for a drawn item or where grain was added.
    `drawn` is the share of drawn items among the first and among the last items; in between it changes linearly. Text
    is drawn with `fonts`, or with Pillow's font if there are none.
    """

    def __init__(
        self,
        photos: list[NDArray[np.uint8]],
        portraits: list[NDArray[np.uint8]],
        alike: int,
        seed: int,
        length: int,
        factors: tuple[int, ...],
        drawn: tuple[float, float],
        fonts: Sequence[Path] = (),
    ) -> None:
        self.photos, self.portraits, self.alike, self.seed, self.length = photos, portraits, alike, seed, length
        self.factors, self.drawn, self.fonts = factors, drawn, fonts

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, np.float32]:
        factor = int(np.random.default_rng([self.seed, 1, index // self.alike]).choice(self.factors))
        rng = np.random.default_rng([self.seed, 2, index])
        drawn = rng.random() < np.interp(index, (0, self.length), self.drawn)
        truth = self._drawn(factor, rng) if drawn else self._part(SIZE * factor, rng)
        if rng.random() < 0.3:
            truth = degradations.retone(truth, rng)
        truth = np.rint(np.clip(np.ascontiguousarray(truth), 0, 255))
        how = fine_copy(factor, rng) if drawn and rng.random() < 0.7 else recipe(factor, rng)
        small = degradations.apply(truth, how, rng)
        given, wanted = (torch.from_numpy(x.transpose(2, 0, 1).astype(np.uint8)) for x in (small, truth))
        return given, wanted, np.float32(not drawn and not how.grain)

    def _drawn(self, factor: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Text or a drawing."""
        if rng.random() < TEXT:
            return scenes.text(SIZE * factor, rng, SMALLEST_LETTERS * factor, self.fonts)
        return scenes.drawing(SIZE * factor, rng)

    def _part(self, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A part of a photograph or portrait, mirrored and turned."""
        images = self.photos if rng.random() < 0.75 else self.portraits
        image = images[rng.integers(len(images))]
        y, x = (int(rng.integers(0, n - size + 1)) for n in image.shape[:2])
        part = image[y : y + size, x : x + size].astype(np.float32)
        return np.rot90(part[:, ::-1] if rng.random() < 0.5 else part, rng.integers(4))


def recipe(factor: int, rng: np.random.Generator) -> degradations.Recipe:
    """Draw a degradation that shrinks by `factor`.

    It is shrinking alone, that of an old print, near a level of `degradations.LEVELS`, or any.
    """
    kind = rng.random()
    if kind < 0.1:
        return degradations.Recipe(shrink=factor, shrink_filter=int(rng.choice([cv2.INTER_AREA, cv2.INTER_CUBIC])))
    if kind < 0.22:  # an old print; a network that has not seen grain turns it into worm-like lines
        return degradations.Recipe(
            blur=rng.uniform(0, 0.4) * factor,
            shrink=factor,
            noise=rng.uniform(0, 4),
            grey_noise=True,
            quality=int(rng.integers(60, 99)) if rng.random() < 0.8 else None,
            grain=rng.uniform(3, 20),
            halftone=rng.uniform(0.05, 0.35) if rng.random() < 0.3 else 0.0,
        )
    if kind < 0.75:
        sigma, _, noise, quality = next(level for level in degradations.LEVELS if level[1] == factor)
        return degradations.Recipe(
            blur=sigma * rng.uniform(0.7, 1.2),
            shrink=factor,
            noise=noise * rng.uniform(0.5, 1.4),
            quality=int(np.clip(quality + rng.integers(-12, 13), 30, 98)),
        )
    wide = degradations.draw(rng)
    return dataclasses.replace(wide, blur=min(wide.blur, 0.5 * factor), shrink=factor, scratches=0)


def fine_copy(factor: int, rng: np.random.Generator) -> degradations.Recipe:
    """Draw a degradation that leaves small letters readable."""
    return degradations.Recipe(
        shrink=factor,
        noise=rng.uniform(0, 3) if rng.random() < 0.5 else 0.0,
        quality=int(rng.integers(75, 99)) if rng.random() < 0.6 else None,
    )


def at_factor(result: Tensor, factor: int) -> Tensor:
    """Resize the network's result, four times the input's size, to `factor` times, with the package's filter."""
    if factor == SCALE:
        return result
    rows, columns = (lanczos(side, factor).to(result.device) for side in result.shape[-2:])
    return rows @ result @ columns.T


@functools.cache
def lanczos(side: int, factor: int) -> Tensor:
    """(side * factor / 4, side): the filter that resizes an axis of the network's result."""
    step = SCALE / factor
    _, filters = lanczos_weights((np.arange(side * factor // SCALE) + 0.5) * step, step, side)
    return torch.from_numpy(filters)


def sharpen(truth: Tensor, factor: int) -> Tensor:
    """Sharpen a truth, (N, 3, 48 * factor, 48 * factor), in [0, 1]."""
    return (truth + SHARPEN[factor] * losses.fine(truth, 0.6 * factor)).clamp(0, 1)


def distance(result: Tensor, sharpened: Tensor, factor: int) -> Tensor:
    """(N,) the error of pixels and edges, and at factor 2 of the amount of detail, against a sharpened truth."""
    loss = losses.pixel(result, sharpened) + 0.3 * losses.gradient(result, sharpened, scales=1)
    return loss + DETAIL * losses.energy(result, sharpened) if factor == 2 else loss


def away_from_edges(image: Tensor, factor: int) -> Tensor:
    """(N, 1, H, W): 0 along clear edges, up to 1 in plain and textured areas.

    A discriminator makes the network draw dots and dashes along edges. At an edge, almost all gradients of a
    neighbourhood have one direction. This is measured with the structure tensor (Foerstner and Guelch 1987).
    """
    grey = functional.pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    x = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]) / 2 * factor
    y = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]) / 2 * factor
    xx, yy, xy = (losses.blurred(product, EDGE * factor) for product in (x * x, y * y, x * y))
    coherent = ((xx - yy).square() + 4 * xy.square() + 1e-12).sqrt()
    share = coherent / (xx + yy + 1e-6)
    edge = ((share - 0.5) / 0.3).clamp(0, 1) * (coherent.sqrt() / CLEAR).clamp(0, 1)
    return 1 - functional.max_pool2d(edge, 2 * factor + 1, stride=1, padding=factor)


def train_pixels(
    net: nn.Module, crops: Crops, out: Path, steps: int, batch: int, workers: int = 0, echoes: int = 1
) -> nn.Module:
    """First phase: minimise the distance to the sharpened truth. Each crop is used `echoes` times.

    Returns:
        The network with averaged weights.
    """
    phase = loop.Phase(net, out / "upscaler-pixels.pt", steps, 1e-3)
    for given, truth, _ in phase.batches(crops, batch, workers, echoes):
        factor = truth.shape[-1] // SIZE
        result = at_factor(phase.forward(given / 255), factor)
        loss = distance(result, sharpen(truth / 255, factor), factor)
        phase.descend(loss)
        phase.show(loss=loss)
    return phase.averaged


def train_texture(
    net: nn.Module, crops: Crops, out: Path, steps: int, batch: int, workers: int = 0, echoes: int = 1
) -> nn.Module:
    """Second phase: the same, and a discriminator teaches fine detail.

    Returns:
        The network with averaged weights.
    """
    adversary = Adversary(next(net.parameters()).device)
    phase = loop.Phase(net, out / "upscaler-texture.pt", steps, 3e-4, betas=(0.5, 0.99), adversary=adversary)
    for *images, counts in phase.batches(crops, batch, workers, echoes):
        given, truth = (image / 255 for image in images)
        sharpened = sharpen(truth, truth.shape[-1] // SIZE)
        if truth.shape[-1] > SCALE * SIZE:  # compared at the network's own size: it cannot draw finer detail
            truth, sharpened = (functional.avg_pool2d(x, truth.shape[-1] // (SCALE * SIZE)) for x in (truth, sharpened))
        factor = truth.shape[-1] // SIZE
        result = at_factor(phase.forward(given), factor)
        small = (functional.avg_pool2d(x, factor) for x in (result, truth))  # equal in spite of sharpening
        near = distance(result, sharpened, factor) + losses.pixel(*small)
        enlarged = functional.interpolate(given, scale_factor=factor, mode="bicubic", align_corners=False)
        blurred, made, real = (image * 2 - 1 for image in (enlarged, result, truth))  # the discriminator's range
        textured = real.lerp(made, away_from_edges(truth, factor))  # the truth along edges
        judged = shown(phase.step, blurred, textured, real, FINE * factor)
        matching, adversarial = adversary.losses(*judged)
        amount, grid = losses.spectrum(made, real), losses.grid(result, truth, period=4)
        # Drawn items need no texture, and from grain the network would make strokes. There the distance counts twice.
        texture = counts * (MATCHING * matching + ADVERSARIAL * adversarial)
        phase.descend((2 - counts) * near + texture + SPECTRUM * amount + GRID * grid)
        judge = adversary.learn(3 * phase.rate, *judged)
        phase.show(pixels=near, spectrum=amount, grid=grid, matching=matching, adversarial=adversarial, judge=judge)
    return phase.averaged


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--steps", type=int, default=30000, help="of the first phase (%(default)s)")
    parser.add_argument(
        "--start", type=Path, help="weights to begin the second phase with, instead of running the first"
    )
    parser.add_argument("--texture-steps", type=int, default=2200, help="of the second phase (%(default)s)")
    parser.add_argument(
        "--fonts",
        type=Path,
        nargs="+",
        default=[],
        help="folders of .ttf or .otf files to draw text with (default: Pillow's font)",
    )
    parser.add_argument("--batch", type=int, default=12, help="crops a step (%(default)s)")
    parser.add_argument("--echoes", type=int, default=1, help="steps in which each crop is used (%(default)s)")
    parser.add_argument("--photos", type=Path, help="folder that training/photographs.py makes, to train with as well")
    args = loop.begin(parser)
    fonts = data.font_files(args.fonts)
    photos, portraits = data.photos_and_portraits(args.data, args.photos)
    net: nn.Module = SRVGGNetCompact(num_conv=9).to(args.device, memory_format=torch.channels_last)
    alike, options = args.batch * args.echoes, (args.batch, args.workers, args.echoes)
    if args.start:
        net.load_state_dict(load_file(args.start))
        first: nn.Module = copy.deepcopy(net)
    else:
        crops = Crops(photos, portraits, alike, 0, args.steps * args.batch // args.echoes, FACTORS, DRAWN, fonts)
        first = train_pixels(net, crops, args.out, args.steps, *options)
        net.load_state_dict(first.state_dict())
    length = args.texture_steps * args.batch // args.echoes
    crops = Crops(photos, portraits, alike, 1, length, TEXTURE_FACTORS, TEXTURE_DRAWN, fonts)
    second = train_texture(net, crops, args.out, args.texture_steps, *options)
    loop.export(weights.blend(second, first, TEXTURED), args.out / "lite-upscaler.safetensors")


if __name__ == "__main__":
    main()
