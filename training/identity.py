"""A loss on likeness: distances of the descriptors of dlib's face recognition network.

The network is a ResNet with 29 convolutions (Davis King, "High quality face recognition with deep metric learning",
blog.dlib.net, 2017; public domain). Its weights are read from the npm package @vladmandic/face-api 1.7.15 (MIT), which
stores one byte per weight: on 100 faces the descriptors were 0.04 from those of dlib itself, on average. A loss on the
features of such a network: Huang et al. 2017, arXiv:1704.04086.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import loop

SIDE = 150  # px, of the network's input
CENTRE, WIDTH = (257.0, 311.0), 336.0  # px, of the square that dlib cuts from an aligned face; medians of 100 faces
SHIFT, SCALE = 7.0, 0.04  # how much that square varies: standard deviations of its centre in px, and of its width
MEAN = (122.782, 117.001, 104.298)  # subtracted from R, G, B in [0, 255]


class Likeness:
    """The loss: how far the descriptors of faces are from those of the true faces.

    Args:
        folder: as for `Descriptor`.
        device: where the faces are.
    """

    def __init__(self, folder: Path, device: str | torch.device) -> None:
        self.describe = Descriptor(folder).to(device, memory_format=torch.channels_last)

    def __call__(self, step: int, result: Tensor, truth: Tensor) -> Tensor:
        """The squared distances of the descriptors, (N,): good faces, which are alike already, count little.

        Args:
            step: number of this step; the square that is described varies with it.
            result: aligned faces (N, 3, 512, 512) in [-1, 1].
            truth: the true faces, same shape and range.
        """
        sampled = squares(step, len(result)).to(result.device)
        with loop.autocast(result.device):
            found = self.describe(cut(result, sampled)).float()
            with torch.no_grad():
                wanted = self.describe(cut(truth, sampled)).float()
        return (found - wanted).square().sum(1)


def squares(step: int, count: int) -> Tensor:
    """Sampling positions (N, 150, 150, 2), for `grid_sample`, of a square near the face in each image."""
    rng = np.random.default_rng(step)
    scale = WIDTH / 512 * np.exp(rng.normal(0, SCALE, (count, 1)))
    centre = (np.array(CENTRE) + rng.normal(0, SHIFT, (count, 2)) + 0.5) / 256 - 1
    matrices = np.zeros((count, 2, 3))
    matrices[:, (0, 1), (0, 1)], matrices[:, :, 2] = scale, centre
    return functional.affine_grid(torch.from_numpy(matrices).float(), [count, 3, SIDE, SIDE], align_corners=False)


def cut(faces: Tensor, sampled: Tensor) -> Tensor:
    """Cut the squares; faces are halved first, so that no detail is skipped."""
    return functional.grid_sample(functional.avg_pool2d(faces, 2), sampled, align_corners=False)


class Descriptor(nn.Module):
    """The network: takes images (N, 3, 150, 150) RGB in [-1, 1], returns descriptors (N, 128).

    The distance between the descriptors of two pictures of one person is below 0.6, of two persons mostly above.

    Args:
        folder: the package's folder `model`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        state = read(folder)
        names = [name.removesuffix("/conv/filters") for name in state if name.endswith("/conv/filters")]
        self.convolutions = nn.ModuleList(convolution(state, name) for name in names)
        self.register_buffer("last", state["fc"])
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Describe faces."""
        first, *others = self.convolutions
        x = functional.relu(first((x * 127.5 + 127.5 - self.mean) / 256))
        x = functional.max_pool2d(x, 3, stride=2)
        for inner, outer in zip(others[::2], others[1::2], strict=True):
            change = outer(functional.relu(inner(x)))
            kept = functional.avg_pool2d(x, 2) if inner.stride == (2, 2) else x
            x = functional.relu(added(kept, change))
        return x.mean((2, 3)) @ self.last


def added(x: Tensor, y: Tensor) -> Tensor:
    """The sum of two tensors (N, C, H, W) after zeros are appended so that shapes are equal."""
    shape = [max(sizes) for sizes in zip(x.shape, y.shape, strict=True)]
    total = x.new_zeros(shape)
    for z in (x, y):
        channels, height, width = z.shape[1:]
        total[:, :channels, :height, :width] += z
    return total


def convolution(state: dict[str, Tensor], name: str) -> nn.Conv2d:
    """A convolution with the scale and shift that follow it."""
    kernel = state[f"{name}/conv/filters"].permute(3, 2, 0, 1)
    scale, shift = state[f"{name}/scale/weights"], state[f"{name}/scale/biases"]
    outputs, inputs, size, _ = kernel.shape
    halves = size == 7 or ("_down" in name and name.endswith("conv1"))
    layer = nn.Conv2d(inputs, outputs, size, stride=2 if halves else 1, padding=0 if halves else size // 2)
    layer.load_state_dict(
        {"weight": kernel * scale[:, None, None, None], "bias": state[f"{name}/conv/bias"] * scale + shift}
    )
    return layer


def read(folder: Path) -> dict[str, Tensor]:
    """Read the weights: a list of names, shapes and scales beside one file of bytes."""
    (manifest,) = json.loads((folder / "face_recognition_model-weights_manifest.json").read_text())
    stored = (folder / "face_recognition_model.bin").read_bytes()
    state, start = {}, 0
    for entry in manifest["weights"]:
        scaling = entry.get("quantization")
        kind = np.dtype(np.uint8 if scaling else np.float32)
        values = np.frombuffer(stored, kind, int(np.prod(entry["shape"])), start).astype(np.float32)
        start += values.size * kind.itemsize
        if scaling:
            values = values * np.float32(scaling["scale"]) + np.float32(scaling["min"])
        state[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
    return state
