"""Networks of `bench.originals` run by ONNX Runtime in float32, as facefusion and other programs do.

CodeFormer is missing because the exporter cannot trace how its code reads tensor sizes.
"""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime
import torch

from bench.originals import NETS, loaded

OPSET = 17


class Called(torch.nn.Module):
    """A network with its additional arguments."""

    def __init__(self, net: torch.nn.Module, arguments: dict[str, object]) -> None:
        super().__init__()
        self.net, self.arguments = net, arguments

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return only the picture; some networks return a tuple."""
        out = self.net(x, **self.arguments)
        return out[0] if isinstance(out, tuple) else out


def network(folder: Path, work: str) -> Callable[[], object]:
    """Return a function that runs a network once."""
    file = folder / f"{work}.onnx"
    net, x = loaded(folder, work)
    if not file.exists():
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(Called(net, NETS[work][3]), x, str(file), opset_version=OPSET, dynamo=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    values = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, values)


WORKS = {work: partial(network, work=work) for work in ("gfpgan", "x4plus", "general")}
