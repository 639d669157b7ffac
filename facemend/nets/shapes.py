"""Read the size of a network from the shapes in its checkpoint."""

import itertools
from collections.abc import Mapping, Sequence

Shapes = Mapping[str, Sequence[int]]  # name of a parameter -> its shape


def count(shapes: Shapes, name: str) -> int:
    """Count the parameters with this name, in which {} is 0, 1, 2 and so on."""
    return next(number for number in itertools.count() if name.format(number) not in shapes)
