"""The networks of `bench.originals` as ONNX Runtime runs them in float32, which is what facefusion and others use."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime
import torch

from bench.originals import NETS, loaded

OPSET = 17


def network(folder: Path, work: str) -> Callable[[], object]:
    """One network, once."""
    file = folder / f"{work}.onnx"
    net, x = loaded(folder, work)
    arguments = NETS[work][3]
    if not file.exists():
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            given = (x, *arguments.values()) if work == "codeformer" else (x,)
            net.forward = partial(net.forward, **arguments) if work == "gfpgan" else net.forward
            torch.onnx.export(net, given, str(file), opset_version=OPSET, dynamo=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    values = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, values)


WORKS = {work: partial(network, work=work) for work in ("gfpgan", "codeformer", "x4plus", "general")}
