"""What all trainers share: the training loop with its checkpoints, the export of weights, the command line."""

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

from facemend.machine.device import choose
from facemend.nets.unet import UNet

SAVED_EVERY = 200  # steps
SHOWN_EVERY = 20  # steps


class Stateful(Protocol):
    """An object whose state can be saved and loaded."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...  # noqa: D102


class Phase:
    """One phase of training: a network, its optimizer, the running average of its weights, and a checkpoint.

    If the checkpoint exists, the phase continues from it.

    Args:
        net: the network to train.
        checkpoint: the file to save to, every `SAVED_EVERY` steps and at the end.
        steps: number of steps of the whole phase.
        peak: the highest learning rate.
        floor: the last learning rate, as a fraction of the highest.
        betas: AdamW's.
        max_norm: the norm to which gradients are clipped.
        decay: decay of the running average.
        adversary: a discriminator trained in the same loop, to be saved in the checkpoint.
        export_to: the file to write the averaged weights to whenever a checkpoint is saved.

    Attributes:
        averaged: a copy of the network with the running average of its weights.
        step: number of steps done.
    """

    def __init__(
        self,
        net: nn.Module,
        checkpoint: Path,
        steps: int,
        peak: float,
        *,
        floor: float = 0.02,
        betas: tuple[float, float] = (0.9, 0.99),
        max_norm: float = 0.5,
        decay: float = 0.998,
        adversary: Stateful | None = None,
        export_to: Path | None = None,
    ) -> None:
        self.net, self.checkpoint, self.steps, self.peak = net, checkpoint, steps, peak
        self.floor, self.max_norm, self.decay, self.export_to = floor, max_norm, decay, export_to
        self.averaged = copy.deepcopy(net).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(net.parameters(), betas=betas, weight_decay=1e-4)
        self.parts: dict[str, Stateful] = {"net": net, "mean": self.averaged, "optimizer": self.optimizer}
        if adversary is not None:
            self.parts["judge"] = adversary  # the name in existing checkpoints
        self.step = resume(checkpoint, self.parts)
        self.shown = 0  # steps whose losses were shown
        self.losses: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.net.parameters()).device

    @property
    def progress(self) -> float:
        """The fraction of the steps that is done, in [0, 1]."""
        return self.step / self.steps

    @property
    def rate(self) -> float:
        """The learning rate of this step."""
        return learning_rate(self.step, self.steps, self.peak, floor=self.floor)

    def batches(
        self, dataset: Dataset[Any], batch: int | None, workers: int = 0, echoes: int = 1
    ) -> Iterator[list[Tensor]]:
        """Iterate over the batches of the remaining steps; a step ends when the next batch is asked for.

        Args:
            dataset: its item i must depend on i alone, so that a resumed run gets the same items.
            batch: items in a batch, or None if each item is a batch already.
            workers: processes that load items.
            echoes: how often each item is used, where a GPU trains faster than items are made (data echoing: Choi et
                al., 2019, arXiv:1907.05550). The items of `echoes` batches are loaded together, and shuffled for each
                use; a resumed run uses some items once more. Ignored if `batch` is None.
        """
        # The items that are loaded together, and the number of steps that use them.
        loaded, uses = (1, 1) if batch is None else (batch * echoes, echoes**2)
        items = Subset(dataset, range(self.step // uses * loaded, math.ceil(self.steps / uses) * loaded))
        size = None if batch is None else loaded
        loader = DataLoader(items, batch_size=size, num_workers=workers, pin_memory=self.device.type == "cuda")
        title = self.checkpoint.stem
        with tqdm(initial=self.step, total=self.steps, desc=title, mininterval=20) as self.bar:
            for tensors in loader:
                together = [self._move(tensor) for tensor in tensors]
                for chosen in [together] if batch is None or echoes == 1 else echoed(together, batch, echoes):
                    if self.step == self.steps:
                        return
                    yield chosen
                    self._end_step()

    def _end_step(self) -> None:
        """Count the step, and save every `SAVED_EVERY` steps and at the end."""
        self.step += 1
        self.bar.update()
        if self.step % SAVED_EVERY == 0 or self.step == self.steps:
            save(self.checkpoint, self.step, self.parts)
            if self.export_to is not None:
                export(self.averaged, self.export_to)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the network with `autocast`; the result is float32."""
        with autocast(self.device):
            result: Tensor = self.net(*inputs)
        return result.float()

    def descend(self, loss: Tensor) -> None:
        """Update the network to reduce the mean of `loss`, then update the running average of its weights."""
        descend(loss.mean(), self.optimizer, self.rate, self.max_norm)
        self._update_average()

    def show(self, **losses: Tensor) -> None:
        """Show the running means of these losses beside the progress bar."""
        self.shown += 1
        for name, loss in losses.items():
            value = loss.detach().mean()
            self.losses[name] = self.losses.get(name, value).lerp(value, 1 / min(self.shown, 100))
        if self.shown % SHOWN_EVERY == 1:  # reading the values waits for a GPU
            self.bar.set_postfix({name: f"{float(mean):.4f}" for name, mean in self.losses.items()}, refresh=False)

    def _move(self, tensor: Tensor) -> Tensor:
        """To the network's device; images become channels last in memory."""
        tensor = tensor.to(self.device, non_blocking=True)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.decay, (self.step + 1) / (self.step + 10))  # a shorter average in the first steps
        for a, b in zip(self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - decay)
            else:
                a.copy_(b)


