"""Which weight files are on this machine, and whether they are the official ones."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from facemend.errors import ChecksumError, Remedy, WeightsError
from facemend.weights.models import MODELS, Model, lookup

BLOCK = 1 << 20  # bytes read at a time
PACKAGE = Path(__file__).parents[1]
PROJECT = PACKAGE.parent


def folders() -> list[Path]:
    """Return the folders that may hold weights, in lookup order. They need not exist.

    1. the folders in FACEMEND_WEIGHTS, separated as in PATH
    2. `weights/` next to the package, in a checkout only
    3. the user's cache, unless the user has no home
    4. the folder in the package with the lite models

    Raises:
        WeightsError: a ~ in FACEMEND_WEIGHTS means no folder.
    """
    checkout = [PROJECT / "weights"] if (PROJECT / "pyproject.toml").is_file() else []
    cached = [folder / "weights"] if (folder := cache()) else []
    return [*_chosen(), *checkout, *cached, PACKAGE / "bundled"]


def download_folder() -> Path:
    """Return where downloads go: the first folder in FACEMEND_WEIGHTS if that is set, else the user's cache.

    Raises:
        WeightsError: there is neither, or a ~ in FACEMEND_WEIGHTS means no folder.
    """
    if chosen := _chosen():
        return chosen[0]
    if folder := cache():
        return folder / "weights"
    raise WeightsError("there is no folder for downloads, as this user has no home", "set FACEMEND_WEIGHTS to a folder")


def _chosen() -> list[Path]:
    chosen = os.environ.get("FACEMEND_WEIGHTS", "")
    try:
        return [Path(entry).expanduser() for entry in chosen.split(os.pathsep) if entry]
    except RuntimeError as error:
        problem = f"FACEMEND_WEIGHTS is {chosen!r}, but there is no such home"
        raise WeightsError(problem, "write the whole path of the folder") from error


def cache() -> Path | None:
    """Return the user's cache folder of this package; None for a user without a home, as in some containers."""
    try:
        return platformdirs.user_cache_path("facemend")
    except RuntimeError:
        return None


def find(name: str) -> Path | None:
    """Return the first file, in lookup order, that has the model's official file name; its content is not checked.

    Raises:
        OptionError: no model has this name.
        WeightsError: a folder cannot be searched.
    """
    return next(copies(name), None)


def copies(name: str) -> Iterator[Path]:
    """Return every file that has the model's official file name, in lookup order. The errors are those of `find`."""
    file = lookup(name).file
    return (folder / file for folder in holding(file))


def holding(*files: str) -> Iterator[Path]:
    """Yield every folder, in lookup order, that holds all these files.

    Raises:
        WeightsError: a folder cannot be searched.
    """
    for folder in dict.fromkeys(folders()):
        try:
            there = all((folder / file).is_file() for file in files)
        except OSError as error:
            problem = f"cannot look for {files[0]} in {folder}: {error.strerror}"
            raise WeightsError(problem, "check its permissions", "check FACEMEND_WEIGHTS") from error
        if there:
            yield folder


def blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, at most BLOCK bytes at a time."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def digest(path: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file in lower-case hex, and its size in bytes.

    Raises:
        WeightsError: the file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        for block in blocks(path):
            digest.update(block)
            size += len(block)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from error
    return digest.hexdigest(), size


def check(model: Model, path: Path) -> None:
    """Compare the SHA-256 of a file with that of the model's official file.

    The hash is computed at every call, which takes 0.2 s for 350 MB. A remembered result would not be safe, because a
    file can change and keep its date.

    Raises:
        ChecksumError: it is not the official file.
        WeightsError: it cannot be read.
    """
    actual, size = digest(path)
    if actual != model.sha256:
        raise ChecksumError(
            path,
            f"{model.sha256} of {model.size} bytes",
            f"{actual} of {size} bytes",
            f"delete it and {model.remedy}",
            Remedy(f"use it as a file of your own with {{}} {model.name}=PATH", "weights"),
        )


def verify() -> Iterator[tuple[Model, Path, WeightsError | None]]:
    """Check every installed file. Yield its model, its path, and its error or None if it is the official file."""
    for model in MODELS.values():
        for path in copies(model.name):
            try:
                check(model, path)
            except WeightsError as error:
                yield model, path, error
            else:
                yield model, path, None
