"""Train the lite restorer.

`python -m training.restorer --data <shared data folder> --out <folder for checkpoints> --detector <official weights>
--recognition <folder of the face recognition network>`
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from facemend import weights
from facemend.nets.lite import DEEPEST, LiteRestorer
from training import data, loop, losses
from training.discriminator import Adversary, shown
from training.identity import Likeness

# Weights of the losses of the second phase; those of pixels and colours are in `train_texture`.
EDGES = 0.5
SPECTRUM = 0.05
MATCHING = 0.05
ADVERSARIAL = 0.02
GRID = 0.2
PATTERN = 1.0
LIKENESS = 1.5
FINE = 2.0  # px, size of the detail that the discriminator sees
TEXTURED = 0.7  # share of the second phase in the blend of the two phases' weights
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
    phase: loop.Phase, faces: data.Faces, batch: int, workers: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Restore the batches of a phase: yields input, truth, result and the weight of each pixel."""
    importance = pixel_weights().to(phase.device)
    for given, truth, corners in phase.batches(faces, batch, workers):
        size = given.shape[-1]
        generator = torch.Generator().manual_seed(phase.step)
        noise = torch.randn(len(given), 1, size, size, generator=generator).to(phase.device)
        result = phase.forward(given, cut(phase.net.place, corners, size, DEEPEST), noise)
        yield given, truth, result, cut(importance, corners, size)


def train_pixels(
    net: LiteRestorer, faces: data.Faces, out: Path, steps: int, batch: int, peak: float, workers: int = 0
) -> nn.Module:
    """First phase: minimise the error of pixels, edges and colours.

    Returns:
        The network with averaged weights.
    """
    phase = loop.Phase(net, out / "restorer-pixels.pt", steps, peak)
    for given, truth, result, weight in restore_batches(phase, faces, batch, workers):
        amount = min(max(phase.progress - 0.2, 0.0) / 0.3, 1.0)
        loss = pixels(result, truth, weight) * item_weights(given, truth, amount)
        phase.descend(loss)
        phase.show(loss=loss)
    return phase.averaged


def train_texture(
    net: LiteRestorer,
    faces: data.Faces,
    likeness: Likeness,
    out: Path,
    steps: int,
    batch: int,
    peak: float,
    workers: int = 0,
) -> nn.Module:
    """Second phase: a discriminator teaches the fine detail of hair, skin and cloth, and `likeness` the person.

    Returns:
        The network with averaged weights.
    """
    adversary = Adversary(net.place.device)
    checkpoint = out / "restorer-texture.pt"
    phase = loop.Phase(net, checkpoint, steps, peak, betas=(0.5, 0.99), adversary=adversary)
    for given, truth, result, weight in restore_batches(phase, faces, batch, workers):
        # A face is recognised at half and a quarter of the size already, so errors there count most.
        half, quarter = ([functional.avg_pool2d(x, size) for x in (result, truth, weight)] for size in (2, 4))
        near = 0.7 * losses.pixel(result, truth, weight) + losses.pixel(*half) + 2 * losses.pixel(*quarter)
        near = near + 0.5 * losses.colour(result, truth)
        near = near + EDGES * losses.gradient(*half, scales=1) + 2 * EDGES * losses.gradient(*quarter, scales=1)
        # A good input has its detail already, so it should change little, and losses on detail count less.
        bad = (losses.pixel(given, truth) / 0.05).clamp(max=1.0)
        pair = shown(phase.step, given, result, truth, FINE)
        matching, adversarial = adversary.losses(*pair)
        amount, grid = losses.spectrum(result, truth), losses.grid(result, truth)
        detail = MATCHING * matching + ADVERSARIAL * adversarial + SPECTRUM * amount
        unlike = likeness(phase.step, result, truth)
        regular = GRID * grid + PATTERN * losses.pattern(result, truth)
        phase.descend((4 - 3 * bad) * near + bad.square() * detail + regular + LIKENESS * unlike)
        judge = adversary.learn(3 * phase.rate, *pair)
        phase.show(pixels=near, unlike=unlike, spectrum=amount, regular=regular, adversarial=adversarial, judge=judge)
    return phase.averaged


def main() -> None:
    """Parse the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--detector", type=Path, required=True, help="the official detection_mobilenet0.25_Final.pth")
    parser.add_argument("--steps", type=int, default=12000, help="of the first phase (%(default)s)")
    parser.add_argument("--start", type=Path, help="weights to begin the second phase with, in place of the first")
    parser.add_argument("--texture-steps", type=int, default=2800, help="of the second phase (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="crops of 256 px a step of the first phase (%(default)s)")
    parser.add_argument("--faces", type=int, default=3, help="whole faces a step of the second phase (%(default)s)")
    parser.add_argument(
        "--recognition",
        type=Path,
        required=True,
        help="the folder `model` of the npm package @vladmandic/face-api 1.7.15",
    )
    args = loop.begin(parser)
    detector = weights.load("retinaface-mobile0.25", args.detector)
    portraits = data.portraits(args.data / "portraits/train", detector, args.out / "alignments.npz")[: -data.HELD_OUT]
    backgrounds = [portrait.image for portrait in portraits]  # in the public domain, like all the restorer learns from
    net = LiteRestorer().to(args.device, memory_format=torch.channels_last)
    loop.initialise(net)
    if args.start:
        # A file that is older than the noise has no parameters for it; these keep their initial values.
        net.load_state_dict(net.state_dict() | load_file(args.start))
        first: nn.Module = copy.deepcopy(net)
    else:
        faces = data.Faces(portraits, backgrounds, 256, 0, args.steps * args.batch, LEAD_IN * args.batch)
        first = train_pixels(net, faces, args.out, args.steps, args.batch, 8e-4, args.workers)
        net.load_state_dict(first.state_dict())
    faces = data.Faces(portraits, backgrounds, data.FACE_SIZE, 2, args.texture_steps * args.faces)
    likeness = Likeness(args.recognition, args.device)
    second = train_texture(net, faces, likeness, args.out, args.texture_steps, args.faces, 1e-4, args.workers)
    loop.export(weights.blend(second, first, TEXTURED), args.out / "lite-restorer.safetensors")


if __name__ == "__main__":
    main()
