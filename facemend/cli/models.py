"""The commands about models: `facemend models`, `download`, `verify`."""

import argparse

from facemend.cli.say import Reporter
from facemend.errors import ChecksumError, DownloadError, OptionError, WeightsError
from facemend.weights import hub, installed
from facemend.weights.download import fetch, progress_bar
from facemend.weights.models import LITE, MODELS, Model

DAMAGED = "damaged"


def show_models(options: argparse.Namespace, reporter: Reporter) -> None:
    """Print the table of models, a line each."""
    rows = [("NAME", "TASK", "SCALE", "SIZE", "COMMERCIAL USE", "INSTALLED", "LICENCE")]
    for model in MODELS.values():
        rows.append(
            (
                model.public_name,
                model.task,
                f"x{model.tiling.scale}" if model.task == "upscaler" and model.tiling else "",
                f"{model.size / 1e6:.1f} MB",
                model.commercial,
                "bundled" if model.bundled else _installed(model),
                model.licence,
            )
        )
    for row in hub.REPOSITORIES.values():
        there = "yes" if hub.find(row.name) else "no"
        rows.append((row.name, "creative", "", f"{row.size / 1e6:.1f} MB", "yes, see note", there, row.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    print()
    for reason in dict.fromkeys(model.why for model in MODELS.values() if model.why):
        print(f"Note: {reason}.")
    print(f"Note: OpenRAIL: {hub.OPENRAIL}.")
    if any(DAMAGED in row for row in rows):
        print("Note: 'facemend verify' says what to do about damaged files.")
    try:
        print(f"Downloads go to {installed.download_folder()}.")
    except WeightsError as error:
        print(f"Note: {error}.")


def _installed(model: Model) -> str:
    """Whether a file of a model is here. Only its size is compared, because computing all hashes takes seconds."""
    path = installed.find(model.name)
    if path is None:
        return "no"
    return "yes" if path.stat().st_size == model.size else DAMAGED


def download(options: argparse.Namespace, reporter: Reporter) -> None:
    """Download weights."""
    remote = [model for model in MODELS.values() if not model.bundled]
    choices = {model.name: model for model in remote}
    models, repositories = [], []
    for name in options.names:
        if name in hub.REPOSITORIES:
            repositories.append(hub.REPOSITORIES[name])
            continue
        if name not in choices:
            allowed = ", ".join((*choices, *hub.REPOSITORIES))
            raise OptionError("the model name", name, f"one of {allowed}; {LITE} is part of the program")
        models.append(choices[name])
    if options.all:
        models += remote
    if options.commercial:
        models += [model for model in remote if model.commercial == "yes"]
    if not models and not repositories:
        raise OptionError("the list of models", "", "one or more names, --all or --commercial")
    parts: dict[str, Model] = {part.name: part for model in models for part in model.parts()}
    for model in parts.values():
        try:
            with progress_bar(model) as progress:
                path = fetch(model, installed.download_folder(), progress)
        except (ChecksumError, DownloadError) as error:
            reporter.failed(error)
            continue
        allowed = "" if model.commercial == "yes" else f"  commercial use: {model.commercial} ({model.why})"
        print(f"{model.name}  {path}{allowed}")
    for row in repositories:
        print(f"{row.name}  {row.licence}: {hub.OPENRAIL} ({row.url})", flush=True)
        try:
            print(f"{row.name}  {hub.fetch(row, installed.download_folder())}")
        except (ChecksumError, DownloadError) as error:
            reporter.failed(error)


def verify(options: argparse.Namespace, reporter: Reporter) -> None:
    """Hash every installed file again."""
    count = 0
    for model, path, error in installed.verify():
        count += 1
        if error:
            reporter.failed(error)
        else:
            print(f"{model.name}  {path}  official")
    for row in hub.REPOSITORIES.values():
        if folder := hub.find(row.name):
            try:
                hub.check(row, folder)
            except WeightsError as error:
                reporter.failed(error)
            else:
                print(f"{row.name}  {folder}  complete; checked: {row.checked}")
    print(f"{count} installed files hashed")
