"""Find faces and their five landmarks in a picture (RetinaFace), whichever way up each of them is.

An upright view often shows a face that lies on its side or upside down, with a high score and with the landmarks of an
upright face that is not there. So neither the landmarks nor that score tell the orientation. Each face is therefore
detected again in a small square, in several orientations: in the right one the score is the highest. A face that is
turned is then detected in a larger square, in its own orientation, which gives its landmarks.

A face that the small square does not show in any orientation is refused.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facemend.machine import memory
from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.nets import retinaface
from facemend.records import DEFAULT_SETTINGS, Face, Floats, Landmarks, Pixels, Settings, peak
from facemend.stages import views
from facemend.stages.seen import Seen, crosses, distinct, is_near, merged, unknown, usual_quarter
from facemend.stages.views import View

SHORT_SIDE = 640  # px the short side is brought to: small faces are found, a huge picture costs no more
LONG_SIDE = 4096  # px, for panoramas
ENLARGED = 4.0  # times at most that a small picture is enlarged; further, trees may look like soft, large faces
# The middle of a picture is this part of each side. If nothing is found and the middle has less contrast than this, in
# 8-bit levels, it gets more. A border around a faded print, or a lamp in a dark room, has contrast of its own.
MIDDLE_PART, MIDDLE_CONTRAST = 1 / 2, 64
SECOND_LONG_SIDE = 1920  # px at most of a second look, in the picture's own size, for small faces
# Height of a face in px of the first view. If that shows a smaller face, a second look is for those that are smaller
# still. If it shows no face, a turned one in the second look must be smaller than this.
SMALL = 40
AT_ONCE = 1 << 21  # px of the views that go through the network together
OVERVIEW_SIDE = 160  # px of a square that shows the whole picture
OVERVIEW_BORDER = 0.25  # its width over the picture's long side; with it, faces larger than the picture are found
CLOSE_UP = 0.95  # height of a face over the picture's short side from which the overview shows it better
# The orientation of each face is found in a square around it. These figures were chosen on the portraits and old photos
# of the test pictures, with the official mobile0.25 and lite.
CHECK_MARGIN = 1.6  # side of the square over the face
CHECK_SIDES = (64, 80)  # px of the square; with more px, the wrong orientations have high scores too
PATCH = 1.5  # side of a patch over that of a square in it, which may be turned; at least the square root of 2
QUICK, THOROUGH = range(0, 360, 90), range(0, 360, 45)  # degrees to the left; for all faces, for those in doubt
CLEAR_LEAD = 0.2  # the orientation is not in doubt if its score exceeds those of the other quarters by this
LEAD = 0.02  # another orientation is taken if its mean score in both squares exceeds that of the first by this
CHECK_SCORE = 0.05  # from which an answer counts there
CONFIRMED = 0.08  # mean score in both squares, in the best orientation; a face with less is refused
SURE = 0.9  # the same after the contrast of the middle was raised, where clouds and walls may look like faces
AGAIN_SIDE, AGAIN_MARGIN = 256, 2.0  # px of the larger square, and its side over the face
# A face that only a turned view shows must have half the doubt (1 - score) of others, unless most faces are turned in
# that way. Turned views are searched if no upright face passes this stricter limit: in a picture that lies on its side,
# a few faces may look upright, with low scores.
TURNED_DOUBT = 2
EYES = 5.0  # px between the eyes; below, there is nothing to restore from
LANDMARK_FIELDS = len(Landmarks._fields)
OUTPUTS = [4, 2, 2 * LANDMARK_FIELDS]  # numbers of the network for each prior: box, scores, landmarks


class Decoded(NamedTuple):
    """Detections in several views of one size; many of the K detections are of the same face.

    Attributes:
        view: (K,) index of the view.
        boxes: (K, 4) x0 y0 x1 y1 in px of the view.
        points: (K, 5, 2) landmarks in px of the view.
        scores: (K,).
    """

    view: npt.NDArray[np.int64]
    boxes: Floats
    points: Floats
    scores: Floats


class RetinaFaceDetector:
    """RetinaFace on pictures of any size, for faces in any orientation.

    Args:
        name: the model's name.
        net: a `RetinaFace`.
        device: where it runs; float32 is used in any case (it is fast, and half precision moves landmarks).
    """

    def __init__(self, name: str, net: nn.Module, device: Device) -> None:
        self.name = name
        self._device = Device(device.place, torch.float32)
        self._network = Network(name, _Joined(retinaface.fold_batch_norms(copy.deepcopy(net))), self._device)

    def __call__(self, pixels: Pixels, settings: Settings = DEFAULT_SETTINGS) -> list[Face]:
        """As a `Detector`."""
        height, width = pixels.shape[:2]
        if min(height, width) < settings.min_face:
            return []
        threshold = min(1 - 0.4 * settings.sensitivity, 0.99)
        turned_threshold = 1 - (1 - threshold) / TURNED_DOUBT
        whole = views.whole(pixels)
        scale = min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width), ENLARGED)
        view = first = views.contrasted(views.scaled(whole, scale))
        small = SMALL * height / first.pixels.shape[0]  # px of the picture
        close_up = CLOSE_UP * min(height, width)

        upright, others = self._looks(first, threshold, turned_threshold)
        found = self._oriented(first, merged(upright, others, close_up), threshold)
        if not found and (middle := views.contrasted(first, MIDDLE_PART, MIDDLE_CONTRAST)) is not first:
            seen = merged(*self._looks(middle, threshold, turned_threshold), close_up)
            view, found = middle, self._oriented(middle, seen, threshold, SURE)
        if not found and (second := _larger_view(whole, first)):
            view, upright = second, self._look(second, 0, threshold)
            turned = [] if upright else self._turned_looks(second, turned_threshold)
            others = [one for one in turned if one.height < small]
            found = self._oriented(view, merged(upright, others, close_up), threshold)
        usual = usual_quarter(found)
        if usual:  # the whole picture is turned, so the upright view has not shown all faces
            more = unknown(self._turned_looks(view, threshold, [usual]), found)
            found += self._oriented(view, more, threshold)
        if view is first and any(one.height < small for one in found) and (second := _larger_view(whole, first)):
            more = self._turned_looks(second, threshold, [usual]) if usual else self._look(second, 0, threshold)
            more = unknown((one for one in more if one.height < small), found)
            found += self._oriented(second, more, threshold)
        faces = [one.face for one in distinct(found) if _large_enough(one.face, settings.min_face)]
        return sorted(faces, key=lambda face: face.box[:2])

    def _looks(self, view: View, threshold: float, turned_threshold: float) -> tuple[list[Seen], list[Seen]]:
        """The faces of a view as it is; and those of the overview or, if neither shows a sure one, of turned views."""
        upright, others = self._look(view, 0, threshold), self._overview(view, turned_threshold)
        if not others and all(one.face.score <= turned_threshold for one in upright):
            others = self._turned_looks(view, turned_threshold)
        return upright, others

    def _look(self, view: View, turns: int, threshold: float) -> list[Seen]:
        """The distinct faces of a view that is turned to the left by quarters first."""
        (seen,) = self._answers([view.turned(turns)], threshold)
        return [one._replace(degrees=90 * turns) for one in seen]

    def _turned_looks(self, view: View, threshold: float, quarters: Sequence[int] = (1, 2, 3)) -> list[Seen]:
        """The faces of a view that are upright after it is turned to the left by quarters."""
        return [one for turns in quarters for one in self._look(view, turns, threshold) if one.upright]

    def _overview(self, view: View, threshold: float) -> list[Seen]:
        """Upright faces in a small square that shows the whole picture with a border, in four orientations."""
        height, width = view.pixels.shape[:2]
        scale = OVERVIEW_SIDE / (1 + 2 * OVERVIEW_BORDER) / max(height, width)
        square = views.squared(views.scaled(view, scale), OVERVIEW_SIDE, _neutral(view))
        answers = self._answers([square.turned(turns) for turns in range(4)], threshold)
        return [
            one._replace(degrees=90 * turns, coarse=True)
            for turns, seen in enumerate(answers)
            for one in seen
            if one.upright
        ]

    def _oriented(
        self, view: View, seen: Sequence[Seen], threshold: float, confirming: float = CONFIRMED
    ) -> list[Seen]:
        """Confirmed faces in their right orientation: as they are, or detected again if they were seen in another one.

        A face that is not detected again stays as it is if it looked upright.
        """
        confirmed, colour = self._orientations(view, seen, confirming), _neutral(view)
        right = [one for one, angle in confirmed if angle == one.degrees and not one.coarse]
        again = [(one, angle) for one, angle in confirmed if angle != one.degrees or one.coarse]
        if not again:
            return right
        unconfirmed = []
        squares = [views.around(view, one.face.box, angle, AGAIN_MARGIN, AGAIN_SIDE, colour) for one, angle in again]
        for (one, angle), answers in zip(again, self._answers(squares, threshold), strict=True):
            same = [other for other in answers if other.upright and is_near(other.face.box, one.face.box)]
            if same:
                right.append(max(same, key=lambda other: other.face.score)._replace(degrees=angle))
            elif one.upright and not one.coarse:
                unconfirmed.append(one)
        return right + [one for one in unconfirmed if not any(crosses(one.face.box, other.face.box) for other in right)]

    def _orientations(self, view: View, seen: Sequence[Seen], confirming: float) -> list[tuple[Seen, int]]:
        """The confirmed faces, and the degrees to the left by which a view has to be turned to show each upright."""
        degrees = [one.degrees for one in seen]
        doubtful = []
        for index, scores in enumerate(self._scores(view, seen, QUICK, CHECK_SIDES[:1])):
            own = QUICK.index(degrees[index])
            if scores[own] < np.delete(scores, own).max() + CLEAR_LEAD:
                doubtful.append(index)
        thorough = self._scores(view, [seen[index] for index in doubtful], THOROUGH, CHECK_SIDES)
        refused = set()
        for index, scores in zip(doubtful, thorough, strict=True):
            if scores.max() > scores[THOROUGH.index(degrees[index])] + LEAD:
                degrees[index] = THOROUGH[scores.argmax()]
            if scores.max() < confirming:
                refused.add(index)
        return [(one, degrees[index]) for index, one in enumerate(seen) if index not in refused]

    def _scores(self, view: View, seen: Sequence[Seen], degrees: range, sides: Sequence[int]) -> Floats:
        """(faces, degrees): the score of an upright face in a square around each face, the mean of several sizes."""
        if not seen:
            return np.zeros((0, len(degrees)), np.float32)
        colour, boxes = _neutral(view), [one.face.box for one in seen]
        total = np.zeros((len(seen), len(degrees)), np.float32)
        for side in sides:
            squares = []
            for box in boxes:
                # Averaging is slow, so it is done once, for a patch that holds the square at every angle.
                patch = views.around(view, box, 0, PATCH * CHECK_MARGIN, round(PATCH * side), colour)
                squares += [views.around(patch, box, angle, CHECK_MARGIN, side, colour) for angle in degrees]
            seen_in, boxes_there, points, scores = self._decoded(squares, CHECK_SCORE)
            centres = (boxes_there[:, :2] + boxes_there[:, 2:]) / 2
            right = (np.abs(centres - side / 2).max(axis=1) < side / 4) & _upright(points)
            best = np.zeros(len(squares), np.float32)
            np.maximum.at(best, seen_in[right], scores[right])
            total += best.reshape(total.shape)
        mean: Floats = total / np.float32(len(sides))
        return mean

    def _answers(self, same_size: Sequence[View], threshold: float) -> list[list[Seen]]:
        """The distinct faces in each of several views of one size."""
        answers: list[list[Seen]] = [[] for _ in same_size]
        decoded = self._decoded(same_size, threshold)
        columns = (column.tolist() for column in (*decoded, _upright(decoded.points)))
        for index, box, marks, score, upright in zip(*columns, strict=True):
            answers[index].append(Seen(Face(tuple(box), Landmarks._make(map(tuple, marks)), score), upright))
        return [
            [one._replace(face=view.on_picture(one.face)) for one in distinct(seen)]
            for view, seen in zip(same_size, answers, strict=True)
        ]

    def _decoded(self, same_size: Sequence[View], threshold: float) -> Decoded:
        """All detections with a score above the threshold, in views of one size.

        The network takes as many at once as `AT_ONCE` allows. The free memory does not decide, as the rounding of
        scores may depend on the number.
        """
        height, width = same_size[0].pixels.shape[:2]
        count = max(1, AT_ONCE // (height * width))
        parts = []
        for start in range(0, len(same_size), count):
            with memory.limited(self.name, self._device.place):
                part = self._detections(same_size[start : start + count], threshold)
            parts.append(part._replace(view=part.view + start))
        return Decoded(*map(np.concatenate, zip(*parts, strict=True)))

    def _detections(self, same_size: Sequence[View], threshold: float) -> Decoded:
        """The same, for views that go through the network together."""
        pixels = np.stack([cv2.cvtColor(view.pixels, cv2.COLOR_RGB2BGR) for view in same_size])
        tensor = self._device.tensor(pixels)
        if pixels.dtype == np.uint16:
            tensor *= 255 / peak(pixels)
        tensor -= torch.tensor(retinaface.MEAN, device=tensor.device)[:, None, None]
        loc, conf, landmarks = torch.split(self._network(tensor).cpu(), OUTPUTS, 2)
        views_index, prior_index = (conf[..., 1] > threshold).nonzero(as_tuple=True)
        kept = views_index, prior_index
        priors = retinaface.priors(*pixels.shape[1:3])[prior_index]
        boxes, points = _boxes(loc[kept], priors), _points(landmarks[kept], priors)
        return Decoded(views_index.numpy(), boxes.numpy(), points.numpy(), conf[kept][:, 1].numpy())


class _Joined(nn.Module):
    """A RetinaFace whose three outputs are one tensor (N, K, 16), which is one copy from a GPU."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.net(x), 2)


