"""Weights and images that depend only on names, shapes and a seed, so they need not be stored.

The records in `tests/data/parity` were computed from exactly these weights and images.
"""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


def weights(shapes: Mapping[str, tuple[list[int], str]], seed: int) -> dict[str, Tensor]:
    """A state dict of random numbers, where the name of an entry is a part of its seed; integers are zero.

    Args:
        shapes: name -> (shape, dtype) of each entry.
        seed: the other part of the seed.
    """
    return {
        name: torch.from_numpy(_draw(name, tuple(shape), seed))
        if dtype == "float32"
        else torch.zeros(shape, dtype=getattr(torch, dtype))
        for name, (shape, dtype) in shapes.items()
    }


def _draw(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.PCG64((zlib.crc32(name.encode()) << 8) + seed))
    normal: NDArray[np.float32] = generator.standard_normal(shape, dtype=np.float32)
    leaf = name.rpartition(".")[2]
    scale, offset = 0.1, 0.0
    if leaf == "running_var":
        normal, offset = np.abs(normal), 1.0
    elif leaf == "running_mean":
        scale = 0.05
    elif len(shape) >= 2:  # so that activations keep their size from layer to layer
        scale = float(np.sqrt(1.0 / np.prod(shape[1:])))
    elif leaf.endswith("bias"):
        scale = 0.05
    elif leaf == "weight":  # of a norm
        scale, offset = 0.05, 1.0
    drawn: NDArray[np.float32] = np.float32(offset) + np.float32(scale) * normal
    return drawn


def smooth(shape: tuple[int, int, int, int], seed: int) -> Tensor:
    """Smooth random images in [0, 1]: (N, C, H, W), H and W multiples of 16."""
    batch, channels, height, width = shape
    generator = np.random.Generator(np.random.PCG64(seed))
    coarse = generator.random((batch, channels, height // 16, width // 16), dtype=np.float32)
    return interpolate(torch.from_numpy(coarse), size=(height, width), mode="bilinear", align_corners=False)
