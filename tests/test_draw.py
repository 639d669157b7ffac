import numpy as np
import pytest

from facemend.draw import draw_faces, numbered
from facemend.records import Face, Landmarks, Picture
from tests.pictures import face_at, similarity, smooth

FACES = [face_at(similarity(3, *placed)) for placed in ((0, -60, 0), (20, -495, -356))]


def test_every_face_gets_an_oval_in_a_mask_of_any_size():
    picture = Picture(smooth(300, 500))
    for factor in (1, 2.5):
        mask = np.zeros((round(300 * factor), round(500 * factor)), np.float32)
        draw_faces(mask, picture, FACES)
        for face in FACES:
            for x, y in face.landmarks:
                assert mask[round(y * factor), round(x * factor)] == 1
        assert mask[-1].max() == 0
        assert 0.1 < mask.mean() < 0.5


def test_a_face_leaves_the_others_in_the_mask():
    picture = Picture(smooth(300, 500))
    masks = [np.zeros((300, 500), np.float32) for _ in range(3)]
    for mask, faces in zip(masks, (FACES, FACES[:1], FACES[1:]), strict=True):
        draw_faces(mask, picture, faces)
    np.testing.assert_array_equal(masks[0], np.maximum(masks[1], masks[2]))


def test_the_oval_of_a_turned_head_is_narrower_beyond_its_nose():
    face = face_at(similarity(2, 0, -56, -56))
    nose = face.landmarks.nose[0] + 20, face.landmarks.nose[1]
    areas = []
    for marks in (face.landmarks, face.landmarks._replace(nose=nose)):
        mask = np.zeros((300, 300), np.float32)
        draw_faces(mask, Picture(smooth(300, 300)), [Face(face.box, marks, 0.9)])
        areas.append(mask[:, 156:].sum())
    assert areas[1] < 0.8 * areas[0]


def test_a_face_whose_landmarks_fit_no_face_is_left_out():
    mask = np.zeros((100, 100), np.float32)
    draw_faces(mask, Picture(smooth(100, 100)), [Face((0, 0, 9, 9), Landmarks(*[(5.0, 5.0)] * 5), 0.9)])
    assert not mask.any()


@pytest.mark.parametrize("box", [(-60, 10, 200, 320), (288, 100, 330, 150), (-40, 5, 20, 60)])
@pytest.mark.parametrize("share", [1, 0.57])
def test_the_number_of_a_face_at_the_edge_is_in_the_picture(box, share):
    marks = Landmarks((20, 40), (40, 40), (30, 60), (20, 80), (40, 80))
    counts = []
    for place in (box, (100, 100, 200, 200)):
        face = Face(place, marks, 0.9, restored=True, share=share)
        drawn = numbered(Picture(np.full((300, 300, 3), 128, np.uint8)), [face])
        counts.append((drawn == 0).all(axis=2).sum())
    assert counts[0] == counts[1] > 0
