"""Choose which of the faces found are restored."""

import math
from collections.abc import Sequence

from facemend.errors import OptionError
from facemend.records import Face, Point, Settings, Size


def choose(faces: Sequence[Face], size: Size, settings: Settings) -> list[int]:
    """Return the indices of the faces that `Settings.faces` asks for, rising.

    Args:
        faces: those found.
        size: (height, width) of the picture in px.
        settings: its `faces`.

    Raises:
        OptionError: an index is not that of a face found.
    """
    if not isinstance(settings.faces, str):
        if max(settings.faces) >= len(faces):
            numbers = ",".join(map(str, settings.faces))
            raise OptionError.but("faces", numbers, _found(len(faces)))
        return sorted(set(settings.faces))
    every = list(range(len(faces)))
    if settings.faces == "largest":
        return sorted(every, key=lambda index: -_area(faces[index]))[:1]
    if settings.faces == "center":
        height, width = size
        middle = (width - 1) / 2, (height - 1) / 2
        return sorted(every, key=lambda index: _distance(faces[index], middle))[:1]
    return every if settings.faces == "all" else []


def _found(count: int) -> str:
    """How many faces were found, and the numbers that they have."""
    if count < 2:
        return "1 face was found, with the number 0" if count else "no faces were found"
    return f"{count} faces were found, with the numbers 0 {'to' if count > 2 else 'and'} {count - 1}"


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


def _distance(face: Face, point: Point) -> float:
    x0, y0, x1, y1 = face.box
    return math.dist(((x0 + x1) / 2, (y0 + y1) / 2), point)
