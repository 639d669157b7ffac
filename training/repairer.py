"""Train the lite repairer: `python -m training.repairer --data <shared data folder> --out <folder for checkpoints>`.

In the first phase it learns to find damage and to fill it, in the second to leave undamaged pictures alone. Only the
weights that find damage are exported.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from facemend.nets.repairer import BLOCKS, WIDTHS, LiteRepairer
from facemend.nets.unet import UNet
from training import damages, data, degradations, loop, losses, scenes
from training.degradations import Image, Rng

SIZE = 256  # px, side of a crop
HELD_OUT = 3  # photographs kept for tuning
VISIBLE = 2.0  # grey levels; a pixel that changed by more is damaged
UNDAMAGED = 0.25, 0.5  # share of the crops without damage in each phase
FIND_UNTIL = 0.35  # fraction of the steps in which the network learns to find damage more than to fill it
FILL = 0.2, 1.6  # weight of the error of the fill inside the damage, before and after that
EDGES = 0.5  # weight of the error of its gradients, relative to that
FOUND = 3.0, 1.0  # weight of damaged pixels in the loss of the mask, in each phase
OVERLAP = 0.5  # weight of the loss on the overlap of mask and damage
TOUCHED = 60.0, 200.0  # weight of the squared change of undamaged pixels, in each phase
TOUCHED_FROM = 0.25  # fraction of the first phase over which that weight rises: first the network must learn to find


class Damaged(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Damaged crops. Item i is the same in every run.

    Each item: input and truth (3, 256, 256) in [0, 1], and where they differ (1, 256, 256), 0 or 1.

    Args:
        portraits: (H, W, 3) uint8 RGB images.
        photos: others.
        seed: another seed gives other items.
        length: number of items.
        undamaged: share of the items without damage.
    """

    def __init__(
        self,
        portraits: list[NDArray[np.uint8]],
        photos: list[NDArray[np.uint8]],
        seed: int,
        length: int,
        undamaged: float = UNDAMAGED[0],
    ) -> None:
        self.portraits, self.photos, self.seed, self.length = portraits, photos, seed, length
        self.undamaged = undamaged

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        clean = degradations.retone(self._scene(rng), rng) if rng.random() < 0.6 else self._scene(rng)
        damaged = clean if rng.random() < self.undamaged else damages.damage(clean, rng)
        (truth, before), (given, after) = scan(clean, damaged, rng)
        mask = np.abs(after - before).max(axis=2) > VISIBLE
        return to_tensor(given), to_tensor(truth), torch.from_numpy(mask[None].astype(np.float32))

    def _scene(self, rng: Rng) -> Image:
        """An undamaged picture: a portrait or photograph, or something drawn."""
        kind = rng.random()
        if kind < 0.06:
            return scenes.text(SIZE, rng)
        if kind < 0.10:
            return scenes.drawing(SIZE, rng)
        if kind < 0.14:
            return scenes.masonry(SIZE, rng)
        images = self.portraits if rng.random() < 0.45 else self.photos
        photo = scenes.crop(images[rng.integers(len(images))], SIZE, rng)
        if kind < 0.20:
            return scenes.engraving(photo, rng)
        return scenes.add_lines(photo, rng) if kind < 0.36 else photo


class WithFill(UNet):
    """A repairer that also says what was there before the damage."""

    def __init__(self) -> None:
        super().__init__(4, WIDTHS, BLOCKS)

    def forward(self, x: Tensor) -> Tensor:
        """Find and fill damage.

        Args:
            x: (N, 3, H, W) RGB in [0, 1].

        Returns:
            (N, 4, H, W): the fill, RGB, about [0, 1]; and the probability that the pixel is damaged, in [0, 1].
        """
        values = self.values(x)
        return torch.cat([x + values[:, :3], values[:, 3:].float().sigmoid()], 1)

    def finder(self) -> LiteRepairer:
        """The part that finds damage."""
        state = self.state_dict()
        last = {f"last.{name}": state[f"last.{name}"][12:] for name in ("weight", "bias")}  # of the probability
        net = LiteRepairer()
        net.load_state_dict(state | last)
        return net