def _boxes(loc: Tensor, priors: Tensor) -> Tensor:
    """(K, 4) boxes x0 y0 x1 y1 in px."""
    centre = priors[:, :2] + loc[:, :2] * retinaface.VARIANCE[0] * priors[:, 2:]
    half = priors[:, 2:] * torch.exp(loc[:, 2:] * retinaface.VARIANCE[1]) / 2
    return torch.cat((centre - half, centre + half), 1)


def _points(landmarks: Tensor, priors: Tensor) -> Tensor:
    """(K, 5, 2) landmarks in px."""
    offsets = landmarks.reshape(-1, LANDMARK_FIELDS, 2) * retinaface.VARIANCE[0]
    return priors[:, None, :2] + offsets * priors[:, None, 2:]


def _neutral(view: View) -> list[float]:
    """The RGB colour that becomes 0 in the network's input, in the depth of a view; for px outside the picture."""
    return [value * peak(view.pixels) / 255 for value in reversed(retinaface.MEAN)]


def _upright(points: Floats) -> npt.NDArray[np.bool_]:
    """(K,): whether the mouth is below the eyes, for (K, 5, 2) landmarks."""
    down = points[:, 3:].mean(axis=1) - points[:, :2].mean(axis=1)
    upright: npt.NDArray[np.bool_] = down[:, 1] > np.abs(down[:, 0])
    return upright


def _larger_view(whole: View, view: View) -> View | None:
    """A second view of a picture, of more px; None where the first shows as many already."""
    scale = min(1.0, SECOND_LONG_SIDE / max(whole.pixels.shape[:2]))
    more = scale * min(whole.pixels.shape[:2]) > min(view.pixels.shape[:2])
    return views.contrasted(views.scaled(whole, scale)) if more else None


def _large_enough(face: Face, min_face: int) -> bool:
    x0, y0, x1, y1 = face.box
    return min(x1 - x0, y1 - y0) >= min_face and face.landmarks.eye_distance >= EYES
