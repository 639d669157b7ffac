"""Work in tiles that fit into the memory."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from facemend.errors import Remedy
from facemend.machine import memory

log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")


def in_fitting_tiles(
    work: Callable[[int], Outcome],
    tile: int,
    smallest: int,
    name: str,
    place: torch.device,
    *remedies: Remedy,
    step: int = 1,
) -> Outcome:
    """Do work in tiles, and do it again in smaller ones where the memory runs out.

    Args:
        work: called with the side of a tile in px; returns what this function returns.
        tile: px of a side, the first to be tried.
        smallest: px of a side, the last to be tried; a multiple of `step`.
        name: of the network, for messages.
        place: the device whose memory counts.
        remedies: what may be done where the smallest tile does not fit.
        step: px; sides after the first are multiples of it.

    Raises:
        MemoryLimitError: the smallest tile does not fit.
    """
    while True:
        try:
            return work(tile)
        except Exception as error:
            if not memory.exhausted(error):
                raise
            if tile <= smallest:
                raise memory.does_not_fit(name, place, *remedies, parts=f"tiles of {tile} px") from error
        # Outside of `except`, as an exception that is being handled keeps the tensors of the failed run alive.
        tile = max(tile // 2, smallest) // step * step
        log.warning("%s ran out of memory; it continues in tiles of %d px", name, tile)
