"""Networks that a server keeps loaded, and the pipelines made of them."""

from collections.abc import Container, Iterable

import numpy as np

from facemend.errors import OptionError, Remedy, WeightsError
from facemend.loader import NONE, Loader
from facemend.pipeline import Pipeline
from facemend.stages.batches import LARGEST
from facemend.stages.upscale import LanczosUpscaler
from facemend.weights.installed import download_folder, find
from facemend.weights.models import Task, automatic, lookup_for, public_names

AUTO = "auto"  # the choice of the best model that is loaded
LANCZOS = LanczosUpscaler.name  # needs no weights
TASKS: tuple[Task, ...] = ("restorer", "upscaler", "detector", "parser")  # of the models that can be named


class Collection:
    """Stages, each loaded once.

    Args:
        names: of the models to load; none for all that can be asked for.

    Raises:
        OptionError: the names make no sense.
        WeightsError: files are missing; the message names each, where it is published and where to put it.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        held = _complete(set(names))
        loader = Loader()
        self.restorers = {name: loader.restorer(name) for name in public_names("restorer") if name in held}
        self.upscalers = {name: loader.upscaler(name) for name in (*public_names("upscaler"), LANCZOS) if name in held}
        self.detector = loader.detector(next((name for name in public_names("detector") if name in held), NONE))
        self.parser = loader.parser(next((name for name in public_names("parser") if name in held), NONE))
        self.repairer = loader.repairer(None)

    def pipeline(self, restorer: str, upscaler: str, scale: float) -> Pipeline:
        """Combine loaded stages.

        Args:
            restorer: a name, "none", or "auto" for the best that is loaded. Where none is loaded, "auto" is "none".
            upscaler: a name, or "auto" for the best that is loaded.
            scale: of the picture, for which the upscaler is chosen.

        Raises:
            OptionError: a model that is not loaded.
        """
        if restorer == AUTO:
            restorer = _best("restorer", self.restorers, NONE)
        if upscaler == AUTO:
            upscaler = _best("upscaler", self.upscalers, LANCZOS, scale)
        if restorer not in (NONE, *self.restorers):
            raise _not_loaded("restorer", restorer, self.restorers)
        if upscaler not in self.upscalers:
            raise _not_loaded("upscaler", upscaler, self.upscalers)
        return Pipeline(
            detector=self.detector,
            restorer=self.restorers.get(restorer),
            upscaler=self.upscalers[upscaler],
            parser=self.parser,
            repairer=self.repairer,
        )

    def warm_up(self) -> None:
        """Run every network twice: on a GPU the first run is slow, and the second records restorers and the parser."""
        blank = np.zeros((512, 512, 3), np.uint8)
        faces = [blank] * (2 * LARGEST - 1)  # batches of every size
        for _ in range(2):
            for restorer in self.restorers.values():
                if restorer:
                    restorer(faces)
            for upscaler in self.upscalers.values():
                upscaler(blank, (1024, 1024))
            if self.parser:
                list(self.parser(faces))
            if self.detector:
                self.detector(blank)
            if self.repairer:
                self.repairer(blank)


def _best(task: Task, loaded: Container[str], otherwise: str, scale: float = 0) -> str:
    """The preferred name of those loaded; one that is not automatic only where no other is loaded."""
    preferred = (*(model.public_name for model in automatic(task, scale)), *public_names(task))
    return next((name for name in preferred if name in loaded), otherwise)


def _not_loaded(option: str, name: str, loaded: Iterable[str]) -> OptionError:
    return OptionError(option, name, f"one this server has: {', '.join(loaded) or 'it has none'}")


def _complete(names: set[str]) -> set[str]:
    """The names with those that are always loaded; raises if one is unknown, lacks a detector or is not installed."""
    known = {task: public_names(task) for task in TASKS}
    best = {automatic(task)[0].public_name for task in ("detector", "parser")}
    held = names or {*known["restorer"], *known["upscaler"], *best}
    if unknown := held.difference({LANCZOS}, *known.values()):
        choices = sorted({LANCZOS}.union(*known.values()))
        raise OptionError("models", ",".join(sorted(unknown)), f"names out of {', '.join(choices)}")
    if held.intersection(known["restorer"]) and held.isdisjoint(known["detector"]):
        needed = f"with a detector too, such as {automatic('detector')[0].public_name}"
        raise OptionError("models", ",".join(sorted(held)), needed)
    models = [lookup_for(task, name) for task in TASKS for name in known[task] if name in held]
    parts = {part.name: part for model in models for part in model.parts()}
    if missing := [part for part in parts.values() if find(part.name) is None]:
        lines = (f"{part.file} (from {next(iter(part.urls), 'this project')})" for part in missing)
        raise WeightsError(
            f"weights are missing: {', '.join(lines)}",
            f"run 'facemend download {' '.join(part.name for part in missing)}'",
            f"put them into {download_folder()}",
            Remedy("name other models in {} (lite needs no download)", "models"),
        )
    return held | {LANCZOS}
