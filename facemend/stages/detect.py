"""Find faces and their five landmarks in a picture (RetinaFace)."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facemend.errors import NonFiniteError
from facemend.machine.device import Device
from facemend.nets import retinaface
from facemend.records import DEFAULT_SETTINGS, Face, Landmarks, Matrix, Pixels, Settings, peak
from facemend.stages.geometry import compose, scaling

SHORT_SIDE = 640  # px the short side is brought to: small faces are found, a huge picture costs no more
LONG_SIDE = 4096  # px, for panoramas
SECOND_LONG_SIDE = 1920  # px at most when a picture in which nothing was found is looked at in full
TURNED_DOUBT = 2  # times surer than others a face must be that only a turned view shows, as few lie on their side
OVERLAP = 0.4  # intersection over union from which two boxes are one face
CONTAINED = 0.8  # share of a box inside a larger one from which it is taken for a part of that face
EYES = 5.0  # px between the eyes; below, there is nothing to restore from
LANDMARK_FIELDS = len(Landmarks._fields)


class RetinaFaceDetector:
    """RetinaFace on pictures of any size; faces on their side or upside down are found too.

    Args:
        name: the model's name.
        net: a `RetinaFace`.
        device: where it runs; float32 is used in any case (it is fast, and half precision moves landmarks).
    """

    def __init__(self, name: str, net: nn.Module, device: Device) -> None:
        self.name = name
        self._device = Device(device.place, torch.float32)
        self._net = self._device.put(net)

    def __call__(self, pixels: Pixels, settings: Settings = DEFAULT_SETTINGS) -> list[Face]:
        """As a `Detector`."""
        if min(pixels.shape[:2]) < settings.min_face:
            return []
        threshold = min(1 - 0.4 * settings.sensitivity, 0.99)
        certain = 1 - (1 - threshold) / TURNED_DOUBT
        best: list[Face] = []
        for turns, scale in self._views(*pixels.shape[:2]):
            if best and not turns:
                continue  # found already, though not upright: only turning can help
            view, to_picture = _view(pixels, turns, scale)
            seen = _without_contained(self._search(view, threshold))
            pairs = [(face, _mapped(face, to_picture)) for face in seen]
            pairs = [(in_view, face) for in_view, face in pairs if _large_enough(face, settings.min_face)]
            upright = sum(_is_upright(in_view) for in_view, _ in pairs) > len(pairs) / 2
            sure = any(_is_upright(in_view) and in_view.score > certain for in_view, _ in pairs)
            if not turns or (upright and (best or sure)):
                best = sorted((face for _, face in pairs), key=lambda face: face.box[:2])
                if upright:
                    break
        return best

    @staticmethod
    def _views(height: int, width: int) -> Iterator[tuple[int, float]]:
        """(quarter turns, scale) of each look; the next is taken only if those before found nothing upright."""
        usual = min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width))
        yield 0, usual
        full = min(1.0, SECOND_LONG_SIDE / max(height, width))
        if full > usual:
            yield 0, full
        for turns in (1, 2, 3):
            yield turns, usual

    def _search(self, view: Pixels, threshold: float) -> list[Face]:
        """Faces in a view, in px of the view."""
        mean = np.array(retinaface.MEAN[::-1], dtype=np.float32)  # the pixels are still RGB
        values = view.astype(np.float32) * (255 / peak(view)) - mean
        tensor = self._device.tensor(np.ascontiguousarray(values[None, ..., ::-1]))
        with torch.inference_mode():
            loc, conf, landmarks = (out[0].cpu() for out in self._net(tensor))
        if not (loc.isfinite().all() and conf.isfinite().all() and landmarks.isfinite().all()):
            raise NonFiniteError(self.name)
        score = conf[:, 1]
        kept = (score > threshold).nonzero()[:, 0]
        priors = retinaface.priors(*view.shape[:2])[kept]
        boxes, points, score = _decoded(loc[kept], priors), _points(landmarks[kept], priors), score[kept]
        corners = boxes.numpy().astype(float)
        rectangles = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), 1)
        best = cv2.dnn.NMSBoxes(rectangles.tolist(), score.tolist(), threshold, OVERLAP)
        return [
            Face(tuple(boxes[i].tolist()), Landmarks(*map(tuple, points[i].tolist())), float(score[i])) for i in best
        ]


def _view(pixels: Pixels, turns: int, scale: float) -> tuple[Pixels, Matrix]:
    """The picture, scaled and turned left by quarters, and the map from px of this view to px of the picture."""
    height, width = pixels.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    view = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    right, bottom = size[0] - 1, size[1] - 1
    unturned = {
        0: ((1, 0, 0), (0, 1, 0)),
        1: ((0, -1, right), (1, 0, 0)),
        2: ((-1, 0, right), (0, -1, bottom)),
        3: ((0, 1, 0), (-1, 0, bottom)),
    }[turns]
    enlarged = scaling(width / size[0], height / size[1])
    return np.rot90(view, turns), compose(enlarged, np.array(unturned, dtype=np.float64))


def _decoded(loc: Tensor, priors: Tensor) -> Tensor:
    """(P, 4) boxes x0 y0 x1 y1 in px."""
    centre = priors[:, :2] + loc[:, :2] * retinaface.VARIANCE[0] * priors[:, 2:]
    half = priors[:, 2:] * torch.exp(loc[:, 2:] * retinaface.VARIANCE[1]) / 2
    return torch.cat((centre - half, centre + half), 1)


def _points(landmarks: Tensor, priors: Tensor) -> Tensor:
    """(P, 5, 2) landmarks in px."""
    offsets = landmarks.reshape(-1, LANDMARK_FIELDS, 2) * retinaface.VARIANCE[0]
    return priors[:, None, :2] + offsets * priors[:, None, 2:]


def _mapped(face: Face, matrix: Matrix) -> Face:
    """The face in px of the map's target; its box stays upright."""
    corners = np.array(face.box).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
    points = face.landmarks.array() @ matrix[:, :2].T + matrix[:, 2]
    x0, y0 = corners.min(axis=0).tolist()
    x1, y1 = corners.max(axis=0).tolist()
    return replace(face, box=(x0, y0, x1, y1), landmarks=Landmarks(*map(tuple, points.tolist())))


def _is_upright(face: Face) -> bool:
    """Whether the mouth is below the eyes; the landmarks of a face on its side are far off."""
    points = face.landmarks.array()
    x, y = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    return bool(y > abs(x))


def _without_contained(faces: list[Face]) -> list[Face]:
    """Without boxes that lie inside a larger one: an eye or a mouth taken for a face."""

    def area(box: tuple[float, float, float, float]) -> float:
        return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])

    def inside(small: Face, large: Face) -> bool:
        a, b = small.box, large.box
        shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
        return area(a) < area(b) and shared >= CONTAINED * area(a)

    return [face for face in faces if not any(inside(face, other) for other in faces)]


def _large_enough(face: Face, min_face: int) -> bool:
    x0, y0, x1, y1 = face.box
    return min(x1 - x0, y1 - y0) >= min_face and face.landmarks.eye_distance >= EYES
