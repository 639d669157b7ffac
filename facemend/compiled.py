"""Networks compiled by OpenVINO for the processor they run on: about twice as fast as PyTorch in bfloat16.

OpenVINO (https://github.com/openvinotoolkit/openvino, Apache-2.0) takes a network in its own format, an .xml and a
.bin. Making these from PyTorch's takes seconds, so they are kept on disk; fitting them to the processor and to a size
takes half a second, each time.
"""

import hashlib
import logging
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import openvino
import torch
from filelock import FileLock
from openvino._offline_transformations import apply_moc_transformations
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from torch import Tensor, nn

from facemend import installed
from facemend.records import Floats

log = logging.getLogger(__name__)

KEPT_SIZES = 2  # of the input, for which a network stays compiled: each holds its own copy of the weights
KEY = 16  # hex digits in a file name
ANY = 64  # px, a height and width to try networks with that take any
DEVIATION = 0.1  # relative error from which something is wrong; bfloat16 by itself makes about 0.01

Arguments = dict[str, Tensor | list[Tensor]]  # of a network's `forward`, besides its picture


def compiled(net: nn.Module, kept: Path, side: int | None = None) -> nn.Module:
    """The network as OpenVINO runs it, or the network itself where that computes something else.

    Args:
        net: in float32 on the CPU. `forward` takes (N, 3, H, W) and what `defaults()` names, if there is that method.
        kept: path of the files to keep, without suffix; made if they are not there.
        side: px of the only height and width the network takes, or None for any.
    """
    files = [kept.with_name(f"{kept.name}-{stage}.xml") for stage in _stages(net)]
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_name(f"{kept.name}.lock")):  # of two processes one makes them, the other waits
            if all(file.exists() for file in files):
                try:
                    return Compiled(net, _read(files))
                except RuntimeError as error:  # OpenVINO's
                    log.warning("%s is damaged: %s", kept, " ".join(str(error).split()))
            return _prepared(net, kept, files, side)
    except OSError as error:
        log.warning("PyTorch runs the network, which is slower: %s cannot be written (%s)", kept.parent, error.strerror)
        return net


class Compiled(nn.Module):
    """A network as OpenVINO runs it on the CPU, in bfloat16; it is called as the network itself is.

    A network that names `stages`, methods to run one after the other, has the first one run in float32: it makes
    choices, and a choice is the same or another one.

    Args:
        net: the network.
        models: its stages.
    """

    def __init__(self, net: nn.Module, models: Sequence[openvino.Model]) -> None:
        super().__init__()
        self.net = net
        self._run = [_Stage(model, "f32" if _exact(index, models) else "bf16") for index, model in enumerate(models)]
        self._lock = threading.Lock()

    def forward(self, x: Tensor, **arguments: Any) -> Tensor:
        """As the network's; a batch is computed one by one, which is no slower on a CPU."""
        rest = [value.numpy() for value in _flat(_defaults(self.net) | arguments)]
        with self._lock:
            return torch.cat([self._one(each[None].contiguous().numpy(), rest) for each in x])

    def _one(self, x: Floats, rest: list[Floats]) -> Tensor:
        values = [x]
        for stage in self._run:
            values = stage([*values, *rest] if stage is self._run[-1] else values)
        return torch.from_numpy(values[0].copy())  # the next call writes there


class _Stage:
    """One network of OpenVINO's, compiled for the sizes it meets."""

    def __init__(self, model: openvino.Model, precision: str) -> None:
        self._model = model
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._requests: dict[tuple[tuple[int, ...], ...], openvino.InferRequest] = {}

    def __call__(self, values: list[Floats]) -> list[Floats]:
        sizes = tuple(value.shape for value in values)
        request = self._requests.get(sizes) or self._compile(sizes)
        request.infer(dict(enumerate(values)), share_inputs=True)
        return [request.get_output_tensor(index).data for index in range(len(self._model.outputs))]

    def _compile(self, sizes: tuple[tuple[int, ...], ...]) -> openvino.InferRequest:
        while len(self._requests) >= KEPT_SIZES:
            del self._requests[next(iter(self._requests))]
        self._model.reshape({index: list(size) for index, size in enumerate(sizes)})
        compiled = openvino.Core().compile_model(self._model, "CPU", self._options)
        self._requests[sizes] = compiled.create_infer_request()
        return self._requests[sizes]


