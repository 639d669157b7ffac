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
    """Return the folders that may hold weights, in lookup order; not all of them need exist.

    First those of FACEMEND_WEIGHTS (separated like PATH), then `weights/` beside the package where it runs from a
    checkout, then the user cache, then the small files inside an installed package.
    """
    checkout = [PROJECT / "weights"] if (PROJECT / "pyproject.toml").is_file() else []
    return [*_chosen(), *checkout, cache() / "weights", PACKAGE / "bundled"]


def download_folder() -> Path:
    """Return where downloads go: the first folder of FACEMEND_WEIGHTS where that is set, else the user cache."""
    return next(iter(_chosen()), cache() / "weights")


def _chosen() -> list[Path]:
    return [Path(entry).expanduser() for entry in os.environ.get("FACEMEND_WEIGHTS", "").split(os.pathsep) if entry]


def cache() -> Path:
    """Return the user's folder for what can be fetched again."""
    return platformdirs.user_cache_path("facemend")


def find(name: str) -> Path | None:
    """Return the first file, in lookup order, that has the model's official file name; its bytes are not looked at.

    Raises:
        OptionError: no model has this name.
        WeightsError: a folder cannot be looked into.
    """
    return next(copies(name), None)


def copies(name: str) -> Iterator[Path]:
    """Yield every file that has the model's official file name, in lookup order; raises as `find` does."""
    file = lookup(name).file
    for folder in dict.fromkeys(folders()):
        try:
            there = (folder / file).is_file()
        except OSError as error:
            raise WeightsError(f"cannot look for {file} in {folder}: {error.strerror}; see FACEMEND_WEIGHTS") from error
        if there:
            yield folder / file


def blocks(path: Path) -> Iterator[bytes]:
    """Read a file from its start, at most BLOCK bytes at a time."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def digest(path: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file, in lower-case hex, and its size in bytes.

    Raises:
        WeightsError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        for block in blocks(path):
            digest.update(block)
            size += len(block)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the file's permissions and disk") from error
    return digest.hexdigest(), size


def check(model: Model, path: Path) -> None:
    """Hash a file and compare it with the registered one.

    It is hashed every time rather than remembered by its date: 350 MB take 0.2 s, and dates lie.

    Raises:
        ChecksumError: it is another file.
        WeightsError: it cannot be read.
    """
    actual, size = digest(path)
    if actual != model.sha256:
        raise ChecksumError(
            path,
            f"{model.sha256} of {model.size} bytes",
            f"{actual} of {size} bytes",
            f"delete it and run 'facemend download {model.name}'",
            Remedy(f"use it as your own with {{}} {model.name}=PATH", "weights"),
        )


def verify() -> Iterator[tuple[Model, Path, WeightsError | None]]:
    """Hash every installed file and yield each with what is wrong with it, or None where it is the official file."""
    for model in MODELS.values():
        for path in copies(model.name):
            try:
                check(model, path)
            except WeightsError as error:
                yield model, path, error
            else:
                yield model, path, None
