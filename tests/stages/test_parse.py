import numpy as np
import pytest
import torch
from torch import nn

from facemend.pipeline import Pipeline
from facemend.records import Settings
from facemend.stages import batches
from facemend.stages.parse import FACE_CLASSES, ParseNetParser
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler
from tests.pictures import CPU, detector, face_at, identity, similarity, smooth


class Halves(nn.Module):
    """Predicts class `left` for the left half of a face and `right` for the right half."""

    def __init__(self, left, right):
        super().__init__()
        self.labels = left, right

    def forward(self, x):
        scores = torch.zeros(len(x), 19, *x.shape[2:])
        half = x.shape[3] // 2
        scores[:, self.labels[0], :, :half] = 1
        scores[:, self.labels[1], :, half:] = 1
        return scores


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_mask_contains_face_classes_with_soft_edges_and_no_frame(dtype):
    (mask,) = ParseNetParser("halves", Halves(1, 0), CPU)([smooth(512, 512, dtype)])
    assert mask.shape == (512, 512)
    assert mask.dtype == np.float32
    assert mask[256, 128] == pytest.approx(1, abs=1e-3)
    assert mask[256, 400] == pytest.approx(0, abs=1e-3)
    assert 0.3 < mask[256, 256] < 0.7
    assert 0.08 < mask[256, 276] < 0.11  # blurred twice; once would leave 0.03
    assert not mask[:10].any()
    assert not mask[:, :10].any()


@pytest.mark.parametrize("label", range(19))
def test_the_mask_excludes_hat_neck_necklace_clothes_and_background(label):
    (mask,) = ParseNetParser("halves", Halves(label, label), CPU)([smooth(512, 512)])
    assert mask[256, 256] == pytest.approx(float(label in FACE_CLASSES), abs=1e-3)
    assert (label in FACE_CLASSES) == (label not in (0, 14, 16, 17, 18))


def test_a_gpu_replays_recordings_of_the_parser():
    assert ParseNetParser("halves", Halves(1, 0), CPU)._network._fixed_size


def test_faces_are_masked_in_batches_and_in_order(monkeypatch):
    monkeypatch.setattr(batches, "LARGEST_BY_TYPE", {})
    sizes = []

    class Brightness(nn.Module):
        """Predicts class 1 for bright faces and background for dark ones."""

        def forward(self, x):
            sizes.append(len(x))
            classes = (x[:, :1] > 0).float()
            return torch.cat((1 - classes, classes), 1)

    bright = [True, False, False, True, True, False, True]
    faces = [np.full((512, 512, 3), 200 if one else 50, np.uint8) for one in bright]
    masks = ParseNetParser("brightness", Brightness(), CPU)(faces)
    assert [bool(mask[256, 256] > 0.5) for mask in masks] == bright
    assert sizes == [4, 2, 1]


def test_only_the_parsed_part_of_a_face_is_pasted():
    def white(crops, fidelity):
        return [np.full_like(crop, 255) for crop in identity(crops, fidelity)]

    pipeline = Pipeline(
        detector=detector(face_at(similarity(2, 0, -160, -160))),
        restorer=FunctionRestorer(white),
        upscaler=LanczosUpscaler(),
        parser=ParseNetParser("halves", Halves(1, 0), CPU),
    )
    picture = smooth(420, 420)
    out = pipeline.run(picture, Settings(scale=1)).pixels
    assert (out[208, 145] == 255).all()
    np.testing.assert_array_equal(out[208, 280], picture[208, 280])
    assert abs(out[208, 86].astype(int) - picture[208, 86]).max() < 15, "no edge where the crop ends"
