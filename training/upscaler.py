"""Train the lite upscaler: `python -m training.upscaler --data <shared data folder> --out <folder for checkpoints>`."""

import dataclasses

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from facemend.nets.realesrgan import SRVGGNetCompact
from training import data, degradations, loop, losses
from training.discriminator import Adversary

SIZE = 48  # px, side of an input
FACTORS = (2, 2, 4, 4, 4, 4, 8)  # shrink factors, drawn with equal probability
HELD_OUT = 3  # photographs kept for tuning
# How strongly the truth is sharpened, by factor: a network that cannot know the detail predicts a blurred mean.
SHARPEN = {2: 0.45, 4: 1.0, 8: 0.2}
DETAIL = 1.5  # weight of the loss on the amount of detail, at factor 2 only; at 4 and 8 it produces a regular grid
MATCHING = 0.02  # weight of the feature matching loss, at factor 4 only
ADVERSARIAL = 0.006  # weight of the adversarial loss, at factor 4 only
ADVERSARIAL_FROM = 0.5  # fraction of the steps after which these two losses are used
DISCRIMINATOR_RATE = 2e-4  # the discriminator's learning rate


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Small degraded crops and the images to restore them to; all items of a batch have the same factor.

    Each item: input (3, 48, 48) and truth (3, 48 * factor, 48 * factor), in [0, 1].
    """

    def __init__(
        self, photos: list[NDArray[np.uint8]], portraits: list[NDArray[np.uint8]], batch: int, seed: int, length: int
    ) -> None:
        self.photos, self.portraits, self.batch, self.seed, self.length = photos, portraits, batch, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        factor = FACTORS[np.random.default_rng([self.seed, 1, index // self.batch]).integers(len(FACTORS))]
        rng = np.random.default_rng([self.seed, 2, index])
        images = self.photos if rng.random() < 0.75 else self.portraits
        image = images[rng.integers(len(images))]
        size = SIZE * factor
        y, x = (int(rng.integers(0, n - size + 1)) for n in image.shape[:2])
        truth = image[y : y + size, x : x + size].astype(np.float32)
        if rng.random() < 0.5:
            truth = truth[:, ::-1]
        truth = np.rot90(truth, rng.integers(4))
        if rng.random() < 0.3:
            truth = degradations.retone(truth, rng)
        truth = np.ascontiguousarray(truth)
        small, _ = degradations.apply(truth, recipe(factor, rng), rng)
        wanted = truth + SHARPEN[factor] * (truth - cv2.GaussianBlur(truth, (0, 0), 0.6 * factor))
        return data.to_tensor(small) / 2 + 0.5, data.to_tensor(np.clip(wanted, 0, 255)) / 2 + 0.5


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


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=12)
    args = loop.begin(parser)
    photos = [data.read(path) for path in sorted((args.data / "photos").glob("*.png"))[:-HELD_OUT]]
    portraits = [data.read(path) for path in sorted((args.data / "portraits/train").glob("*.jpg"))[: -data.HELD_OUT]]
    crops = Crops(photos, portraits, args.batch, 0, args.steps * args.batch)

    net = SRVGGNetCompact(num_conv=9).to(args.device, memory_format=torch.channels_last)
    adversary = Adversary(args.device)
    result_file = args.out / "lite-upscaler.safetensors"
    phase = loop.Phase(net, args.out / "upscaler.pt", args.steps, 1e-3, adversary=adversary, export_to=result_file)
    for given, truth in phase.batches(crops, args.batch):
        factor = truth.shape[-1] // SIZE
        result = at_factor(phase.forward(given), factor)
        loss = losses.pixel(result, truth) + 0.3 * losses.gradient(result, truth, scales=1)
        if factor == 2:
            loss = loss + DETAIL * losses.energy(result, truth)
        with_adversary = factor == 4 and phase.progress >= ADVERSARIAL_FROM
        if with_adversary:
            pair = result * 2 - 1, truth * 2 - 1  # the discriminator's range
            matching, adversarial = adversary.losses(*pair)
            loss = loss + MATCHING * matching + ADVERSARIAL * adversarial
        phase.descend(loss)
        if with_adversary:
            adversary.learn(DISCRIMINATOR_RATE, *pair)
        phase.show(loss=loss)


if __name__ == "__main__":
    main()
