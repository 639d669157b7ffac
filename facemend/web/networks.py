"""The networks that the page offers, and those that are loaded."""

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from facemend.errors import OptionError
from facemend.loader import AUTO, WITHOUT, Loader, best, files
from facemend.pipeline import Pipeline
from facemend.stages.restore import takes_fidelity
from facemend.stages.upscale import LanczosUpscaler
from facemend.weights import installed
from facemend.weights.models import MODELS, Model, Task, public_names

LICENCES = {"yes": "free", "no": "non-commercial", "unclear": "licence unclear"}  # by commercial use


Stage = TypeVar("Stage")
Key = tuple[str, tuple[Path | None, ...]]  # a name, and the files of the model and its companion


def offered(task: Task) -> list[dict[str, Any]]:
    """The models with a task, as values that JSON holds.

    Each has a `name`, its `licence` in a word, whether it is `installed`, the `bytes` to download if it is not, and
    whether the option `fidelity` changes what it does.
    """
    return [_offer(model, missing(model)) for model in MODELS.values() if model.task == task]


def _offer(model: Model, absent: list[Model]) -> dict[str, Any]:
    return {
        "name": model.public_name,
        "licence": LICENCES[model.commercial],
        "installed": not absent,
        "bytes": sum(part.size for part in absent),
        "fidelity": model.task == "restorer" and takes_fidelity(pkgutil.resolve_name(model.architecture)),
    }


def missing(model: Model) -> list[Model]:
    """The parts of a model that are not on this machine."""
    return [part for part in model.parts() if installed.find(part.name) is None]


class Networks:
    """Loads networks when they are first needed, and keeps one for each task.

    Only one thread may use it at a time.
    """

    def __init__(self) -> None:
        self._loaded: dict[Task, tuple[Key, Any]] = {}

    def finder(self) -> Pipeline:
        """A pipeline that only finds faces, with the detector of the others."""
        detector = self._stage("detector", _named("detector"), Loader().detector)
        return Pipeline(detector=detector, restorer=None, upscaler=LanczosUpscaler())

    def pipeline(self, restorer: str = AUTO, upscaler: str = AUTO, scale: float = 0, repair: bool = False) -> Pipeline:
        """Combine the networks that `facemend restore` uses for the same options.

        Args:
            restorer: a name, "none", or "auto" for the best that is installed.
            upscaler: a name, "lanczos", or "auto" for the best that is installed.
            scale: of the picture, for which "auto" chooses the upscaler; 0 if it is not known.
            repair: whether a network that repairs is needed.

        Raises:
            OptionError: an unknown name.
            WeightsError: a file is missing or wrong.
        """
        loader = Loader()
        upscaling = _named("upscaler", upscaler, scale)
        return Pipeline(
            detector=self._stage("detector", _named("detector"), loader.detector),
            restorer=self._stage("restorer", _named("restorer", restorer), loader.restorer),
            upscaler=self._stage("upscaler", upscaling, loader.upscaler),
            parser=self._stage("parser", _named("parser"), loader.parser),
            repairer=self._stage("repairer", _named("repairer"), loader.repairer) if repair else None,
        )

    def _stage(self, task: Task, name: str, load: Callable[[str], Stage]) -> Stage:
        key = name, files(task, name)
        loaded, stage = self._loaded.get(task, (None, None))
        if loaded != key:
            self._loaded.pop(task, None)
            stage = None  # frees the memory of the last one before the next is loaded
            stage = load(name)
            self._loaded[task] = (key, stage)
        return cast(Stage, stage)


def _named(task: Task, name: str = AUTO, scale: float = 0) -> str:
    """The name of the model that "auto" stands for; other names as they are.

    Raises OptionError for any that is not a name: the loader would also take the path of a file.
    """
    choices = (AUTO, *public_names(task), WITHOUT[task])
    if name not in choices:
        raise OptionError(task, name, choices)
    return best(task, scale) if name == AUTO else name
