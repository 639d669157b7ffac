"""What the server keeps in memory, up to a number of bytes."""

import secrets
import threading
from collections import OrderedDict
from typing import Protocol

from facemend.errors import MemoryLimitError

KEY_BYTES = 16  # of a random key, 128 bits: nobody can guess it


class Kept(Protocol):
    """Something to keep."""

    @property
    def nbytes(self) -> int:
        """How many bytes of memory it takes."""


class Store:
    """Keeps the items used last; the others are dropped as soon as the limit is reached.

    It may be used by several threads at once.

    Args:
        limit: bytes of all items together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[str, Kept] = OrderedDict()  # the one used last is at the end
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all items together."""
        with self._lock:
            return self._total()

    def add(self, item: Kept) -> str:
        """Keep an item and return its key, 32 random hex digits.

        Raises:
            MemoryLimitError: the item alone is over the limit.
        """
        if item.nbytes > self._limit:
            problem = f"a file of {item.nbytes / 1e6:.0f} MB is too large to keep in memory"
            raise MemoryLimitError(problem, "choose the format jpg", "choose a smaller scale", "use a smaller picture")
        key = secrets.token_hex(KEY_BYTES)
        with self._lock:
            while self._items and self._total() + item.nbytes > self._limit:
                self._items.popitem(last=False)
            self._items[key] = item
        return key

    def get(self, key: str) -> Kept | None:
        """Return an item; None if there is none with this key, or it has been dropped."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def _total(self) -> int:
        return sum(item.nbytes for item in self._items.values())