def autocast(device: torch.device) -> torch.autocast:
    """A context in which networks run in bfloat16, on hardware that has instructions for it."""
    return torch.autocast(
        device.type, torch.bfloat16, enabled=choose(str(device), "auto", "bf16").dtype == torch.bfloat16
    )


def echoed(tensors: list[Tensor], batch: int, echoes: int) -> Iterator[list[Tensor]]:
    """Batches of items that are used `echoes` times, in another order each time."""
    for _ in range(echoes):
        for chosen in torch.randperm(len(tensors[0]), device=tensors[0].device).split(batch):
            yield [tensor[chosen] for tensor in tensors]


def initialise(net: UNet) -> None:
    """Initialise the weights: signals keep their strength, and each block starts near the identity.

    With PyTorch's default initialisation training takes hours longer.
    """
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            inner = name.endswith("conv1")
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if inner else "linear")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            if name.endswith("conv2"):
                layer.weight.data *= 0.2
            if name.startswith("from_noise"):
                layer.weight.data *= 0.1  # less than the features that the noise is added to
    nn.init.zeros_(net.last.weight)  # at first the output equals the input


def learning_rate(step: int, steps: int, peak: float, warm_up: int = 100, floor: float = 0.02) -> float:
    """Linear warm-up, then a cosine down to `floor` times `peak`."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(steps - warm_up, 1)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, rate: float, max_norm: float) -> None:
    """One step of the optimizer at this learning rate, with gradients clipped to a norm of `max_norm`."""
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
        nn.utils.clip_grad_norm_(group["params"], max_norm)
    optimizer.step()
    optimizer.zero_grad()


def save(path: Path, step: int, parts: dict[str, Stateful]) -> None:
    """Write a checkpoint. If the run is killed while writing, the previous checkpoint remains."""
    temporary = path.with_suffix(".part")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, temporary)
    temporary.replace(path)


def resume(path: Path, parts: dict[str, Stateful]) -> int:
    """Load a checkpoint if it exists; returns the number of steps done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def export(net: nn.Module, path: Path) -> None:
    """Write the weights as float16 safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    path.chmod(0o644)  # safetensors makes files that only the owner can read


def command(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all trainers have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints; a run continues from them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--threads", type=int, default=1, help="on a CPU; two runs side by side are faster than one with two threads"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make the crops; 0: this one (default: %(default)s)"
    )
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, make the output folder, set the number of threads and the random seed."""
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True  # the shapes of the batches do not change
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    return args
