"""Upscalers of other architectures, which spandrel builds: https://github.com/chaiNNer-org/spandrel (MIT).

spandrel imports torchvision, so it is the extra `spandrel`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from facemend.errors import WeightsError
from facemend.extras import install_remedy
from facemend.records import Tiling
from facemend.weights.models import Precision

log = logging.getLogger(__name__)

BYTES_PER_PIXEL = 100_000  # of the input; more than the networks that were measured need
PURPOSES = ("SR", "Restoration")  # of networks that take a whole picture; the others are for faces and inpainting
CHANNELS = ((3, 3), (1, 1))  # of the input and the output


class Foreign(NamedTuple):
    """An upscaler that spandrel has built.

    Attributes:
        net: (1, 3, H, W) RGB in [0, 1] -> (1, 3, H * scale, W * scale), in float32 on the CPU.
        tiling: its scale, and how its input is divided into tiles.
        safe_precision: the lowest precision that it is safe in.
    """

    net: nn.Module
    tiling: Tiling
    safe_precision: Precision


class _Described(nn.Module):
    """A network as spandrel describes it: its call pads the input and clamps the output."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.net = descriptor.model
        self._descriptor = descriptor

    def forward(self, x: Tensor) -> Tensor:
        if self._descriptor.input_channels == 1:
            return torch.cat([self._descriptor(channel) for channel in torch.split(x, 1, 1)], 1)
        out: Tensor = self._descriptor(x)
        return out


def build(path: Path, tensors: Mapping[str, Tensor]) -> Foreign:
    """Build the network that a checkpoint is of.

    Args:
        path: the file, for messages.
        tensors: its tensors by name.

    Raises:
        WeightsError: spandrel is not installed or does not work, or the file is of no network that enlarges pictures.
    """
    spandrel = _spandrel(path)
    try:
        state = spandrel.canonicalize_state_dict(dict(tensors))
        found = spandrel.ModelLoader("cpu").load_from_state_dict(state)
    except Exception as error:  # a file of another network may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(f"{path} does not hold the weights of an upscaler that spandrel knows ({reason})") from error
    if getattr(found, "purpose", "") not in PURPOSES or (found.input_channels, found.output_channels) not in CHANNELS:
        kind = f"{found.input_channels} to {found.output_channels} channels, purpose {found.purpose}"
        raise WeightsError(f"{path} holds a network that does not enlarge pictures ({kind})")
    if found.tiling != spandrel.ModelTiling.SUPPORTED:
        log.warning("%s is not made for tiles; a large picture may have seams", path.stem)
    found.model.eval().requires_grad_(False)
    precision: Precision = "fp32"
    if found.supports_bfloat16:
        precision = "fp16" if found.supports_half else "bf16"
    return Foreign(_Described(found), Tiling(found.scale, 1, BYTES_PER_PIXEL), precision)


def _spandrel(path: Path) -> ModuleType:
    try:
        import spandrel
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{path} does not hold the weights of any upscaler that facemend knows without spandrel",
            "give a file of a model that 'facemend models' lists",
            install_remedy("spandrel"),
        ) from error
    except Exception as error:  # torchvision raises a RuntimeError where its version does not fit that of torch
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"spandrel, which {path} needs, cannot be imported ({type(error).__name__}: {reason})",
            "install the torchvision of this torch",
        ) from error
    module: ModuleType = spandrel
    return module