def kept_path(name: str, weights: str) -> Path:
    """Where the files of a network are kept.

    Args:
        name: of the model.
        weights: hash of its weights.
    """
    identity = f"{weights} {openvino.__version__} {torch.__version__} {_code()}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:KEY]
    return installed.cache() / "compiled" / f"{name}-{key}"


@cache
def _code() -> str:
    """Hash of the networks' source: another one may make another network of the same weights."""
    files = sorted((Path(__file__).parent / "nets").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in [Path(__file__), *files])).hexdigest()


def _prepared(net: nn.Module, kept: Path, files: Sequence[Path], side: int | None) -> nn.Module:
    """Write the files of all stages; those of other weights or versions of the model are removed."""
    name = kept.name.rpartition("-")[0]
    start = time.perf_counter()
    log.info("preparing %s for this processor; this happens once", name)
    for old in kept.parent.glob(f"{name}-{'?' * KEY}[-.]*"):
        if not old.name.startswith(kept.name):
            old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="part-") as folder:
        parts = [Path(folder) / file.name for file in files]
        for index, (part, model) in enumerate(zip(parts, _converted(net, side), strict=True)):
            openvino.save_model(model, part, compress_to_fp16=not _exact(index, files))
        fast = Compiled(net, _read(parts))
        error = _deviation(net, fast, side)
        if error > DEVIATION:
            log.warning("PyTorch runs %s, which is slower: OpenVINO is %.0f %% off", name, 100 * error)
            return net
        for part, file in zip(parts, files, strict=True):
            part.with_suffix(".bin").replace(file.with_suffix(".bin"))
            part.replace(file)
    log.info("prepared %s in %.0f s", name, time.perf_counter() - start)
    return fast


def _read(files: Sequence[Path]) -> list[openvino.Model]:
    core = openvino.Core()
    return [core.read_model(file) for file in files]


def _deviation(net: nn.Module, fast: nn.Module, side: int | None) -> float:
    """Relative error of the compiled network on noise."""
    x = torch.rand((1, 3, side or ANY, side or ANY), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = net(x)
        return float((fast(x) - wanted).norm() / wanted.norm())


def _stages(net: nn.Module) -> Sequence[str]:
    """The methods to run one after the other."""
    stages: Sequence[str] = getattr(net, "stages", ("forward",))
    return stages


def _defaults(net: nn.Module) -> Arguments:
    """What the last stage takes besides the picture."""
    defaults: Callable[[], Arguments] = getattr(net, "defaults", dict)
    return defaults()


def _exact(index: int, stages: Sequence[object]) -> bool:
    """Whether a stage is computed in float32: the first of several."""
    return index == 0 and len(stages) > 1


def _converted(net: nn.Module, side: int | None) -> Iterator[openvino.Model]:
    """A network's stages in OpenVINO's form."""
    free = torch.export.Dim.STATIC if side else torch.export.Dim.AUTO
    values = [torch.zeros(1, 3, side or ANY, side or ANY)]
    for stage in _stages(net):
        last = stage == _stages(net)[-1]
        defaults = _defaults(net) if last else {}
        part = _Part(net, stage, defaults)
        given = (*values, *_flat(defaults))
        dims = tuple({2: free, 3: free} if value.ndim == 4 else {} for value in given)
        with torch.no_grad(), _quiet():
            program = torch.export.export(part, given, dynamic_shapes=(dims,), strict=False)
            decoder = TorchFXPythonDecoder.from_exported_program(program)
            # What `openvino.convert_model` does, but that reports to its makers.
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
            apply_moc_transformations(model, cf=False, smart_reshape=True)
            yield model
            values = [] if last else list(part(*given))


class _Part(nn.Module):
    """One stage of a network, with all arguments in a row."""

    def __init__(self, net: nn.Module, stage: str, arguments: Arguments) -> None:
        super().__init__()
        self.net, self.stage, self.arguments = net, stage, arguments

    def forward(self, *values: Tensor) -> Any:
        rest = iter(values[len(values) - len(_flat(self.arguments)) :])
        arguments = {
            name: [next(rest) for _ in value] if isinstance(value, list) else next(rest)
            for name, value in self.arguments.items()
        }
        return getattr(self.net, self.stage)(*values[: len(values) - len(_flat(self.arguments))], **arguments)


def _flat(arguments: Arguments) -> list[Tensor]:
    """All tensors in a row."""
    return [torch.as_tensor(x) for value in arguments.values() for x in (value if isinstance(value, list) else [value])]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of PyTorch and OpenVINO about each other's versions and their own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
