"""Names of results: those of `facemend restore`, and never the same for two pictures."""

import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemend.batch.names import tasks
from facemend.cli.names import Names

NAMES = st.from_regex(r"(a/|b\.c/|a/b\.c/)?(p|q|p\.1)(_heic|_jpg|_compare|_x)?\.(jpg|heic|JPG|png)", fullmatch=True)


def in_folders(keys):
    return sorted(keys, key=lambda key: PurePosixPath(key).parts)


@given(st.sets(NAMES, max_size=12))
def test_they_are_those_of_restore_and_different(keys):
    found = [task for task in tasks(sorted(keys), ()) if task.error is None]
    assert not [target for target, count in Counter(task.target for task in found).items() if count > 1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key in keys:
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).touch()
        names = Names()
        for task in found:
            assert names.target(folder / task.key, (folder / task.key).parent, "") == folder / task.target


@given(st.sets(NAMES, max_size=12))
def test_the_order_of_folders_does_not_matter(keys):
    flat, walked = tasks(sorted(keys), ("_compare",)), tasks(in_folders(keys), ("_compare",))
    assert {(task.key, task.target, str(task.error)) for task in flat} == {
        (task.key, task.target, str(task.error)) for task in walked
    }


@pytest.mark.parametrize(
    ("keys", "endings", "refused"),
    [
        (["a/p.heic", "a/p.jpg", "a/p_heic.png"], (), "a/p_heic.png"),
        (["p.jpg", "p/z.jpg", "p_compare.jpg"], ("_compare",), "p_compare.jpg"),
        (["p.jpg", "p_compare.jpg"], (), None),
        (["a/p.heic", "a/p.jpg", "b/p_heic.jpg"], (), None),
    ],
)
def test_a_name_that_another_result_has_is_an_error(keys, endings, refused):
    assert [task.key for task in tasks(keys, endings) if task.error] == ([refused] if refused else [])


@pytest.mark.parametrize("key", ["../p.jpg", "/p.jpg", "a/../p.jpg", "a//p.jpg", "./p.jpg", "../../etc/p.jpg"])
def test_a_name_that_leads_elsewhere_is_an_error(key):
    [odd] = [task for task in tasks(sorted([key, "q.jpg"]), ()) if task.error]
    assert odd.key == key


def test_many_keys_take_little_memory():
    tracemalloc.start()
    count = sum(1 for _ in tasks((f"scans/{number:06}.jpg" for number in range(10_000)), ("_compare", "_boxes")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 100_000
