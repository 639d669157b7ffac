"""Train the lite restorer: `python -m training.restorer --data <shared data folder> --out <folder for checkpoints>`."""

from pathlib import Path

import torch
from torch import Tensor, nn

from facemend import weights
from facemend.nets.lite import DEEPEST, LiteRestorer
from training import data, loop, losses
from training.discriminator import Judge

DETAIL, LOOK, FOOL = 1.0, 0.05, 0.006  # weights of the second phase's terms, pixels being 1
DETAILED = 0.5  # share of the second phase's weights in the result of one run; with more, bad faces show a grid
LEAD_IN = 500  # steps on bad faces only: mending is learned first, leaving alone second
EYES_AND_MOUTH = ((193, 240), (319, 240), (257, 314), (201, 371), (257, 375), (313, 371))  # x, y on the template, px


def attention() -> Tensor:
    """(1, 1, 512, 512) weight of each pixel: 1, up to 3 at eyes, nose and mouth."""
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    bumps = [torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 28**2)) for a, b in EYES_AND_MOUTH]
    return (1 + 2 * torch.stack(bumps).amax(0))[None, None]


def cut(maps: Tensor, corners: Tensor, size: int, cell: int = 1) -> Tensor:
    """Cut from a map of the whole face what lies under each crop."""
    size //= cell
    return torch.cat([maps[..., y : y + size, x : x + size] for x, y in (corners // cell).tolist()])


def initialise(net: LiteRestorer) -> None:
    """Start with signals of even strength at all levels and blocks near the identity; the default start takes hours."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            inner = name.endswith("conv1")
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if inner else "linear")
            nn.init.zeros_(layer.bias)
            if name.endswith("conv2"):
                layer.weight.data *= 0.2
    nn.init.zeros_(net.last.weight)  # the first result is the input


def relative(given: Tensor, truth: Tensor, amount: float) -> Tensor:
    """Weight of each item, from even to (`amount` 1) one over the error of its input.

    With the latter, a good face left alone counts like a bad one mended; to begin with it only slows learning down.
    """
    return (0.03 / (losses.pixel(given, truth) + 0.01)) ** amount


def pixels(result: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """How wrong each item's pixels, edges and colours are."""
    edges = losses.gradient(result, truth, weight)
    return losses.pixel(result, truth, weight) + 0.5 * edges + 0.5 * losses.colour(result, truth)


def train_pixels(
    net: LiteRestorer, mean: nn.Module, faces: data.Faces, out: Path, steps: int, batch: int, peak: float
) -> None:
    """First phase: get every pixel as right as possible."""
    optimizer = torch.optim.AdamW(net.parameters(), peak, betas=(0.9, 0.99), weight_decay=1e-4)
    parts: dict[str, loop.Stateful] = {"net": net, "mean": mean, "optimizer": optimizer}
    checkpoint = out / "restorer-pixels.pt"
    start = loop.resume(checkpoint, parts)
    important = attention().to(net.place.device)
    progress = loop.batches(faces, batch, start, steps, "pixels")
    for step, items in progress:
        given, truth, corners = (part.to(net.place.device) for part in items)
        given = given.contiguous(memory_format=torch.channels_last)
        size = given.shape[-1]
        with torch.autocast(given.device.type, torch.bfloat16):
            result = net(given, cut(net.place, corners, size, DEEPEST))
        result, weight = result.float(), cut(important, corners, size)
        loss = pixels(result, truth, weight)
        late = min(max(step / steps - 0.2, 0.0) / 0.3, 1.0)
        loss = (loss * relative(given, truth, late)).mean()
        loop.descend(loss, optimizer, loop.learning_rate(step, steps, peak), largest=0.5)
        loop.average(mean, net, step)
        progress.show(loss=loss)
        if loop.due(step, steps):
            loop.save(checkpoint, step + 1, parts)


def train_details(
    net: LiteRestorer, mean: nn.Module, faces: data.Faces, out: Path, steps: int, batch: int, peak: float
) -> None:
    """Second phase: as much detail as a real face has, where the pixels leave it open, judged by a discriminator."""
    judge = Judge(net.place.device)
    optimizer = torch.optim.AdamW(net.parameters(), peak, betas=(0.9, 0.99), weight_decay=1e-4)
    parts: dict[str, loop.Stateful] = {"net": net, "mean": mean, "judge": judge, "optimizer": optimizer}
    checkpoint = out / "restorer-details.pt"
    start = loop.resume(checkpoint, parts)
    important = attention().to(net.place.device)
    progress = loop.batches(faces, batch, start, steps, "details")
    for step, items in progress:
        given, truth, corners = (part.to(net.place.device) for part in items)
        rate = loop.learning_rate(step, steps, peak, floor=0.1)
        given = given.contiguous(memory_format=torch.channels_last)
        truth = truth.contiguous(memory_format=torch.channels_last)
        size = given.shape[-1]
        with torch.autocast(given.device.type, torch.bfloat16):
            result = net(given, cut(net.place, corners, size, DEEPEST))
        result, weight = result.float(), cut(important, corners, size)
        near = pixels(result, truth, weight)
        # A face that came in good has nothing to gain from the discriminator, only an identity to lose; on a bad one
        # nothing shows how much detail there was, and what is asked for comes as a grid.
        bad = (losses.pixel(given, truth) / 0.05).clamp(max=1.0)
        amount = (1 - 0.8 * bad) * losses.energy(result, truth)
        look, fooled = judge.opinion(result, truth)
        loss = near * relative(given, truth, 1.0) + DETAIL * amount + LOOK * bad * look + FOOL * bad * fooled
        loop.descend(loss.mean(), optimizer, rate, largest=0.5)
        loop.average(mean, net, step, decay=0.995)
        judge_loss = judge.learn(2 * rate, result, truth)
        progress.show(pixels=near, amount=amount, look=look, fooled=fooled, judge=judge_loss)
        if loop.due(step, steps):
            loop.save(checkpoint, step + 1, parts)


def main() -> None:
    """Read the command line and train."""
    parser = loop.command(__doc__)
    parser.add_argument("--detector", type=Path, required=True, help="the official detection_mobilenet0.25_Final.pth")
    parser.add_argument("--steps", type=int, default=12000, help="of the first phase (%(default)s)")
    parser.add_argument("--detail-steps", type=int, default=900, help="of the second (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="crops a step (%(default)s)")
    args = loop.begin(parser)
    detector = weights.load("retinaface-mobile0.25", args.detector)
    portraits = data.portraits(args.data / "portraits/train", detector, args.out / "alignments.npz")[: -data.HELD_OUT]
    backgrounds = [portrait.image for portrait in portraits]  # public domain, as all the restorer learns from
    net = LiteRestorer().to(args.device, memory_format=torch.channels_last)
    initialise(net)
    sure = loop.averaged(net)
    faces = data.Faces(portraits, backgrounds, 256, 0, args.steps * args.batch, LEAD_IN * args.batch)
    train_pixels(net, sure, faces, args.out, args.steps, args.batch, 8e-4)
    net.load_state_dict(sure.state_dict())
    detailed = loop.averaged(net)
    faces = data.Faces(portraits, backgrounds, 256, 1, args.detail_steps * args.batch)
    train_details(net, detailed, faces, args.out, args.detail_steps, args.batch, 1.5e-4)
    loop.export(weights.blend(detailed, sure, DETAILED), args.out / "lite-restorer.safetensors")


if __name__ == "__main__":
    main()
