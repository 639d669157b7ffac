"""Networks that a server keeps loaded, and the pipelines made of them."""

from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from facemend.errors import OptionError, Remedy, WeightsError
from facemend.loader import AUTO, FOR_BAD_FACES, NONE, Loader, is_path
from facemend.pipeline import Pipeline
from facemend.stages import Restorer, Upscaler
from facemend.stages.assign import Auto
from facemend.stages.batches import LARGEST
from facemend.stages.restore import NetRestorer
from facemend.stages.upscale import LanczosUpscaler, NetUpscaler
from facemend.weights.installed import download_folder, find
from facemend.weights.models import Task, automatic, lookup_for, public_names

LANCZOS = LanczosUpscaler.name  # needs no weights
TASKS: tuple[Task, ...] = ("restorer", "upscaler", "detector", "parser")  # of the models that can be named


class Collection:
    """Stages, each loaded once.

    Args:
        names: of the models to load; none for all that can be asked for. A path is that of a file with the weights of a
            restorer or an upscaler, at most one of each. "auto" stands for these files before all others.
            If codeformer is named, "auto" uses it for faces with too little detail for a likeness.

    Raises:
        OptionError: the names make no sense.
        WeightsError: files are missing; the message names each, where it is published and where to put it. Or a file
            holds other weights.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        loader = Loader()
        named = set(names)
        paths = {name for name in named if is_path(name)}
        held = _complete(named - paths, bool(paths))
        self._own_restorer: Restorer | None = None
        self._own_upscaler: Upscaler | None = None
        self._load_own(loader, paths)
        if self._own_restorer and held.isdisjoint(public_names("detector")):
            raise _no_detector(named)
        self._for_bad_faces = FOR_BAD_FACES if FOR_BAD_FACES in named else None
        self.restorers = {name: loader.restorer(name) for name in public_names("restorer") if name in held}
        self.upscalers = {name: loader.upscaler(name) for name in (*public_names("upscaler"), LANCZOS) if name in held}
        self.detector = loader.detector(next((name for name in public_names("detector") if name in held), NONE))
        self.parser = loader.parser(next((name for name in public_names("parser") if name in held), NONE))
        self.repairer = loader.repairer(None)

    def pipeline(self, restorer: str, upscaler: str, scale: float) -> Pipeline:
        """Combine loaded stages.

        Args:
            restorer: a name, "none", or "auto" for the best that is loaded, face by face. Where none is loaded, "auto"
                is "none".
            upscaler: a name, or "auto" for the best that is loaded.
            scale: of the picture, for which the upscaler is chosen.

        Raises:
            OptionError: a model that is not loaded.
        """
        if restorer not in (AUTO, NONE, *self.restorers):
            raise _not_loaded("restorer", restorer, [AUTO, *self.restorers] if self._auto() else [])
        if upscaler not in (AUTO, *self.upscalers):
            raise _not_loaded("upscaler", upscaler, [AUTO, *self.upscalers])
        return Pipeline(
            detector=self.detector,
            restorer=self._auto() if restorer == AUTO else self.restorers.get(restorer),
            upscaler=self._upscaler(scale) if upscaler == AUTO else self.upscalers[upscaler],
            parser=self.parser,
            repairer=self.repairer,
        )

    def _auto(self) -> Auto | None:
        usual = self._own_restorer or self.restorers.get(_best("restorer", self.restorers, NONE))
        if usual is None:
            return None
        other = self.restorers[self._for_bad_faces] if self._for_bad_faces else None
        return Auto(usual, None if other is usual else other)

    def _upscaler(self, scale: float) -> Upscaler:
        return self._own_upscaler or self.upscalers[_best("upscaler", self.upscalers, LANCZOS, scale)]

    def _load_own(self, loader: Loader, paths: Iterable[str]) -> None:
        """Load the files; raises OptionError where there are two of one task, as a call could not choose one."""
        for path in sorted(paths):
            stage = loader.own(Path(path))
            if isinstance(stage, NetRestorer) and not self._own_restorer:
                self._own_restorer = stage
            elif isinstance(stage, NetUpscaler) and not self._own_upscaler:
                self._own_upscaler = stage
            else:
                allowed = "at most one file of a restorer and one of an upscaler"
                raise OptionError("models", ",".join(sorted(paths)), allowed)

    def warm_up(self) -> None:
        """Run every network twice: on a GPU the first run is slow, and the second records restorers and the parser."""
        blank = np.zeros((512, 512, 3), np.uint8)
        faces = [blank] * (2 * LARGEST - 1)  # batches of every size
        for _ in range(2):
            for restorer in (self._own_restorer, *self.restorers.values()):
                if restorer:
                    restorer(faces)
            for upscaler in (self._own_upscaler, *self.upscalers.values()):
                if upscaler:
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


def _no_detector(names: Iterable[str]) -> OptionError:
    remedy = f"name one too, such as {automatic('detector')[0].public_name}"
    return OptionError.but("models", ",".join(sorted(names)), "restoring faces needs a detector", remedy)


def _complete(names: set[str], files: bool) -> set[str]:
    """The names with those that are always loaded; raises if one is unknown, lacks a detector or is not installed.

    Args:
        names: those asked for; none for all, unless there are files.
        files: whether files of weights are asked for too.
    """
    known = {task: public_names(task) for task in TASKS}
    best = {automatic(task)[0].public_name for task in ("detector", "parser")}
    held = names if names or files else {*known["restorer"], *known["upscaler"], *best}
    if unknown := held.difference({LANCZOS}, *known.values()):
        choices = sorted({LANCZOS}.union(*known.values()))
        allowed = f"names out of {', '.join(choices)}, or paths of files of weights"
        raise OptionError("models", ",".join(sorted(unknown)), allowed)
    if held.intersection(known["restorer"]) and held.isdisjoint(known["detector"]):
        raise _no_detector(held)
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
