"""What every training run here shares: schedule, averaged weights, checkpoints to resume from, batches, export."""

import argparse
import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

SAVED_EVERY = 200  # steps


class Stateful(Protocol):
    """Anything with a state to save."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...  # noqa: D102


def learning_rate(step: int, steps: int, peak: float, warm_up: int = 100, floor: float = 0.02) -> float:
    """Linear warm-up, then a cosine down to `floor` of the peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    turn = (step - warm_up) / max(steps - warm_up, 1)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(turn, 1.0))))


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, rate: float, largest: float) -> None:
    """One step of the optimizer at this learning rate, with the gradient's norm cut to `largest`."""
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
        nn.utils.clip_grad_norm_(group["params"], largest)
    optimizer.step()
    optimizer.zero_grad()


class Meter:
    """A progress bar over numbered batches, with running means of what they cost."""

    def __init__(self, batches: Iterator[Any], start: int, steps: int, title: str) -> None:
        self.bar = tqdm(batches, initial=start, total=steps, desc=title, mininterval=20)
        self.start, self.seen, self.means = start, 0, dict[str, float]()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return enumerate(self.bar, self.start)

    def show(self, **losses: Tensor) -> None:
        """Add the values of one step."""
        self.seen += 1
        for name, value in losses.items():
            mean = self.means.get(name, 0.0)
            self.means[name] = mean + (float(value.detach().mean()) - mean) / min(self.seen, 100)
        self.bar.set_postfix({name: f"{mean:.4f}" for name, mean in self.means.items()}, refresh=False)


def averaged(net: nn.Module) -> nn.Module:
    """A copy of `net` to hold the running average of its weights."""
    return copy.deepcopy(net).requires_grad_(False).eval()


@torch.no_grad()
def average(mean: nn.Module, net: nn.Module, step: int, decay: float = 0.998) -> None:
    """Move the running average towards `net`; fast in the first steps."""
    decay = min(decay, (step + 1) / (step + 10))
    for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - decay)
        else:
            a.copy_(b)


def due(step: int, steps: int) -> bool:
    """Whether to save after this step of so many."""
    return (step + 1) % SAVED_EVERY == 0 or step + 1 == steps


def save(path: Path, step: int, parts: dict[str, Stateful]) -> None:
    """Write a checkpoint; a run killed half-way leaves the earlier one in place."""
    temporary = path.with_suffix(".part")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, temporary)
    temporary.replace(path)


def resume(path: Path, parts: dict[str, Stateful]) -> int:
    """Load a checkpoint where there is one; returns the step to go on from."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def batches(dataset: Dataset[Any], batch: int | None, start: int, steps: int, title: str, workers: int = 0) -> Meter:
    """Batches `start` to `steps` of a dataset whose item i depends on i alone: a resumed run sees what it would have.

    With `batch` None, the items are batches already.
    """
    todo = Subset(dataset, range(start * (batch or 1), steps * (batch or 1)))
    return Meter(iter(DataLoader(todo, batch_size=batch, num_workers=workers)), start, steps, title)


def export(net: nn.Module, path: Path) -> None:
    """Write the weights as float16 safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    path.chmod(0o644)  # safetensors writes files only their owner can read


def command(about: str | None) -> argparse.ArgumentParser:
    """The options every trainer has."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints; a run goes on from them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--threads", type=int, default=1, help="on a CPU; two runs side by side beat one of two threads"
    )
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and set what every run starts from: folder, threads, seed."""
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    return args
