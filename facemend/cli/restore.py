"""`facemend restore`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from facemend.cli import say, sources
from facemend.cli.creative import creative_arguments
from facemend.cli.finished import check_result, finished
from facemend.cli.sources import Source
from facemend.errors import OutputPathError
from facemend.files import formats
from facemend.files.output import BESIDE
from facemend.machine import process
from facemend.records import Picture, Settings

if TYPE_CHECKING:
    from facemend.job import Outputs
    from facemend.pipeline import Pipeline


def restore(options: argparse.Namespace, reporter: say.Reporter) -> None:
    """Restore every picture that the arguments name; one that fails does not stop the others."""
    settings = settings_of(options)
    models = models_of(options, settings)
    found = sources.collect(options.inputs, options.output, reporter.failed, say.note)
    if not found:
        return
    with process.startup():
        from facemend.pipeline import Pipeline  # imports torch, which --help and mistakes need not wait for

        pipeline = Pipeline.load(**models)
    if pipeline.restorer is None and not (options.boxes or options.json):
        settings = replace(settings, faces="none")  # the output would not show the faces, so they are not detected
    _run(found, pipeline, settings, options, reporter)


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that options ask for; raises OptionError for a value that one cannot have."""
    given = {name: getattr(options, name) for name in Settings.__dataclass_fields__ if hasattr(options, name)}
    formats.check_quality(options.quality)
    settings = Settings(**given)
    settings.check_mask(options.mask)
    return settings


def models_of(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The arguments of `Pipeline.load` that options ask for."""
    return {
        "restorer": options.restorer,
        "upscaler": options.upscaler,
        "detector": options.detector,
        "parser": options.parser,
        "device": options.device,
        "precision": options.precision,
        "weights": dict(options.weights),
        "repairer": None if settings.repair else "none",
        "scale": settings.scale,
        "allow_noncommercial": options.allow_noncommercial,
        **creative_arguments(options),
    }


def writing_of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `job.Job` about the files of a result that options ask for."""
    names = ("format", "quality", "strip_metadata", "keep_dates", *BESIDE)
    return {name: getattr(options, name) for name in names}


def _run(
    found: Sequence[Source],
    pipeline: "Pipeline",
    settings: Settings,
    options: argparse.Namespace,
    reporter: say.Reporter,
) -> None:
    from facemend import job  # imports torch

    @cache
    def name_models() -> None:  # once, and only after a picture could be read
        say.note(say.describe(pipeline.names))
        say.note_lite(pipeline.names, (options.restorer, options.upscaler))

    taken = {sources.identity(source.path) for source in found}  # files not to write to: inputs, and this run's outputs

    def check(picture: Picture, outputs: "Outputs") -> bool:
        for path in outputs.paths():
            if sources.identity(path) in taken:
                expected = "another file than the inputs and the other outputs"
                raise OutputPathError(path, expected, "rename one of them")
        if options.skip_existing and outputs.target in outputs.existing():
            check_result(outputs.target, source.path, settings)
            if outputs.existing() == outputs.paths():
                skip(outputs.target)
                return False
        name_models()
        return True

    def skip(target: Path) -> None:
        taken.add(sources.identity(target))
        reporter.skipped(source.path, target)

    for source in tqdm(found, unit="picture", disable=None if len(found) > 1 else True):
        work = job.Job(
            source=source.path,
            target=source.target,
            force=options.force,
            resume=options.skip_existing,
            **writing_of(options) | ({"format": None} if source.has_suffix else {}),
        )
        try:
            earlier = finished(work) if options.skip_existing else None
            if earlier and sources.identity(earlier) not in taken:
                check_result(earlier, source.path, settings)
                skip(earlier)
                continue
            with say.progress_bar(len(found) == 1) as progress:
                done = job.run(work, pipeline, settings, progress, check)
        except Exception as error:
            if options.debug:
                raise
            reporter.failed(error, source.path)
        else:
            if done:
                taken.update(map(sources.identity, done.outputs.paths()))
                reporter.done(source.path, done, looked_for_faces=settings.faces != "none")
