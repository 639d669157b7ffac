"""Compute faces in batches, smaller ones where memory is short."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from facemend.machine import memory
from facemend.records import Pixels

LARGEST = 8  # faces at once on a GPU; fewer are computed in batches of 4, 2 and 1: see `Captured`
LARGEST_BY_TYPE = {"cpu": 1}  # of device; there it is as fast, and a face comes out the same alone and among others

Computed = TypeVar("Computed")


def in_batches(
    name: str, place: torch.device, faces: Sequence[Pixels], compute: Callable[[Sequence[Pixels]], Computed]
) -> Iterator[Computed]:
    """Yield what `compute` makes of each batch of faces, in their order.

    Args:
        name: of the network, for the error.
        place: where it runs.
        faces: (S, S, 3) each.
        compute: gets a batch. It is called with half as many faces if it runs out of memory.

    Raises:
        MemoryLimitError: one face does not fit.
    """
    batch, done = LARGEST_BY_TYPE.get(place.type, LARGEST), 0
    while done < len(faces):
        batch = memory.power_of_two(min(batch, len(faces) - done))
        try:
            computed = compute(faces[done : done + batch])
        except Exception as error:
            if not memory.exhausted(error):
                raise
            if batch == 1:
                raise memory.does_not_fit(name, place) from error
            batch //= 2
        else:
            done += batch
            yield computed
