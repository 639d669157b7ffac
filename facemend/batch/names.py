"""Names of results, for keys in a stream.

They are those that `facemend restore` gives, and no two are the same. Where `restore` would add the name of a folder to
tell two results apart, the second one is an error.
"""

import posixpath
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from facemend.batch.plan import Task
from facemend.errors import InputError, OutputPathError
from facemend.files import formats

ORDER = {suffix: number for number, suffix in enumerate(formats.BY_SUFFIX)}


def tasks(keys: Iterable[str], endings: tuple[str, ...]) -> Iterator[Task]:
    """Give every picture a name for its result.

    Only the pictures of one group, which have the same name up to the first dot, are held in memory.

    Args:
        keys: of pictures; those of each folder in order. Folders may come one after the other or within each other.
            Pictures whose format needs a package that is not installed count for the names only.
        endings: of the names of the files beside a result.
    """
    reserved: dict[str, set[str]] = {}  # folder -> names of results that a later picture could have too
    for folder, group in _groups(keys):
        reserved = {outer: names for outer, names in reserved.items() if folder.startswith(outer)}
        # Those of the folders around it stay as they are: going through them for each group would take long.
        reserved[folder] = {name for name in reserved.get(folder, ()) if not _passed(name, group[0].name)}
        keepers: dict[tuple[str, str], str] = {}  # -> the suffix of the picture that keeps it
        for picture in sorted(group, key=lambda picture: (ORDER[picture.suffix.lower()], picture.suffix)):
            keepers.setdefault((picture.folder, picture.stem), picture.suffix)
        for picture in group:
            is_keeper = keepers[picture.folder, picture.stem] == picture.suffix
            target = picture.stem if is_keeper else f"{picture.stem}_{picture.suffix[1:]}"
            files = {target + ending for ending in ("", *endings)}
            others = reserved.setdefault(picture.folder, set())
            error: InputError | None = None
            if _is_odd(picture.key):
                error = InputError(f"its name {picture.key!r} is not a relative path in its shortest form", "rename it")
            elif files & others:
                error = taken_already(picture.folder + target)
            others |= files - {picture.stem}
            if formats.BY_SUFFIX[picture.suffix.lower()].installed:
                yield Task(picture.key, picture.folder + target, error)


def taken_already(name: str, remedy: str = "rename one of the pictures") -> OutputPathError:
    """The error for a picture whose result would have the name of another one's."""
    return OutputPathError(name, "a name that no other picture's result has", remedy)


class _Picture(NamedTuple):
    """The parts of a key. Those of `pathlib` take ten times as long, and Python keeps them in a table."""

    folder: str  # with / at the end; "" for the source itself
    stem: str
    suffix: str

    @property
    def name(self) -> str:
        return self.stem + self.suffix

    @property
    def key(self) -> str:
        return self.folder + self.name


def _is_odd(key: str) -> bool:
    """Whether a result would be outside the destination (../a.jpg), or have another one's path (a//b.jpg)."""
    return key.startswith(("/", "../")) or posixpath.normpath(key) != key


def _groups(keys: Iterable[str]) -> Iterator[tuple[str, list[_Picture]]]:
    """Yield neighbours that start with the same folder and the same name up to the first dot, and that folder."""
    group: list[_Picture] = []
    start = ""
    for key in keys:
        if group and not key.startswith(start):
            yield group[0].folder, group
            group = []
        folder, slash, name = key.rpartition("/")
        if not group:
            start = f"{folder}{slash}{name.partition('.')[0]}."
        group.append(_Picture(folder + slash, *posixpath.splitext(name)))
    if group:
        yield group[0].folder, group


def _passed(reserved: str, name: str) -> bool:
    """Whether a picture of a folder, and all that come after it there, have other names than a reserved one."""
    return f"{reserved}." < name and not name.startswith(f"{reserved}.")
