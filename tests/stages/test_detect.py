import math

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from facemend.errors import NonFiniteError
from facemend.nets import retinaface
from facemend.records import Settings
from facemend.stages.detect import RetinaFaceDetector
from facemend.weights import load
from tests.pictures import CPU, smooth


class Marks(nn.Module):
    """Stands in for RetinaFace: sees one face wherever there is a red patch, with its eyes above its mouth."""

    def forward(self, x):
        height, width = x.shape[2:]
        priors = retinaface.priors(height, width)
        red = (x[0, 2] + retinaface.MEAN[2] > 180) & (x[0, 0] + retinaface.MEAN[0] < 80)
        loc = torch.zeros(1, len(priors), 4)
        conf = torch.zeros(1, len(priors), 2)
        landmarks = torch.zeros(1, len(priors), 10)
        if red.any():
            ys, xs = red.nonzero().float().T
            centre = torch.stack((xs.mean(), ys.mean()))
            side = (xs.max() - xs.min() + 1).clamp(min=1)
            best = int((priors[:, :2] - centre).norm(dim=1).argmin())
            size = priors[best, 2]
            loc[0, best, :2] = (centre - priors[best, :2]) / size / 0.1
            loc[0, best, 2:] = torch.log(side / size) / 0.2
            conf[0, best, 1] = 0.9
            offsets = torch.tensor([(-0.3, -0.2), (0.3, -0.2), (0, 0), (-0.2, 0.3), (0.2, 0.3)]) * side
            landmarks[0, best] = ((centre + offsets - priors[best, :2]) / size / 0.1).flatten()
        return loc, conf, landmarks


@pytest.mark.parametrize("output", [0, 1, 2])
def test_values_that_are_no_numbers_are_an_error_with_the_name_of_the_network(output):
    class Lost(Marks):
        def forward(self, x):
            outputs = super().forward(x)
            outputs[output][0, 5, 1] = torch.inf
            return outputs

    with pytest.raises(NonFiniteError, match="lost"):
        RetinaFaceDetector("lost", Lost(), CPU)(np.zeros((64, 64, 3), np.uint8))


def test_a_picture_smaller_than_the_smallest_face_is_not_looked_at():
    class Unused(nn.Module):
        def forward(self, x):
            pytest.fail("looked")

    assert RetinaFaceDetector("unused", Unused(), CPU)(np.zeros((15, 900, 3), np.uint8), Settings(min_face=16)) == []


def patch(height, width, x, y, side):
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[y : y + side, x : x + side] = (250, 10, 10)
    return picture


@pytest.fixture
def detector():
    return RetinaFaceDetector("marks", Marks(), CPU)


@pytest.mark.parametrize(("height", "width"), [(640, 640), (300, 450), (1500, 900), (331, 777)])
def test_boxes_and_landmarks_are_in_px_of_the_picture(detector, height, width):
    (face,) = detector(patch(height, width, 100, 60, 80))
    np.testing.assert_allclose(face.box, (99.5, 59.5, 179.5, 139.5), atol=2.5)
    np.testing.assert_allclose(face.landmarks.nose, (139.5, 99.5), atol=1)
    assert face.landmarks.left_eye[0] < face.landmarks.right_eye[0]
    assert face.landmarks.eye_distance == pytest.approx(48, abs=2)


def test_16_bit_pictures_are_the_same(detector):
    picture = patch(300, 450, 100, 60, 80)
    assert detector(picture.astype(np.uint16) * 257)[0].box == pytest.approx(detector(picture)[0].box, abs=0.1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (3000, 10), (40, 50)])
