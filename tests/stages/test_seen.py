import pytest

from facemend.records import Face
from facemend.stages.seen import Seen, crosses, distinct, is_near, is_one_face, merged, unknown, usual_quarter
from tests.pictures import face_at, similarity

MARKS = face_at(similarity(1, 0, 0, 0)).landmarks
BOX = (100, 100, 200, 200)
EYE = (120, 120, 150, 150)


def seen(box, score=0.9, **attributes):
    return Seen(Face(box, MARKS, score), upright=True, **attributes)


def boxes(faces):
    return [one.face.box for one in faces]


@pytest.mark.parametrize(
    ("degrees", "quarter"), [([], 0), ([0], 0), ([90], 1), ([90, 0], 0), ([270, 0, 270], 3), ([315, 45, 80], 0)]
)
def test_the_usual_quarter_is_that_of_most_faces_and_else_upright(degrees, quarter):
    assert usual_quarter([seen(BOX, degrees=angle) for angle in degrees]) == quarter


@pytest.mark.parametrize(
    ("other", "expected"),
    [(BOX, True), ((110, 110, 210, 210), True), ((160, 100, 260, 200), False), (EYE, True), ((0, 0, 300, 300), True)],
)
def test_boxes_that_overlap_or_contain_each_other_are_of_one_face(other, expected):
    assert is_one_face(BOX, other) is expected
    assert is_one_face(other, BOX) is expected


@pytest.mark.parametrize(("left", "expected"), [(100, True), (179, True), (181, False), (300, False)])
def test_a_box_crosses_another_if_a_fifth_of_it_lies_there(left, expected):
    assert crosses((left, 100, left + 100, 200), BOX) is expected


def test_a_large_box_does_not_cross_a_small_one_in_it():
    assert crosses(EYE, BOX)
    assert not crosses(BOX, EYE)


@pytest.mark.parametrize(("shift", "expected"), [(0, True), (24, True), (26, False), (-26, False)])
def test_near_is_within_the_middle_half(shift, expected):
    for x, y in ((shift, 0), (0, shift)):
        assert is_near((140 + x, 140 + y, 160 + x, 160 + y), BOX) is expected


def test_of_boxes_of_one_face_the_surest_stays_and_an_eye_is_dropped():
    better, worse, eye, other = (
        seen(BOX, 0.9),
        seen((110, 110, 210, 210), 0.8),
        seen(EYE, 0.95),
        seen((0, 0, 50, 50), 0.7),
    )
    assert boxes(distinct([worse, eye, other, better])) == [BOX, (0, 0, 50, 50)]


def test_unknown_faces_are_those_at_other_places():
    assert boxes(unknown([seen(EYE), seen((300, 300, 400, 400))], [seen(BOX)])) == [(300, 300, 400, 400)]


def test_the_upright_look_is_completed_and_a_close_up_replaces_what_it_saw_in_it():
    upright = [seen((20, 20, 90, 90)), seen((300, 10, 390, 100))]
    others = [seen((10, 10, 100, 100)), seen((500, 0, 590, 90)), seen((0, 0, 200, 400))]
    assert boxes(merged(upright, others[:2], close_up=300)) == [*boxes(upright), (500, 0, 590, 90)]
    assert boxes(merged(upright, others[1:], close_up=300)) == [
        (0, 0, 200, 400),
        (300, 10, 390, 100),
        (500, 0, 590, 90),
    ]
