from dataclasses import dataclass

import pytest

from facemend.errors import MemoryLimitError
from facemend.web.store import Store


@dataclass(frozen=True)
class Item:
    nbytes: int


def test_an_item_is_kept_under_a_random_key():
    store, item = Store(10), Item(4)
    keys = {store.add(item) for _ in range(2)}
    assert len(keys) == 2
    assert all(len(key) == 32 and store.get(key) is item for key in keys)
    assert store.get("") is store.get("0" * 32) is None


def test_items_used_last_stay():
    store = Store(10)
    first, second = store.add(Item(4)), store.add(Item(4))
    store.get(first)
    third = store.add(Item(6))
    assert store.get(first)
    assert store.get(second) is None
    assert store.get(third)
    assert store.nbytes == 10


def test_an_item_over_the_limit_is_refused_and_the_others_stay():
    store = Store(10)
    key = store.add(Item(10))
    with pytest.raises(MemoryLimitError, match="too large to keep in memory; choose the format jpg"):
        store.add(Item(11))
    assert store.get(key)
