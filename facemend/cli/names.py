"""Names of results. A name identifies its picture, so that a later run with other arguments gives the same ones."""

import os
from collections.abc import Iterator
from pathlib import Path

from facemend.files import formats
from facemend.files.output import BESIDE

ENDING = "_restored"  # of a result beside its picture
SHEET = f"{ENDING}_sheet"  # of a sheet of `facemend compare`
RESULTS = (ENDING, *(f"{ENDING}_{name}" for name in BESIDE), SHEET)  # ends of results' names


class Names:
    """Gives every picture another name for its result.

    Of pictures that differ only in their suffixes, the first in the order of the table of formats keeps its name. The
    others get their suffix too: photo.jpg -> photo, photo.heic -> photo_heic. What decides is the folder, not which of
    them are restored. Pictures with one name from several folders get the name of their folder too.
    """

    def __init__(self) -> None:
        self._given: dict[Path, Path] = {}  # target -> the picture that has it
        self._first: dict[Path, dict[str, str]] = {}  # folder -> stem -> the file that keeps it

    def target(self, path: Path, folder: Path, ending: str) -> Path | None:
        """The file of a picture's result, without suffix; None where the picture has been given before.

        Args:
            path: the picture.
            folder: where the result goes.
            ending: of its name.
        """
        for stem in self._stems(path):
            target = folder / f"{stem}{ending}"
            if (other := self._given.setdefault(target, path)) is path:
                return target
            if os.path.realpath(other) == os.path.realpath(path):
                return None
        raise AssertionError("there is always another number")

    def _stems(self, path: Path) -> Iterator[str]:
        stem = path.stem
        if self._keeper(path) != path.name:
            stem += f"_{path.suffix[1:]}"
        yield stem
        for parent in Path(os.path.realpath(path)).parents:
            stem = f"{parent.name}_{stem}"
            yield stem
        yield from (f"{stem}_{number}" for number in range(2, len(self._given) + 3))

    def _keeper(self, path: Path) -> str:
        """The name of the file beside a picture, or of the picture itself, whose result has their stem as its name."""
        if path.parent not in self._first:
            try:
                there = list(path.parent.iterdir())
            except OSError:
                there = []
            order = list(formats.BY_SUFFIX)
            pictures = [one for one in there if one.suffix.lower() in formats.BY_SUFFIX]
            pictures.sort(key=lambda one: (order.index(one.suffix.lower()), one.name), reverse=True)
            self._first[path.parent] = {one.stem: one.name for one in pictures}
        return self._first[path.parent].get(path.stem, path.name)
