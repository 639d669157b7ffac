"""Networks compiled by OpenVINO for the processor they run on: where PyTorch's bfloat16 is not the fastest there is.

OpenVINO (https://github.com/openvinotoolkit/openvino, Apache-2.0) takes a network in its own format, an .xml and a
.bin. Making these from PyTorch's takes seconds, so they are kept on disk; fitting them to the processor and to a size
of picture takes half a second, each time.
"""

import hashlib
import importlib.metadata
import logging
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock
from torch import Tensor, nn

from facemend import installed

if TYPE_CHECKING:
    import openvino  # elsewhere imported where it is needed, as that takes long

log = logging.getLogger(__name__)

KEPT_SIZES = 2  # of the input, for which a network stays compiled: each holds its own copy of the weights
KEY = 16  # hex digits in a file name
SIDE = 64  # px of the picture a new file is tried with
DEVIATION = 0.1  # relative error from which something is wrong; bfloat16 by itself makes about 0.01


def compiled(net: nn.Module, kept: Path) -> nn.Module:
    """The network as OpenVINO runs it; the network itself where that computes something else, or cannot be kept.

    Args:
        net: an upscaler, (N, 3, H, W) -> (N, 3, H', W'), in float32 on the CPU.
        kept: path of the files to keep, without suffix; made if they are not there.
    """
    file = kept.with_name(f"{kept.name}.xml")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_name(f"{kept.name}.lock")):  # of two processes one makes them, the other waits
            if file.exists():
                try:
                    return Compiled(net, file)
                except RuntimeError as error:  # OpenVINO's
                    log.warning("%s is damaged: %s", kept, _line(error))
            return _made(net, file)
    except OSError as error:
        log.warning("PyTorch runs the network, which is slower: %s cannot be written (%s)", kept.parent, error.strerror)
    except ImportError as error:
        log.warning("PyTorch runs the network, which is slower: OpenVINO does not load (%s)", _line(error))
    return net


def kept_path(name: str, weights: str) -> Path:
    """Where the files of a network are kept.

    Args:
        name: of the model.
        weights: hash of its weights.
    """
    identity = f"{weights} {importlib.metadata.version('openvino')} {torch.__version__} {_code()}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:KEY]
    return installed.cache() / "compiled" / f"{name}-{key}"


@cache
def _code() -> str:
    """Hash of the networks' source: another one may make another network of the same weights."""
    files = sorted((Path(__file__).parent / "nets").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in [Path(__file__), *files])).hexdigest()


class Compiled(nn.Module):
    """A network as OpenVINO runs it on the CPU, in bfloat16; it is called as the network itself is.

    Args:
        net: the upscaler.
        file: the .xml that was made of it, beside its .bin.
    """

    def __init__(self, net: nn.Module, file: Path) -> None:
        import openvino

        super().__init__()
        self.net = net
        self.bytes_per_pixel = net.bytes_per_pixel  # it needs no more than under PyTorch
        self._core = openvino.Core()
        self._model = self._core.read_model(file)
        self._requests: dict[torch.Size, openvino.InferRequest] = {}
        self._lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        """As the network's; a batch is computed one by one, which is no slower on a CPU."""
        with self._lock:
            return torch.cat([self._one(each[None].contiguous()) for each in x])

    def _one(self, x: Tensor) -> Tensor:
        request = self._requests.get(x.shape) or self._compile(x.shape)
        request.infer(x.numpy(), share_inputs=True)
        return torch.from_numpy(request.get_output_tensor().data.copy())  # the next call writes there

    def _compile(self, size: torch.Size) -> "openvino.InferRequest":
        while len(self._requests) >= KEPT_SIZES:
            del self._requests[next(iter(self._requests))]
        self._model.reshape(list(size))
        options = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        network = self._core.compile_model(self._model, "CPU", options)
        self._requests[size] = network.create_infer_request()
        return self._requests[size]


def _made(net: nn.Module, file: Path) -> nn.Module:
    """The network, compiled if that works; those files of the model that other weights or versions left are removed."""
    import openvino

    name = file.stem[: -KEY - 1]
    start = time.perf_counter()
    log.info("preparing %s for this processor; this happens once", name)
    for old in file.parent.glob(f"{name}-{'?' * KEY}.*"):
        if old.stem != file.stem:
            old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="part-") as folder:
        part = Path(folder) / file.name
        try:
            openvino.save_model(_converted(net), part, compress_to_fp16=True)
            deviation = _deviation(net, Compiled(net, part))
        except (ImportError, AttributeError, RuntimeError, TypeError) as error:  # of versions that do not fit together
            log.warning("PyTorch runs %s, which is slower: OpenVINO cannot take it (%s)", name, _line(error))
            return net
        if deviation > DEVIATION:
            log.warning("PyTorch runs %s, which is slower: OpenVINO is %.0f %% off", name, 100 * deviation)
            return net
        part.with_suffix(".bin").replace(file.with_suffix(".bin"))
        part.replace(file)
    log.info("prepared %s in %.0f s", name, time.perf_counter() - start)
    return Compiled(net, file)


def _line(error: Exception) -> str:
    """What went wrong, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _converted(net: nn.Module) -> "openvino.Model":
    """The network in OpenVINO's form, for any height and width."""
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with torch.no_grad(), _quiet():
        free = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        program = torch.export.export(net, (torch.zeros(1, 3, SIDE, SIDE),), dynamic_shapes=(free,), strict=False)
        decoder = TorchFXPythonDecoder.from_exported_program(program)
        # What `openvino.convert_model` does, but that reports to its makers.
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        apply_moc_transformations(model, cf=False, smart_reshape=True)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of PyTorch and OpenVINO about each other's versions and their own insides."""
    before, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers  # logging.warning(), which OpenVINO calls, puts one there


def _deviation(net: nn.Module, fast: nn.Module) -> float:
    """Relative error of the compiled network on noise."""
    x = torch.rand((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = net(x)
        return float((fast(x) - wanted).norm() / wanted.norm())