def scan(clean: Image, damaged: Image, rng: Rng) -> list[tuple[Image, Image]]:
    """Copy, print or scan both images in the same way: tone, blur, print screen, grain, noise, JPEG.

    Returns:
        For each image its scan, in whole numbers, and what it was before the screen, grain, noise and JPEG.
    """
    if rng.random() < 0.35:
        return [(np.rint(image), image) for image in (clean, damaged)]
    tone, blur = rng.random() < 0.4, rng.uniform(0.3, 1.3) if rng.random() < 0.35 else 0.0
    grain, halftone = (rng.uniform(1, 9) if rng.random() < 0.3 else 0.0), rng.random() < 0.06
    noise = rng.uniform(0.5, 6) if rng.random() < 0.3 else 0.0
    quality = int(rng.integers(40, 98)) if rng.random() < 0.6 else None
    seed = int(rng.integers(2**31))
    scans = []
    for image in (clean, damaged):
        same = np.random.default_rng(seed)
        if tone:
            image = degradations.retone(image, same)
        before = degradations.blur(image, blur)
        recipe = degradations.Recipe(
            grain=grain, halftone=0.2 if halftone else 0.0, noise=noise, grey_noise=grain > 0, quality=quality
        )
        scans.append((degradations.apply(before, recipe, same)[0], before))
    return scans


def to_tensor(image: Image) -> Tensor:
    """Convert (H, W, 3) in [0, 255] to (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(255))


def loss_of(result: Tensor, given: Tensor, truth: Tensor, mask: Tensor, found_weight: float = 1.0) -> dict[str, Tensor]:
    """The losses of a batch, each a single value.

    Args:
        result: (N, 4, H, W), fill and probability.
        given: the damaged images, (N, 3, H, W).
        truth: the undamaged images.
        mask: (N, 1, H, W), 1 where they differ.
        found_weight: weight of damaged pixels in the loss of the mask.
    """
    fill, found = result[:, :3], result[:, 3:]
    entropy = functional.binary_cross_entropy(found, mask, 1 + (found_weight - 1) * mask)
    overlap = 1 - (2 * (found * mask).sum() + 1) / (found.sum() + mask.sum() + 1)
    size = mask.mean() + 5e-3
    filled = torch.lerp(truth, fill, mask)  # the fill where it is needed
    repaired = torch.lerp(given, fill, found)
    inside = losses.pixel(filled, truth).mean() / size + losses.pixel(repaired, truth, mask).mean() / size
    edges = losses.gradient(filled, truth, scales=3).mean() / size
    touched = ((repaired - given).square() * (1 - mask)).mean()
    return {
        "mask": 2 * entropy + OVERLAP * overlap,
        "fill": inside + EDGES * edges,
        "touched": touched,
    }


def train(phase: loop.Phase, items: Damaged, batch: int) -> nn.Module:
    """First phase: find damage and fill it. Returns the network with averaged weights."""
    for given, truth, mask in phase.batches(items, batch):
        parts = loss_of(phase.forward(given), given, truth, mask, FOUND[0])
        parts["fill"] = parts["fill"] * FILL[phase.progress >= FIND_UNTIL]
        parts["touched"] = parts["touched"] * TOUCHED[0] * min(phase.progress / TOUCHED_FROM, 1.0)
        step(phase, parts)
    return phase.averaged


def train_care(phase: loop.Phase, items: Damaged, batch: int) -> nn.Module:
    """Second phase: leave undamaged pixels alone. Returns the network with averaged weights."""
    for given, truth, mask in phase.batches(items, batch):
        parts = loss_of(phase.forward(given), given, truth, mask, FOUND[1])
        parts["fill"] = parts["fill"] * FILL[1]
        parts["touched"] = parts["touched"] * TOUCHED[1]
        step(phase, parts)
    return phase.averaged


def step(phase: loop.Phase, parts: dict[str, Tensor]) -> None:
    """Descend the sum of the losses, and show them."""
    phase.descend(torch.stack(list(parts.values())).sum())
    phase.show(**parts)


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--steps", type=int, default=8000, help="of the first phase (%(default)s)")
    parser.add_argument("--care-steps", type=int, default=2000, help="of the second (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="crops a step (%(default)s)")
    args = loop.begin(parser)
    photos = [data.read(path) for path in sorted((args.data / "photos").glob("*.png"))[:-HELD_OUT]]
    portraits = [data.read(path) for path in sorted((args.data / "portraits/train").glob("*.jpg"))[: -data.HELD_OUT]]

    net = WithFill().to(args.device, memory_format=torch.channels_last)
    loop.initialise(net)
    phase = loop.Phase(net, args.out / "repairer.pt", args.steps, 5e-4)
    items = Damaged(portraits, photos, 0, args.steps * args.batch)
    net.load_state_dict(train(phase, items, args.batch).state_dict())
    phase = loop.Phase(net, args.out / "repairer-care.pt", args.care_steps, 2e-4)
    items = Damaged(portraits, photos, 1, args.care_steps * args.batch, UNDAMAGED[1])
    net.load_state_dict(train_care(phase, items, args.batch).state_dict())
    loop.export(net.finder(), args.out / "lite-repairer.safetensors")


if __name__ == "__main__":
    main()
