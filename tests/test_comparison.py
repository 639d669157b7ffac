"""All installed models on one picture."""

from dataclasses import replace

import numpy as np
import pytest

import facemend.comparison
from facemend.comparison import MIDDLE, Subject, compare, find_subject
from facemend.errors import NonFiniteError, OptionError
from facemend.loader import Loader
from facemend.records import Landmarks, Picture
from facemend.stages.restore import FunctionRestorer
from tests.pictures import detector, face_at, identity, similarity, smooth

PICTURE = Picture(smooth(300, 400))
FACES = face_at(similarity(3, 0, -80, -60)), face_at(similarity(2, 0, -400, -60))  # the second one is larger


@pytest.fixture
def faces(monkeypatch):
    """The faces that every detector finds."""
    found = list(FACES)
    monkeypatch.setattr(Loader, "detector", lambda self, wanted: detector(*found))
    return found


@pytest.mark.parametrize(
    ("face", "words"), [(None, "face 1 (2 found)"), (0, "face 0 (2 found)"), (1, "face 1 (2 found)")]
)
def test_the_subject_is_the_face_asked_for_or_the_largest(faces, face, words):
    subject = find_subject(PICTURE, face)
    assert subject.words == words
    number = 1 if face is None else face
    x0, y0, x1, y1 = FACES[number].box
    assert subject.centre == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2))
    assert subject.crop.pixels.shape == (512, 512, 3)


def test_the_subject_is_the_middle_where_it_is_asked_for_or_there_is_no_face(faces):
    assert find_subject(PICTURE, MIDDLE) == Subject("the middle", (199.5, 149.5))
    faces.clear()
    assert find_subject(PICTURE) == Subject("the middle, as no face was found", (199.5, 149.5))


def test_the_middle_needs_no_detector(monkeypatch):
    monkeypatch.setattr(Loader, "detector", lambda self, wanted: pytest.fail("a detector was loaded"))
    assert find_subject(PICTURE, MIDDLE).crop is None


def test_a_face_that_is_not_there_is_one_line(faces):
    with pytest.raises(OptionError, match="^face is 2, but 2 faces .*, with the numbers 0 and 1; use face middle$"):
        find_subject(PICTURE, 2)


def test_a_face_whose_landmarks_fit_none_is_one_line(faces):
    faces[:] = [replace(FACES[0], landmarks=Landmarks(*[(50, 50)] * 5))]
    with pytest.raises(facemend.errors.InputError, match="the landmarks of face 0 fit no face"):
        find_subject(PICTURE)


@pytest.mark.parametrize(("scale", "side", "input_side"), [(2, 512, 256), (4, 512, 128), (1.5, 450, 300)])
def test_the_bundled_models_are_compared_with_the_input(faces, scale, side, input_side):
    steps = []
    restorers, upscalers = compare(PICTURE, find_subject(PICTURE), scale, pytest.fail, lambda *step: steps.append(step))
    assert [tile.name for tile in restorers.tiles] == ["input", "lite"]
    assert [tile.name for tile in upscalers.tiles] == ["input", "lanczos", "lite"]
    assert {tile.pixels.shape for tile in restorers.tiles} == {(512, 512, 3)}
    width = min(round(512 / scale), 400)
    assert {tile.pixels.shape for tile in upscalers.tiles} == {(side, round(width * scale), 3)}
    assert upscalers.tiles[0].note == f"{width} x {input_side} px"
    assert restorers.tiles[0].note == "256 real px across"
    assert all(tile.note.endswith(" s") for section in (restorers, upscalers) for tile in section.tiles[1:])
    assert steps == [("lite", 0, 3), ("lanczos", 1, 3), ("lite", 2, 3)]


def test_without_a_face_only_upscalers_are_compared():
    (upscalers,) = compare(PICTURE, find_subject(PICTURE, MIDDLE), 8, pytest.fail)
    assert upscalers.tiles[0].pixels.shape == (512, 512, 3)
    np.testing.assert_array_equal(upscalers.tiles[0].pixels[::8, ::8], PICTURE.pixels[118:182, 168:232])


@pytest.mark.parametrize("centre", [(0, 0), (399, 299), (-50, 900)])
def test_the_part_lies_in_the_picture(centre):
    (upscalers,) = compare(PICTURE, Subject("", centre), 4, pytest.fail)
    assert upscalers.tiles[0].pixels.shape == (512, 512, 3)


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (40, 30)])
def test_small_pictures_are_compared_whole(shape):
    (upscalers,) = compare(Picture(smooth(*shape)), Subject("", (0, 0)), 2, pytest.fail)
    assert {tile.pixels.shape for tile in upscalers.tiles} == {(2 * shape[0], 2 * min(shape[1], 256), 3)}


def test_pictures_of_16_bits_are_compared_in_8(faces):
    deep = Picture(PICTURE.pixels.astype(np.uint16) * 257)
    for section in compare(deep, find_subject(deep), 2, pytest.fail):
        assert {tile.pixels.dtype for tile in section.tiles} == {np.dtype(np.uint8)}


def test_a_grey_picture_stays_grey(faces):
    grey = Picture(np.repeat(PICTURE.pixels[..., :1], 3, axis=2), grey=True)
    for section in compare(grey, find_subject(grey), 2, pytest.fail):
        assert all((tile.pixels == tile.pixels[..., :1]).all() for tile in section.tiles)


def test_a_model_that_fails_is_told_and_left_out(faces, monkeypatch):
    def fail(crops, fidelity):
        raise NonFiniteError("lite")

    monkeypatch.setattr(Loader, "restorer", lambda self, name: FunctionRestorer(fail))
    errors = []
    restorers, upscalers = compare(PICTURE, find_subject(PICTURE), 2, errors.append)
    assert [tile.name for tile in restorers.tiles] == ["input"]
    assert [tile.name for tile in upscalers.tiles] == ["input", "lanczos", "lite"]
    assert [str(error) for error in errors] == [str(NonFiniteError("lite"))]


def test_every_installed_restorer_is_compared_and_a_limit_of_its_licence_is_written(faces, monkeypatch):
    monkeypatch.setattr(facemend.comparison, "find", lambda name: name in ("codeformer", "gfpgan-v1.4"))
    monkeypatch.setattr(Loader, "restorer", lambda self, name: FunctionRestorer(identity))
    restorers, upscalers = compare(PICTURE, find_subject(PICTURE), 2, pytest.fail)
    assert [tile.name for tile in restorers.tiles] == ["input", "gfpgan-v1.4", "codeformer"]
    assert [tile.note.partition(", ")[2] for tile in restorers.tiles[1:]] == ["", "not for commercial use"]
    assert [tile.name for tile in upscalers.tiles] == ["input", "lanczos"]
