"""Train the lite repairer: `python -m training.repairer --data <shared data folder> --out <folder for checkpoints>`.

The network learns to find damage. Each pixel is weighted by the harm of an error there: missed damage by how visible it
is, a false alarm by how much a fill would change.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from facemend.nets.repairer import LiteRepairer
from training import damages, data, degradations, loop, scenes
from training.degradations import Image, Rng

SIZE = 256  # px, side of a crop
VISIBLE = 2.0  # grey levels; a pixel that changed by more is damaged
UNDAMAGED = 0.35  # share of the crops without damage
ENLARGED_SHARE = 0.25  # share of the crops that are enlarged by 2, as scans often have more px than detail
NEIGHBOURHOOD = 5  # px; a fill is about the median of this neighbourhood, taken twice
CARE = 4.0  # weight of a change of an undamaged pixel, relative to that of equally visible damage that is left
LEAST, MOST = 0.02, 0.4  # limits of the weights of pixels
TONE = 0.3  # an input is raised to a power between exp(-TONE) and exp(TONE)
PEAK = 8e-4  # the highest learning rate
EPSILON = 0.02  # keeps the relative weights of an almost plain item small


class Damaged(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Damaged crops. Item i is the same in every run.

    Each item: the input (3, 256, 256) in [0, 1]; where it is damaged (1, 256, 256), 0 or 1; and the weight of each
    pixel (1, 256, 256).

    Args:
        portraits: (H, W, 3) uint8 RGB images.
        photos: others.
        seed: another seed gives other items.
        length: number of items.
    """

    def __init__(
        self,
        portraits: list[NDArray[np.uint8]],
        photos: list[NDArray[np.uint8]],
        seed: int,
        length: int,
    ) -> None:
        self.portraits, self.photos, self.seed, self.length = portraits, photos, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        factor = 2 if rng.random() < ENLARGED_SHARE else 1
        clean = self._scene(SIZE // factor, rng)
        clean = degradations.retone(clean, rng) if rng.random() < 0.6 else clean
        damaged = clean if rng.random() < UNDAMAGED else damages.damage(clean, rng)
        given, even, change = scan(clean, damaged, rng)
        mask = np.maximum.reduce(cv2.split(change)) > VISIBLE
        cost = np.where(mask, degradations.grey(change), CARE * changed_by_fill(even)) / 255
        weight = np.clip(LEAST + cost, LEAST, MOST)
        given = np.clip(cv2.resize(given, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0, 255)
        planes = (plane.astype(np.float32).repeat(factor, 0).repeat(factor, 1) for plane in (mask, weight))
        return to_tensor(given), *(torch.from_numpy(plane[None]) for plane in planes)

    def _scene(self, size: int, rng: Rng) -> Image:
        """An undamaged picture: a portrait or photograph, with or without something drawn, or a drawing alone."""
        kind = rng.random()
        if kind < 0.05:
            return scenes.text(size, rng)
        if kind < 0.08:
            return scenes.drawing(size, rng)
        if kind < 0.11:
            return scenes.masonry(size, rng)
        portrait = rng.random() < 0.35
        images = self.portraits if portrait else self.photos
        photo = scenes.crop(images[rng.integers(len(images))], size, rng)
        if kind < 0.16:
            return scenes.engraving(photo, rng)
        if kind < 0.22:
            return scenes.add_letters(photo, rng)
        if kind < 0.26:
            return scenes.add_border(photo, rng)
        if kind < 0.42:
            return scenes.add_lines(photo, rng, scenes.NEAR_FACES if portrait else scenes.THINGS)
        return photo


def scan(clean: Image, damaged: Image, rng: Rng) -> tuple[Image, Image, Image]:
    """Copy, print or scan a damaged image: tone, blur, print screen, grain, noise, JPEG.

    Returns:
        The scan, in whole numbers. The same without the screen, grain, noise and JPEG. And by how much the damage
        changed this second image.
    """
    if rng.random() < 0.35:
        return np.rint(damaged), damaged, np.abs(damaged - clean)
    tone, blur = rng.random() < 0.4, rng.uniform(0.3, 1.3) if rng.random() < 0.35 else 0.0
    grain, halftone = (rng.uniform(1, 9) if rng.random() < 0.3 else 0.0), rng.random() < 0.06
    noise = rng.uniform(0.5, 6) if rng.random() < 0.3 else 0.0
    quality = int(rng.integers(40, 98)) if rng.random() < 0.6 else None
    recipe = degradations.Recipe(
        grain=grain, halftone=0.2 if halftone else 0.0, noise=noise, grey_noise=grain > 0, quality=quality
    )
    seed = int(rng.integers(2**31))
    copies = []
    for image in (clean, damaged):
        toned = degradations.retone(image, np.random.default_rng(seed)) if tone else image
        copies.append(degradations.blur(toned, blur))
    return degradations.apply(copies[1], recipe, rng), copies[1], np.abs(copies[1] - copies[0])


def changed_by_fill(image: Image) -> Image:
    """(H, W): by about how many grey levels a fill from around it would change each pixel of an image without grain.

    The loss of grain is not counted as harm.
    """
    median = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(2):
        median = cv2.medianBlur(median, NEIGHBOURHOOD)
    return degradations.grey(np.abs(image - median))


def to_tensor(image: Image) -> Tensor:
    """Convert (H, W, 3) in [0, 255] to (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(255))


def loss_of(found: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """(N,) weighted cross-entropy of the probabilities `found`; all are (N, 1, H, W).

    Weights are relative to the mean of the item. Otherwise drawn text, in which every px matters, outweighs all
    photographs.
    """
    relative = weight / (weight.mean((1, 2, 3), keepdim=True) + EPSILON)
    return functional.binary_cross_entropy(found, mask, relative, reduction="none").flatten(1).mean(1)


def view(given: Tensor, mask: Tensor, weight: Tensor) -> list[Tensor]:
    """Turn a batch by quarters and mirror it at random, all items in the same way. Change the tone of each input."""
    gamma = torch.empty(len(given), 1, 1, 1, device=given.device).uniform_(-TONE, TONE).exp()
    turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    planes = (torch.rot90(plane, turns, (2, 3)) for plane in (given**gamma, mask, weight))
    return [plane.flip(3) if mirrored else plane for plane in planes]


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--steps", type=int, default=18400, help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="crops a step (%(default)s)")
    parser.add_argument("--echoes", type=int, default=4, help="steps in which each crop is used (%(default)s)")
    parser.add_argument("--photos", type=Path, help="folder that training/photographs.py makes, to train with as well")
    args = loop.begin(parser)
    photos, portraits = data.photos_and_portraits(args.data, args.photos)
    net = LiteRepairer().to(args.device, memory_format=torch.channels_last)
    loop.initialise(net)
    exported = args.out / "lite-repairer.safetensors"
    phase = loop.Phase(net, args.out / "repairer.pt", args.steps, PEAK, decay=0.999, export_to=exported)
    items = Damaged(portraits, photos, 7, args.steps * args.batch)
    for batch in phase.batches(items, args.batch, args.workers, args.echoes):
        given, mask, weight = view(*batch)
        loss = loss_of(phase.forward(given), mask, weight)
        phase.descend(loss)
        phase.show(loss=loss)


if __name__ == "__main__":
    main()
