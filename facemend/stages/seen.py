"""Faces as views of a picture show them, and which of them are one face."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from facemend.records import Box, Face

OVERLAP = 0.4  # intersection over union from which two boxes are one face
CONTAINED = 0.8  # share of a box inside a larger one from which it is taken for a part of that face
CROSSED = 0.2  # share of a box inside that of a surer face, from which it is left out


class Seen(NamedTuple):
    """A face in a view.

    Attributes:
        face: in px of the picture.
        upright: whether its mouth is below its eyes in the view.
        degrees: that the view is turned to the left.
        coarse: whether the view shows the whole picture in few px.
    """

    face: Face
    upright: bool
    degrees: int = 0
    coarse: bool = False

    @property
    def height(self) -> float:
        """Height of the face's box in px of the picture."""
        return self.face.box[3] - self.face.box[1]


def usual_quarter(seen: Sequence[Seen]) -> int:
    """Return the quarter turns to the left that put most of the faces upright."""
    quarters = Counter(round(one.degrees / 90) % 4 for one in seen)
    return max(quarters, key=lambda quarter: (quarters[quarter], quarter == 0), default=0)


def merged(upright: Sequence[Seen], others: Sequence[Seen], close_up: float) -> list[Seen]:
    """Return the faces of the upright look and those of the others that it has missed.

    Args:
        upright: faces of the upright look.
        others: faces of turned or bordered views.
        close_up: height in px of the picture; a higher face of the others replaces what the upright look saw in it.
    """
    large = distinct(one for one in others if one.height > close_up)
    kept = large + [one for one in upright if not any(crosses(one.face.box, other.face.box) for other in large)]
    return kept + unknown(distinct(others), kept)


def unknown(seen: Iterable[Seen], known: Sequence[Seen]) -> list[Seen]:
    """Return the faces that are not among the known ones."""
    return [one for one in seen if not any(is_one_face(one.face.box, other.face.box) for other in known)]


def distinct(seen: Iterable[Seen]) -> list[Seen]:
    """Return one box for each face.

    Of boxes that overlap, the one with the highest score stays. A box inside a larger one is dropped: it is an eye or a
    mouth that was taken for a face.
    """
    kept: list[Seen] = []
    for one in sorted(seen, key=lambda one: -one.face.score):
        if not any(_overlap(one.face.box, other.face.box) > OVERLAP for other in kept):
            kept.append(one)
    return [one for one in kept if not any(_contains(other.face.box, one.face.box) for other in kept)]


def is_near(box: Box, known: Box) -> bool:
    """Tell whether the centre of a box lies in the middle half of another."""
    (x0, y0, x1, y1), (left, top, right, bottom) = box, known
    return abs(x0 + x1 - left - right) < (right - left) / 2 and abs(y0 + y1 - top - bottom) < (bottom - top) / 2


def is_one_face(a: Box, b: Box) -> bool:
    """Tell whether two boxes are of the same face, or of a face and a part of it."""
    return _overlap(a, b) > OVERLAP or _contains(a, b) or _contains(b, a)


def crosses(box: Box, other: Box) -> bool:
    """Tell whether a considerable part of a box lies in another."""
    return _shared(box, other) > CROSSED * _area(box)


def _contains(large: Box, small: Box) -> bool:
    return _area(small) < _area(large) and _shared(small, large) >= CONTAINED * _area(small)


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    shared = _shared(a, b)
    return shared / max(_area(a) + _area(b) - shared, 1e-9)


def _shared(a: Box, b: Box) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
