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
from training.discriminator import Judge

SIZE = 48  # px, side of an input
FACTORS = (2, 2, 4, 4, 4, 4, 8)  # shrink factors, as often as they are drawn
HELD_OUT = 3  # photographs kept for tuning
SHARPEN = {2: 0.45, 4: 1.0, 8: 0.2}  # how strongly the truth is sharpened, against the blur of doubt
DETAIL = 1.5  # weight of the amount of detail, at factor 2; at the others it is supplied as a regular grid
LOOK, FOOL = 0.02, 0.006  # weights of what the discriminator sees and says, at factor 4, where detail is in doubt
JUDGED_FROM = 0.5  # share of the steps before these two count
JUDGE_RATE = 2e-4  # the discriminator's learning rate


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Small degraded crops and what they should become at the batch's factor; a batch has one factor.

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
    """Draw what happens to a picture shrunk by `factor`: nothing else, about the quoted level, paper, or anything."""
    kind = rng.random()
    if kind < 0.1:
        return degradations.Recipe(shrink=factor, shrink_filter=int(rng.choice([cv2.INTER_AREA, cv2.INTER_CUBIC])))
    if kind < 0.22:  # an old print: unless it is learned, grain is drawn out into worms
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
    """Bring the network's fourfold result to another factor, as the package does."""
    if factor < 4:
        return functional.avg_pool2d(result, 4 // factor)
    if factor > 4:
        return functional.interpolate(result, scale_factor=factor / 4, mode="bicubic", align_corners=False)
    return result


def main() -> None:
    """Read the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=12)
    args = loop.begin(parser)
    photos = [data.read(path) for path in sorted((args.data / "photos").glob("*.png"))[:-HELD_OUT]]
    portraits = [data.read(path) for path in sorted((args.data / "portraits/train").glob("*.jpg"))[: -data.HELD_OUT]]
    crops = Crops(photos, portraits, args.batch, 0, args.steps * args.batch)

    net = SRVGGNetCompact(num_conv=9).to(args.device, memory_format=torch.channels_last)
    mean = loop.averaged(net)
    judge = Judge(args.device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    parts: dict[str, loop.Stateful] = {"net": net, "mean": mean, "judge": judge, "optimizer": optimizer}
    checkpoint = args.out / "upscaler.pt"
    start = loop.resume(checkpoint, parts)
    progress = loop.batches(crops, args.batch, start, args.steps, "upscaler")
    for step, items in progress:
        given, truth = (part.to(args.device) for part in items)
        with torch.autocast(given.device.type, torch.bfloat16):
            result = net(given.contiguous(memory_format=torch.channels_last))
        factor = truth.shape[-1] // SIZE
        result = at_factor(result.float(), factor)
        loss = losses.pixel(result, truth) + 0.3 * losses.gradient(result, truth, scales=1)
        if factor == 2:
            loss = loss + DETAIL * losses.energy(result, truth)
        judged = factor == 4 and step >= JUDGED_FROM * args.steps
        if judged:
            pair = result * 2 - 1, truth * 2 - 1  # the discriminator's range
            look, fooled = judge.opinion(*pair)
            loss = loss + LOOK * look + FOOL * fooled
        loop.descend(loss.mean(), optimizer, loop.learning_rate(step, args.steps, 1e-3), largest=0.5)
        if judged:
            judge.learn(JUDGE_RATE, *pair)
        loop.average(mean, net, step)
        progress.show(loss=loss)
        if loop.due(step, args.steps):
            loop.save(checkpoint, step + 1, parts)
            loop.export(mean, args.out / "lite-upscaler.safetensors")


if __name__ == "__main__":
    main()