def test_nothing_found_is_no_error(detector, height, width):
    assert detector(smooth(height, width) // 4 + 90) == []


def test_small_faces_are_left_out(detector):
    picture = patch(640, 640, 100, 60, 30)
    assert len(detector(picture, Settings(min_face=16))) == 1
    assert detector(picture, Settings(min_face=60)) == []
    assert detector(patch(640, 640, 100, 60, 7), Settings(min_face=1)) == [], "eyes less than 5 px apart"


class Boxes(nn.Module):
    """Sees the faces it is told, as (x0, y0, x1, y1, score) in px of a 640 px picture."""

    def __init__(self, *boxes, upright=True):
        super().__init__()
        self.boxes = boxes
        self.down = 1 if upright else -1

    def forward(self, x):
        priors = retinaface.priors(*x.shape[2:])
        loc, conf = torch.zeros(1, len(priors), 4), torch.zeros(1, len(priors), 2)
        landmarks = torch.zeros(1, len(priors), 10)
        for index, (x0, y0, x1, y1, score) in enumerate(self.boxes):
            prior = priors[index]
            centre = torch.tensor(((x0 + x1) / 2, (y0 + y1) / 2))
            size = torch.tensor((x1 - x0, y1 - y0))
            loc[0, index, :2] = (centre - prior[:2]) / prior[2] / 0.1
            loc[0, index, 2:] = torch.log(size / prior[2]) / 0.2
            conf[0, index, 1] = score
            spread = torch.tensor([(-0.3, -0.2), (0.3, -0.2), (0, 0), (-0.2, 0.3), (0.2, 0.3)]) * size * self.down
            landmarks[0, index] = ((centre + spread - prior[:2]) / prior[2] / 0.1).flatten()
        return loc, conf, landmarks


def found(*boxes):
    faces = RetinaFaceDetector("boxes", Boxes(*boxes), CPU)(np.zeros((640, 640, 3), np.uint8))
    return [tuple(round(value) for value in face.box) for face in faces]


@pytest.mark.parametrize(
    ("score", "sensitivity", "count"), [(0.9, 0.5, 1), (0.9, 0, 0), (0.995, 0, 1), (0.65, 0.5, 0), (0.65, 1, 1)]
)
def test_sensitivity_sets_the_threshold(score, sensitivity, count):
    detector = RetinaFaceDetector("boxes", Boxes((100, 100, 200, 200, score)), CPU)
    assert len(detector(np.zeros((640, 640, 3), np.uint8), Settings(sensitivity=sensitivity))) == count


def test_of_overlapping_boxes_the_surest_stays():
    assert found((100, 100, 200, 200, 0.9), (110, 105, 205, 205, 0.99)) == [(110, 105, 205, 205)]


def test_an_eye_taken_for_a_face_is_left_out():
    assert found((100, 100, 300, 300, 0.9), (120, 120, 160, 160, 0.99)) == [(100, 100, 300, 300)]


def test_a_face_half_in_front_of_a_larger_one_stays():
    assert found((100, 100, 300, 300, 0.9), (250, 150, 350, 250, 0.99)) == [(100, 100, 300, 300), (250, 150, 350, 250)]


def test_faces_side_by_side_both_stay_from_left_to_right():
    assert found((300, 10, 400, 110, 0.99), (20, 200, 120, 300, 0.9)) == [(20, 200, 120, 300), (300, 10, 400, 110)]


NOTHING = Boxes()


class Looks(nn.Module):
    """Sees something else in each look: upright, then turned by one, two and three quarters."""

    def __init__(self, *looks):
        super().__init__()
        self.looks = iter(looks)

    def forward(self, x):
        return next(self.looks)(x)


def test_a_turned_view_shows_better_what_the_upright_look_found_upside_down():
    box = (100, 100, 200, 200)
    looks = Looks(Boxes((*box, 0.85), upright=False), NOTHING, Boxes((*box, 0.88)))
    (face,) = RetinaFaceDetector("looks", looks, CPU)(np.zeros((640, 640, 3), np.uint8))
    assert face.score == pytest.approx(0.88)


@pytest.mark.parametrize(
    ("scores", "upright", "count"),
    [
        ((0.95, 0.85), True, 2),  # one sure face, and the view is believed
        ((0.85, 0.88), True, 0),
        ((0.95, 0.85), False, 0),  # of a face upside down here, the upright look would have told
    ],
)
def test_a_turned_view_needs_a_surer_face_that_is_upright_in_it(scores, upright, count):
    first, second = scores
    turned = Boxes((100, 100, 200, 200, first), (300, 300, 400, 400, second), upright=upright)
    detector = RetinaFaceDetector("looks", Looks(NOTHING, NOTHING, turned, NOTHING), CPU)
    assert len(detector(np.zeros((640, 640, 3), np.uint8))) == count


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_only_a_turned_view_shows_is_where_it_is_in_the_picture(turns):
    looks = Looks(*[NOTHING] * turns, Marks())
    (face,) = RetinaFaceDetector("looks", looks, CPU)(patch(640, 700, 100, 60, 80), Settings(sensitivity=0.6))
    np.testing.assert_allclose(face.box, (99.5, 59.5, 179.5, 139.5), atol=0.1)
    np.testing.assert_allclose(face.landmarks.nose, (139.5, 99.5), atol=0.1)


@pytest.fixture(scope="module")
def mobile(shared):
    return RetinaFaceDetector(
        "retinaface-mobile0.25",
        load("retinaface-mobile0.25", shared / "weights" / "detection_mobilenet0.25_Final.pth"),
        CPU,
    )


def pictures(folder):
    paths = sorted(folder.iterdir())
    assert paths
    return [(path, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)) for path in paths]


@pytest.mark.weights
def test_group_photos_have_their_faces_whichever_way_they_are_turned(shared, mobile):
    for path, picture in pictures(shared / "data" / "group_photos"):
        upright = mobile(picture)
        assert len(upright) >= 2, path.name
        for turns in (1, 2, 3):
            assert len(mobile(np.ascontiguousarray(np.rot90(picture, turns)))) == len(upright), path.name


@pytest.mark.weights
def test_turned_faces_are_mapped_back(shared, mobile):
    picture = pictures(shared / "data" / "portraits" / "val")[0][1]
    upright = mobile(picture)[0]
    height = picture.shape[0]
    turned = mobile(np.ascontiguousarray(np.rot90(picture, -1)))[0]  # (x, y) -> (height - 1 - y, x)
    for name, (x, y) in upright.landmarks._asdict().items():
        assert math.dist(getattr(turned.landmarks, name), (height - 1 - y, x)) < 0.1 * upright.landmarks.eye_distance


@pytest.mark.weights
def test_no_face_is_missed_that_yunet_finds_too(shared, mobile):
    """A second opinion by another network: each face it is sure of must be ours as well."""
    files = pictures(shared / "data" / "group_photos") + pictures(shared / "data" / "portraits" / "val")
    for path, picture in files:
        height, width = picture.shape[:2]
        scale = 640 / min(height, width)
        size = round(width * scale), round(height * scale)
        model = str(shared / "weights" / "face_detection_yunet_2023mar.onnx")
        yunet = cv2.FaceDetectorYN.create(model, "", size, 0.9)
        rows = yunet.detect(cv2.resize(picture[..., ::-1], size))[1]
        assert rows is not None, path.name
        ours = mobile(picture)
        for row in rows / scale:
            near = [face for face in ours if math.dist(face.landmarks.nose, row[8:10]) < 0.5 * row[2]]
            assert near, f"{path.name}: no face at {row[:4]}"
            eyes = near[0].landmarks
            assert math.dist(eyes.left_eye, row[4:6]) < 0.25 * eyes.eye_distance
            assert math.dist(eyes.right_eye, row[6:8]) < 0.25 * eyes.eye_distance
