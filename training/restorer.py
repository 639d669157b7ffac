"""Train the lite restorer: `python -m training.restorer --data <shared data folder> --out <folder for checkpoints>`."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from facemend import weights
from facemend.nets.lite import DEEPEST, LiteRestorer
from training import data, loop, losses
from training.discriminator import Adversary

# Weights of the losses of the second phase; the loss of `pixels` has weight 1.
DETAIL = 1.0
MATCHING = 0.05
ADVERSARIAL = 0.006
DETAILED = 0.5  # share of the second phase in the blend of the two phases' weights; with more, bad faces show a grid
LEAD_IN = 500  # first steps, on bad faces only: the network learns to restore before it learns to keep good faces
EYES_AND_MOUTH = ((193, 240), (319, 240), (257, 314), (201, 371), (257, 375), (313, 371))  # x, y on the template, px


def pixel_weights() -> Tensor:
    """(1, 1, 512, 512) weight of each pixel of a face: from 1 to 3, highest at eyes, nose and mouth."""
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    bumps = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 28**2)) for a, b in EYES_AND_MOUTH]
    return (1 + 2 * torch.stack(bumps).amax(0))[None, None]


def cut(maps: Tensor, corners: Tensor, size: int, cell: int = 1) -> Tensor:
    """Cut the part of each crop from a map of the whole face.

    Args:
        maps: (1, C, 512 / cell, 512 / cell).
        corners: (N, 2), top left corner x, y of each crop, in px of the face.
        size: side of the crops in px.
        cell: px of the face per value of the map.

    Returns:
        (N, C, size / cell, size / cell).
    """
    size //= cell
    return torch.cat([maps[..., y : y + size, x : x + size] for x, y in (corners // cell).tolist()])


def item_weights(given: Tensor, truth: Tensor, amount: float) -> Tensor:
    """(N,) weight of each item: equal with `amount` 0, about inversely proportional to the input's error with 1.

    With 1, keeping a good face counts as much as restoring a bad one. At the start of training this only slows
    learning down.
    """
    return (0.03 / (losses.pixel(given, truth) + 0.01)) ** amount


def pixels(result: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """(N,) loss of the pixels, edges and colours of each item."""
    edges = losses.gradient(result, truth, weight)
    return losses.pixel(result, truth, weight) + 0.5 * edges + 0.5 * losses.colour(result, truth)


def restore_batches(
    phase: loop.Phase, faces: data.Faces, batch: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Restore the batches of a phase: yields input, truth, result and the weight of each pixel."""
    importance = pixel_weights().to(phase.device)
    for given, truth, corners in phase.batches(faces, batch):
        size = given.shape[-1]
        result = phase.forward(given, cut(phase.net.place, corners, size, DEEPEST))
        yield given, truth, result, cut(importance, corners, size)


def train_pixels(net: LiteRestorer, faces: data.Faces, out: Path, steps: int, batch: int, peak: float) -> nn.Module:
    """First phase: minimise the error of pixels, edges and colours.

    Returns:
        The network with averaged weights.
    """
    phase = loop.Phase(net, out / "restorer-pixels.pt", steps, peak)
    for given, truth, result, weight in restore_batches(phase, faces, batch):
        amount = min(max(phase.progress - 0.2, 0.0) / 0.3, 1.0)
        loss = pixels(result, truth, weight) * item_weights(given, truth, amount)
        phase.descend(loss)
        phase.show(loss=loss)
    return phase.averaged


def train_details(net: LiteRestorer, faces: data.Faces, out: Path, steps: int, batch: int, peak: float) -> nn.Module:
    """Second phase: add a loss on the amount of detail and the losses of a discriminator, for realistic detail.

    Returns:
        The network with averaged weights.
    """
    adversary = Adversary(net.place.device)
    phase = loop.Phase(net, out / "restorer-details.pt", steps, peak, floor=0.1, decay=0.995, adversary=adversary)
    for given, truth, result, weight in restore_batches(phase, faces, batch):
        near = pixels(result, truth, weight)
        # A good input gains nothing from the discriminator and may lose likeness. A bad input does not show how much
        # detail there was, and a loss on the amount of detail would produce a grid.
        bad = (losses.pixel(given, truth) / 0.05).clamp(max=1.0)
        amount = (1 - 0.8 * bad) * losses.energy(result, truth)
        matching, adversarial = adversary.losses(result, truth)
        loss = near * item_weights(given, truth, 1.0) + DETAIL * amount
        phase.descend(loss + MATCHING * bad * matching + ADVERSARIAL * bad * adversarial)
        hinge = adversary.learn(2 * phase.rate, result, truth)
        phase.show(pixels=near, amount=amount, matching=matching, adversarial=adversarial, discriminator=hinge)
    return phase.averaged


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--detector", type=Path, required=True, help="the official detection_mobilenet0.25_Final.pth")
    parser.add_argument("--steps", type=int, default=12000, help="of the first phase (%(default)s)")
    parser.add_argument("--detail-steps", type=int, default=900, help="of the second (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="crops a step (%(default)s)")
    args = loop.begin(parser)
    detector = weights.load("retinaface-mobile0.25", args.detector)
    portraits = data.portraits(args.data / "portraits/train", detector, args.out / "alignments.npz")[: -data.HELD_OUT]
    backgrounds = [portrait.image for portrait in portraits]  # in the public domain, like all the restorer learns from
    net = LiteRestorer().to(args.device, memory_format=torch.channels_last)
    loop.initialise(net)
    faces = data.Faces(portraits, backgrounds, 256, 0, args.steps * args.batch, LEAD_IN * args.batch)
    first = train_pixels(net, faces, args.out, args.steps, args.batch, 8e-4)
    net.load_state_dict(first.state_dict())
    faces = data.Faces(portraits, backgrounds, 256, 1, args.detail_steps * args.batch)
    second = train_details(net, faces, args.out, args.detail_steps, args.batch, 1.5e-4)
    loop.export(weights.blend(second, first, DETAILED), args.out / "lite-restorer.safetensors")


if __name__ == "__main__":
    main()
