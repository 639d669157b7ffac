"""Names of models, or paths of weight files, to stages."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from facemend.errors import OptionError, Remedy, WeightsError, listed
from facemend.machine.device import Device, choose
from facemend.stages import Detector, Parser, Repairer, Restorer, Upscaler, diffusion
from facemend.stages.assign import Auto
from facemend.stages.detect import RetinaFaceDetector
from facemend.stages.diffusion import Diffusion
from facemend.stages.parse import ParseNetParser
from facemend.stages.repair import NetRepairer
from facemend.stages.restore import FunctionRestorer, NetRestorer, RestorerFunction
from facemend.stages.upscale import FunctionUpscaler, LanczosUpscaler, NetUpscaler, UpscalerFunction
from facemend.weights import foreign, hub
from facemend.weights.checkpoint import SUFFIXES, filled, identify, load, read
from facemend.weights.installed import find
from facemend.weights.models import Model, Task, automatic, lookup, lookup_for, public_names

log = logging.getLogger(__name__)

AUTO = "auto"  # the choice of the best model at hand
NONE = "none"  # the choice to go without a stage
WITHOUT: Mapping[Task, str] = {  # the choice of each task that needs no file
    "restorer": NONE,
    "upscaler": LanczosUpscaler.name,
    "detector": NONE,
    "parser": NONE,
    "repairer": NONE,
}
FOR_BAD_FACES = "codeformer"  # repairs worse damage than the others, but changes a face; not for commercial use

Weights = Mapping[str, str | Path]
Tensors = Mapping[str, Tensor]
Given = TypeVar("Given")


def best(task: Task, scale: float = 0) -> str:
    """The name that "auto" stands for: of the preferred model that is installed, or the choice that needs no file.

    Args:
        task: what it is for.
        scale: of the picture; see `weights.models.automatic`.
    """
    return next((model.public_name for model in automatic(task, scale) if find(model.name)), WITHOUT[task])


def files(task: Task, choice: str) -> tuple[Path | None, ...]:
    """The files of a model and its companion, None for each that is not installed; () for a choice without a model.

    What `Loader` loads for the choice depends on nothing else.
    """
    return tuple(find(part.name) for part in lookup_for(task, choice).parts()) if choice in public_names(task) else ()


class Loader:
    """Loads stages, and remembers which of the caller's own files it used.

    `Pipeline.load` makes the stages of one pipeline. A server that keeps several restorers and upscalers loads each
    stage once and combines them with the constructor of `Pipeline`.

    A stage is asked for by

    - None or "auto": the one of `weights` with that task, else the preferred one that is installed;
    - the name of a model, see `facemend.weights.MODELS`;
    - the path of a file whose parameters fit the network of a model with that task; an upscaler may be of another size,
      or of any architecture that spandrel knows, where that is installed.

    The arguments are those of `Pipeline.load`.
    """

    def __init__(self, device: str = "auto", precision: str = "auto", weights: Weights | None = None) -> None:
        weights = {} if weights is None else weights
        if not isinstance(weights, Mapping) or not all(isinstance(path, str | Path) for path in weights.values()):
            raise OptionError("weights", weights, "a dictionary of paths by model name")
        self._files = {name: Path(path) for name, path in weights.items()}
        self._device = device
        self._precision = precision
        choose(device, precision, "fp32")  # a mistake is an error even where no network is loaded
        self._used: set[str] = set()

    def detector(self, wanted: str | Path | None) -> Detector | None:
        """Load a detector; "none" is none."""
        return self._stage("detector", wanted, RetinaFaceDetector)

    def restorer(self, wanted: str | Path | RestorerFunction | None) -> Restorer | None:
        """Load a restorer, or wrap a function; "none" is none."""
        if callable(wanted):
            return FunctionRestorer(wanted)
        found = self._find("restorer", wanted)
        if found is None:
            return None
        name, model, tensors = found
        return NetRestorer(name, *self._net(model, tensors), model.face_size)

    def auto(self, allow_noncommercial: bool = False) -> Auto | None:
        """Load the restorers of which each face gets one; None where none is installed.

        Args:
            allow_noncommercial: whether CodeFormer may be among them, where it is installed.
        """
        usual = self.restorer(None)
        if usual is None:
            return None
        if not allow_noncommercial:
            return Auto(usual)
        if not self._installed(lookup(FOR_BAD_FACES)):
            log.warning("%s is not installed, so bad faces get %s too", FOR_BAD_FACES, usual.name)
            return Auto(usual)
        return Auto(usual, self.restorer(FOR_BAD_FACES))

    def upscaler(self, wanted: str | Path | UpscalerFunction | None, scale: float = 0) -> Upscaler:
        """Load an upscaler, or wrap a function; None or "auto" is "lanczos" where no network is installed.

        Args:
            wanted: as for every stage, or a function.
            scale: of the pictures; see `weights.models.automatic`.
        """
        if callable(wanted):
            return FunctionUpscaler(wanted)
        if wanted is not None and is_path(wanted):
            return self._own_upscaler(Path(wanted), read(Path(wanted)))
        found = self._find("upscaler", wanted, scale)
        if found is None:
            return LanczosUpscaler()
        name, model, _ = found
        assert model.tiling is not None  # for the type checker: every upscaler has one
        return NetUpscaler(name, *self._net(model), model.tiling, companion=self._companion(model))

    def diffusion(self, base: str | Path | None = None, control: str | Path | None = None) -> Diffusion:
        """Load the networks of the upscaler `creative`.

        Args:
            base: "realistic-vision-v5.1", ..., or a .safetensors file or a folder; None for the one that is installed.
            control: "sd15-tile", or a .safetensors file or a folder; None for the one that is installed.

        Raises:
            OptionError: an unknown name.
            WeightsError: the extra `creative` or a file is missing, or a file is wrong.
        """
        diffusion.check_extra()
        return diffusion.load(hub.locate(base, control), choose(self._device, self._precision, "fp16"))

    def own(self, path: Path) -> NetRestorer | NetUpscaler:
        """Load a restorer from a file of weights, or an upscaler if the file holds no restorer's."""
        tensors = read(path)
        model = identify(tensors, "restorer")
        if model:
            return NetRestorer(path.stem, *self._net(model, tensors), model.face_size)
        return self._own_upscaler(path, tensors)

    def parser(self, wanted: str | Path | None) -> Parser | None:
        """Load a parser; "none" is none."""
        return self._stage("parser", wanted, ParseNetParser)

    def repairer(self, wanted: str | Path | None) -> Repairer | None:
        """Load a repairer; "none" is none."""
        found = self._find("repairer", wanted)
        if found is None:
            return None
        name, model, tensors = found
        assert model.tiling is not None  # for the type checker: every repairer has one
        return NetRepairer(name, *self._net(model, tensors), model.tiling)

    def check_all_used(self) -> None:
        """Raise OptionError if a file was given for a model that was not loaded."""
        if unused := sorted(self._files.keys() - self._used):
            remedies: list[str | Remedy] = ["name the model too", "leave its file out"]
            if FOR_BAD_FACES in unused:
                remedies.append(Remedy(f"let {AUTO} use it with {{}}", "allow_noncommercial"))
            raise OptionError("weights", ", ".join(unused), "for models that are used", *remedies)

    def _stage(
        self, task: Task, wanted: str | Path | None, make: Callable[[str, nn.Module, Device], Given]
    ) -> Given | None:
        found = self._find(task, wanted)
        if found is None:
            return None
        name, model, tensors = found
        return make(name, *self._net(model, tensors))

    def _find(
        self, task: Task, wanted: str | Path | None, scale: float = 0
    ) -> tuple[str, Model, Tensors | None] | None:
        """Find what is asked for: the name to show, the model, and the tensors if it is a path; None to go without."""
        if wanted is None or wanted == AUTO:
            given = [lookup(name) for name in self._files if name != FOR_BAD_FACES]  # whose licence `auto` asks for
            own = [model for model in given if model.task == task]
            own.sort(key=lambda model: not model.automatic)  # as without files of the caller's
            models = filter(self._installed, (*own, *automatic(task, scale)))
            return next(((model.public_name, model, None) for model in models), None)
        if is_path(wanted):
            tensors = read(Path(wanted))
            model = identify(tensors, task)
            if model is None:
                problem = f"{wanted} does not hold the weights of any {task} that facemend knows"
                raise WeightsError(problem, "give a file of a model that 'facemend models' lists")
            return Path(wanted).stem, model, tensors
        if wanted not in (choices := (AUTO, *public_names(task), WITHOUT[task])):
            raise OptionError(task, wanted, (*choices, f"or a file that ends in {listed(SUFFIXES)}"))
        if wanted == WITHOUT[task]:
            return None
        model = lookup_for(task, str(wanted))
        return model.public_name, model, None

    def _own_upscaler(self, path: Path, tensors: Tensors) -> NetUpscaler:
        model = identify(tensors, "upscaler")
        if model and model.tiling:
            return NetUpscaler(path.stem, *self._net(model, tensors), model.tiling)
        net, tiling, precision = foreign.build(path, tensors)
        return NetUpscaler(path.stem, net, choose(self._device, self._precision, precision), tiling)

    def _companion(self, model: Model) -> nn.Module | None:
        if not model.companion:
            return None
        companion = lookup(model.companion)
        if self._installed(companion):
            return self._net(companion)[0]
        log.warning("%s is not installed, so the option denoise has no effect", companion.name)
        return None

    def _installed(self, model: Model) -> bool:
        return model.name in self._files or find(model.name) is not None

    def _net(self, model: Model, tensors: Tensors | None = None) -> tuple[nn.Module, Device]:
        device = choose(self._device, self._precision, model.safe_precision)
        if tensors:
            return filled(model, tensors), device
        self._used.add(model.name)
        return load(model, self._files.get(model.name)), device


def is_path(wanted: str | Path) -> bool:
    """Whether a path of a weights file is asked for, and not a model's name."""
    return isinstance(wanted, Path) or (
        isinstance(wanted, str) and (os.sep in wanted or Path(wanted).suffix.lower() in SUFFIXES)
    )
