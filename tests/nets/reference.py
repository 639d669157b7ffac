"""Records of the original networks and the comparison with them, for the tests and `python -m bench.parity`.

`tests/data/parity` holds, for each network, the names and shapes of the official checkpoint (`NAME.keys.json`) and up
to 4096 values of each output (`NAME.npz`). They were recorded with the original implementations (gfpgan 1.3.8, basicsr
1.4.2, realesrgan 0.3.0, facexlib 0.3.0, the repositories of CodeFormer and SwinIR) in float32 on a CPU, from the
weights and images of `deterministic.py` with seed 1.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facemend.nets.codeformer import CodeFormer
from facemend.nets.gfpgan import GFPGAN
from facemend.nets.parsenet import ParseNet
from facemend.nets.realesrgan import RRDBNet, SRVGGNetCompact
from facemend.nets.restoreformer import RestoreFormer
from facemend.nets.retinaface import MEAN, RetinaFace
from facemend.nets.swinir import SwinIR
from facemend.weights.models import MODELS
from tests.nets import deterministic

RECORDS = Path(__file__).parents[1] / "data" / "parity"
SEED = 1

Outputs = dict[str, Tensor]


def face() -> Tensor:
    """(1, 3, 512, 512) in [-1, 1]."""
    return deterministic.smooth((1, 3, 512, 512), SEED) * 2 - 1


def background() -> Tensor:
    """(1, 3, 64, 80) in [0, 1]."""
    return deterministic.smooth((1, 3, 64, 80), SEED)


def photo() -> Tensor:
    """(1, 3, 320, 416), 0 to 255 minus the detector's mean."""
    return deterministic.smooth((1, 3, 320, 416), SEED) * 255 - torch.tensor(MEAN).view(3, 1, 1)


def codeformer_outputs(net: nn.Module, x: Tensor) -> Outputs:
    """The output at each recorded fidelity, and the logits."""
    assert isinstance(net, CodeFormer)
    return {f"output_w{w}": net(x, w) for w in (0.0, 0.5, 1.0)} | {"logits": net.logits(x)}


def detector_outputs(net: nn.Module, x: Tensor) -> Outputs:
    """The outputs of the three heads."""
    return dict(zip(("loc", "conf", "landmarks"), net(x), strict=True))


def image_output(net: nn.Module, x: Tensor) -> Outputs:
    """The output of a network that returns an image."""
    return {"output": net(x)}


def mask_output(net: nn.Module, x: Tensor) -> Outputs:
    """The output of ParseNet."""
    return {"mask": net(x)}


@dataclass(frozen=True)
class Case:
    """A network, its input and its outputs, as they were recorded."""

    build: Callable[[], nn.Module]
    image: Callable[[], Tensor]
    outputs: Callable[[nn.Module, Tensor], Outputs] = image_output
    tolerance: float = 1e-4  # the highest relative error of an output


CASES: Mapping[str, Case] = {
    "gfpgan_1.4": Case(GFPGAN, face),
    # A single codebook index other than the original's makes an error far above this tolerance.
    "codeformer": Case(CodeFormer, face, codeformer_outputs, tolerance=1e-3),
    "restoreformer": Case(RestoreFormer, face),
    "parsenet": Case(ParseNet, face, mask_output),
    "retinaface_resnet50": Case(partial(RetinaFace, "resnet50"), photo, detector_outputs),
    "retinaface_mobile0.25": Case(partial(RetinaFace, "mobile0.25"), photo, detector_outputs),
    "realesrgan_x4plus": Case(RRDBNet, background),
    "realesrgan_x2plus": Case(partial(RRDBNet, scale=2), background),
    "realesrgan_x4plus_anime_6b": Case(partial(RRDBNet, num_block=6), background),
    "realesr_general_x4v3": Case(partial(SRVGGNetCompact, num_conv=32), background),
    "realesr_animevideov3": Case(partial(SRVGGNetCompact, num_conv=16), background),
    # The tanh form of GELU, or another epsilon of the layer norms, makes an error of 1e-4.
    "swinir_l_x4": Case(partial(SwinIR, **MODELS["swinir-l-x4"].arguments), background, tolerance=1e-5),
    "swinir_m_x4": Case(SwinIR, background, tolerance=1e-5),
    "swinir_m_x2": Case(partial(SwinIR, scale=2), background, tolerance=1e-5),
}


def checkpoint_shapes(name: str) -> dict[str, tuple[list[int], str]]:
    """Name -> (shape, dtype) of every entry of the official checkpoint that is loaded."""
    entries = json.loads((RECORDS / f"{name}.keys.json").read_text())
    return {key: (shape, dtype) for key, (shape, dtype) in entries.items() if not key.endswith(SwinIR.computed_keys)}


def load(name: str) -> nn.Module:
    """The network with the weights of the record, loaded as an official checkpoint is."""
    with torch.device("meta"):
        net = CASES[name].build()
    net.load_state_dict(deterministic.weights(checkpoint_shapes(name), SEED), strict=True, assign=True)
    return channels_last(net.eval())


def channels_last(net: nn.Module) -> nn.Module:
    """Convert a network to the memory format that the package uses."""
    memory: Any = {"memory_format": torch.channels_last}  # missing from the type stubs
    return net.to(**memory)


def compute(name: str, net: nn.Module) -> Outputs:
    """The outputs of a network for the image of the record."""
    case = CASES[name]
    with torch.inference_mode():
        return case.outputs(net, case.image().contiguous(memory_format=torch.channels_last))


def relative_errors(name: str, outputs: Outputs) -> dict[str, float]:
    """norm(ours - original) / norm(original) over the recorded values, for each recorded output."""
    with np.load(RECORDS / f"{name}.npz") as record:
        recorded = {key.removesuffix("_value") for key in record if key.endswith("_value")}
        if recorded != set(outputs):
            raise ValueError(f"{name}: recorded outputs are {sorted(recorded)}, computed ones {sorted(outputs)}")
        errors = {}
        for output, value in outputs.items():
            shape = tuple(record[f"{output}_shape"])
            if shape != tuple(value.shape):
                raise ValueError(f"{name}: {output} has shape {tuple(value.shape)}, the recorded one {shape}")
            original = record[f"{output}_value"]
            ours = value.reshape(-1).numpy()[record[f"{output}_index"]]
            errors[output] = float(np.linalg.norm(ours - original) / np.linalg.norm(original))
    return errors
