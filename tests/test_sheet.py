"""The sheet of a comparison: everything is on it, nothing overlaps or is cut off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemend.sheet import BACKGROUND, FAINT, MARGIN, TEXT, TITLE, Section, Tile, sheet
from facemend.weights.models import MODELS

COLOUR = (250, 10, 20)  # RGB that no text has


def section(count, height=40, width=60, name="lite"):
    pixels = np.full((height, width, 3), COLOUR, np.uint8)
    return Section("Upscalers", [Tile(pixels, name, "0.12 s") for _ in range(count)])


def coloured(drawn):
    return (drawn == COLOUR).all(axis=2)


def inked(drawn):
    return (drawn != BACKGROUND).any(axis=2)


@given(st.lists(st.integers(1, 11), min_size=1, max_size=3), st.integers(1, 600), st.integers(1, 600))
@settings(max_examples=25)
def test_every_picture_is_whole_and_the_margin_stays_free(counts, height, width):
    drawn = sheet("old.jpg", [section(count, height, width) for count in counts])
    assert drawn.dtype == np.uint8
    assert coloured(drawn).sum() == sum(counts) * height * width
    for edge in (drawn[:8], drawn[-8:], drawn[:, :8], drawn[:, -8:]):
        assert not inked(edge).any()


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (4, 1, 4), (5, 2, 3), (8, 2, 4), (9, 3, 3)])
def test_rows_are_of_similar_length(count, rows, columns):
    mask = coloured(sheet("", [section(count, 40, 400)]))
    assert (np.diff(mask.any(axis=1).astype(int)) == 1).sum() == rows
    assert (np.diff(mask.any(axis=0).astype(int)) == 1).sum() == columns


@pytest.mark.parametrize("name", [model.public_name for model in MODELS.values()])
def test_the_names_of_all_models_fit_under_the_smallest_picture(name):
    """A wider cell gives them more room, so nothing is replaced by dots."""
    small, large = (sheet("", [section(1, 40, width, name)])[-80:] for width in (1, 900))
    rows = inked(small).any(axis=1)
    np.testing.assert_array_equal(small[rows], large[rows][:, : small.shape[1]])


def test_a_title_that_is_too_long_ends_within_the_sheet():
    drawn = sheet("very " * 500, [section(1)])
    assert inked(drawn)[: 2 * MARGIN].any()
    assert not inked(drawn[:, -MARGIN + 2 :]).any()


def test_a_title_with_line_breaks_and_other_scripts_is_one_line():
    one, two = (sheet(title, [section(1)]) for title in ("a b \u00fc \u4e2d", "a\nb \u00fc\t\u4e2d\n"))
    np.testing.assert_array_equal(one, two)


def rows_of(mask):
    """The first row and the height of each block of rows that are not empty."""
    edges = np.flatnonzero(np.diff(np.pad(mask.any(axis=1), 1).astype(int)))
    return [(int(start), int(stop - start)) for start, stop in edges.reshape(-1, 2)]


def test_a_title_that_is_too_long_ends_in_three_dots_at_the_margin():
    drawn = sheet("M" * 500, [section(1)])
    title = inked(drawn)[: 2 * MARGIN + TITLE - 10]
    end = int(np.flatnonzero(title.any(axis=0))[-1])
    assert end > drawn.shape[1] - MARGIN - TITLE
    [(_, height)] = rows_of(title[:, end - 20 : end + 1])
    assert height < 8


def test_letters_of_a_title_are_the_largest_and_those_of_a_note_the_smallest_and_faint():
    drawn = sheet("H", [Section("H", [Tile(np.full((40, 60, 3), COLOUR, np.uint8), "H", "H")])])
    rows = rows_of(inked(drawn))
    title, heading, _, name, note = (height for _, height in rows)
    assert title > heading == name > note
    darkest = [int(drawn[start : start + height].min()) for start, height in rows]
    assert [darkest[index] for index in (0, 1, 3, 4)] == [TEXT[0], FAINT[0], TEXT[0], FAINT[0]]
