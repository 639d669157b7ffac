"""Train the lite upscaler: `python -m training.upscaler --data <shared data folder> --out <folder for checkpoints>`."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from facemend.nets.realesrgan import SRVGGNetCompact
from training import data, degradations, loop, losses, scenes
from training.discriminator import Adversary, shifted

SIZE = 48  # px, side of an input
FACTORS = (2, 2, 4, 4, 4, 4, 8)  # shrink factors, drawn with equal probability
HELD_OUT = 3  # photographs kept for tuning
# How strongly the truth is sharpened in the first phase, by factor: a network that cannot know the detail predicts a
# blurred mean.
SHARPEN = {2: 0.45, 4: 1.0, 8: 0.2}
DETAIL = (
    1.5  # weight of the loss on the amount of detail in the first phase, at factor 2; at 4 and 8 it produces a grid
)
# Weights of the losses of the second phase; the loss of the pixels has weight 1.
EDGES = 0.2
MATCHING = 0.03
ADVERSARIAL = 0.008
GRID = 0.1
STRIPES = 1.0


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Small degraded crops and the images to restore them to; all items of a batch have the same factor.

    Each item: input (3, 48, 48) and truth (3, 48 * factor, 48 * factor), in [0, 1].

    Args:
        photos: (H, W, 3) uint8 RGB images; most crops are taken from them.
        portraits: others.
        batch: items in a batch.
        seed: another seed gives other items.
        length: number of items.
        sharpened: whether the truth is sharpened.
    """

    def __init__(
        self,
        photos: list[NDArray[np.uint8]],
        portraits: list[NDArray[np.uint8]],
        batch: int,
        seed: int,
        length: int,
        *,
        sharpened: bool,
    ) -> None:
        self.photos, self.portraits, self.batch, self.seed, self.length = photos, portraits, batch, seed, length
        self.sharpened = sharpened

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        factor = FACTORS[np.random.default_rng([self.seed, 1, index // self.batch]).integers(len(FACTORS))]
        rng = np.random.default_rng([self.seed, 2, index])
        truth = np.ascontiguousarray(self._scene(SIZE * factor, rng))
        if rng.random() < 0.3:
            truth = degradations.retone(truth, rng)
        small, _ = degradations.apply(truth, recipe(factor, rng), rng)
        amount = SHARPEN[factor] if self.sharpened else 0.0
        wanted = truth + amount * (truth - cv2.GaussianBlur(truth, (0, 0), 0.6 * factor))
        return data.to_tensor(small) / 2 + 0.5, data.to_tensor(np.clip(wanted, 0, 255)) / 2 + 0.5

    def _scene(self, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A part of a photograph or portrait, mirrored or turned, or text or a drawing."""
        kind = rng.random()
        if kind < 0.12:
            return scenes.text(size, rng) if kind < 0.08 else scenes.drawing(size, rng)
        images = self.photos if rng.random() < 0.75 else self.portraits
        image = images[rng.integers(len(images))]
        y, x = (int(rng.integers(0, n - size + 1)) for n in image.shape[:2])
        part = image[y : y + size, x : x + size].astype(np.float32)
        return np.rot90(part[:, ::-1] if rng.random() < 0.5 else part, rng.integers(4))


def recipe(factor: int, rng: np.random.Generator) -> degradations.Recipe:
    """Draw a degradation that shrinks by `factor`: shrinking alone, an old print, near a level of `LEVELS`, or any."""
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


def at_factor(result: Tensor, factor: int) -> Tensor:
    """Resize the network's result, four times the input's size, to `factor` times, as the package does."""
    if factor < 4:
        return functional.avg_pool2d(result, 4 // factor)
    if factor > 4:
        return functional.interpolate(result, scale_factor=factor / 4, mode="bicubic", align_corners=False)
    return result


def train_pixels(net: nn.Module, crops: Crops, out: Path, steps: int) -> nn.Module:
    """First phase: minimise the error of pixels and edges, against a sharpened truth.

    Returns:
        The network with averaged weights.
    """
    phase = loop.Phase(net, out / "upscaler-pixels.pt", steps, 1e-3)
    for given, truth in phase.batches(crops, crops.batch):
        factor = truth.shape[-1] // SIZE
        result = at_factor(phase.forward(given), factor)
        loss = losses.pixel(result, truth) + 0.3 * losses.gradient(result, truth, scales=1)
        if factor == 2:
            loss = loss + DETAIL * losses.energy(result, truth)
        phase.descend(loss)
        phase.show(loss=loss)
    return phase.averaged


def train_texture(net: nn.Module, crops: Crops, out: Path, steps: int) -> nn.Module:
    """Second phase: a discriminator that sees the enlarged input and the result together teaches detail.

    Returns:
        The network with averaged weights.
    """
    adversary = Adversary(next(net.parameters()).device, channels=6)
    phase = loop.Phase(net, out / "upscaler-texture.pt", steps, 2e-4, betas=(0.5, 0.99), adversary=adversary)
    for given, truth in phase.batches(crops, crops.batch):
        factor = truth.shape[-1] // SIZE
        result = at_factor(phase.forward(given), factor)
        near = losses.pixel(result, truth) + EDGES * losses.gradient(result, truth, scales=2)
        grid = GRID * losses.grid(result, truth, period=factor) + STRIPES * losses.stripes(result, truth)
        enlarged = functional.interpolate(given, scale_factor=factor, mode="bicubic", align_corners=False)
        pair = (torch.cat([enlarged, image], 1) * 2 - 1 for image in (result, truth))  # the discriminator's range
        fake, real = shifted(phase.step, *pair)
        matching, adversarial = adversary.losses(fake, real)
        phase.descend(near + MATCHING * matching + ADVERSARIAL * adversarial + grid)
        hinge = adversary.learn(2 * phase.rate, fake, real)
        phase.show(pixels=near, grid=grid, matching=matching, adversarial=adversarial, discriminator=hinge)
    return phase.averaged


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--steps", type=int, default=12000, help="of the first phase (%(default)s)")
    parser.add_argument("--start", type=Path, help="weights to begin the second phase with, in place of the first")
    parser.add_argument("--texture-steps", type=int, default=3000, help="of the second phase (%(default)s)")
    parser.add_argument("--batch", type=int, default=12, help="crops a step (%(default)s)")
    args = loop.begin(parser)
    photos = [data.read(path) for path in sorted((args.data / "photos").glob("*.png"))[:-HELD_OUT]]
    portraits = [data.read(path) for path in sorted((args.data / "portraits/train").glob("*.jpg"))[: -data.HELD_OUT]]

    def crops(seed: int, steps: int, *, sharpened: bool) -> Crops:
        return Crops(photos, portraits, args.batch, seed, steps * args.batch, sharpened=sharpened)

    net = SRVGGNetCompact(num_conv=9).to(args.device, memory_format=torch.channels_last)
    if args.start:
        net.load_state_dict(load_file(args.start))
    else:
        first = train_pixels(net, crops(0, args.steps, sharpened=True), args.out, args.steps)
        net.load_state_dict(first.state_dict())
    second = train_texture(net, crops(1, args.texture_steps, sharpened=False), args.out, args.texture_steps)
    loop.export(second, args.out / "lite-upscaler.safetensors")


if __name__ == "__main__":
    main()
