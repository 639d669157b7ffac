"""Names of results, for keys in a stream: they are those that `facemend restore` gives, and no two are the same."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from facemend.batch.plan import Task
from facemend.errors import InputError, OptionError
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
    claims: set[PurePosixPath] = set()  # names of results and files beside them that a later picture could get too
    for group in _groups(keys):
        claims = {claim for claim in claims if not _passed(claim, group[0])}
        keepers: dict[PurePosixPath, PurePosixPath] = {}  # name without suffix -> the picture that keeps it
        for path in sorted(group, key=lambda path: (ORDER[path.suffix.lower()], path.name)):
            keepers.setdefault(path.with_suffix(""), path)
        for path in group:
            own = path.with_suffix("")
            target = own if keepers[own] == path else own.with_name(f"{own.name}_{path.suffix[1:]}")
            files = {target, *(target.with_name(target.name + ending) for ending in endings)}
            error = None
            if taken := files & claims:
                expected = "a name that no other picture's result has"
                error = OptionError("the output", str(min(taken)), expected, "rename one of the pictures")
            claims |= files - {own}
            if formats.BY_SUFFIX[path.suffix.lower()].installed:
                yield Task(str(path), str(target), error=error)


def _groups(keys: Iterable[str]) -> Iterator[list[PurePosixPath]]:
    group: list[PurePosixPath] = []
    start = ""
    for key in keys:
        path = PurePosixPath(key)
        if str(path) != key:  # such as a//b.jpg in a bucket, whose result would have the name of that of a/b.jpg
            raise InputError(f"{key} has an empty or relative part in its name", "rename it")
        if group and not key.startswith(start):
            yield group
            group = []
        if not group:
            start = str(path.with_name(path.name.partition(".")[0])) + "."
        group.append(path)
    if group:
        yield group


def _passed(claim: PurePosixPath, path: PurePosixPath) -> bool:
    """Whether no picture that comes after `path`, or is it, can have the name `claim`."""
    if claim.parent == path.parent:
        return f"{claim.name}." < path.name and not path.name.startswith(f"{claim.name}.")
    return claim.parent not in path.parents
