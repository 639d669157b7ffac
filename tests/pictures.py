"""Generated pictures and test doubles of networks that several tests use."""

import cv2
import numpy as np
import torch
from torch import nn

from facemend.machine.device import choose
from facemend.records import Face, Landmarks, Tiling
from facemend.stages.align import TEMPLATE
from facemend.stages.geometry import inverse

CPU = choose("cpu", "fp32", "fp32")
TILING = Tiling(scale=4, step=4, bytes_per_pixel=100)  # of `Repeat` with its default scale


def smooth(height, width, dtype=np.uint8, seed=0, cell=24):
    """(H, W, 3) of smooth random colours, from 10 % to 90 % of white."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // cell + 3, width // cell + 3, 3), dtype=np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.rint((0.1 + 0.8 * np.clip(fine, 0, 1)) * np.iinfo(dtype).max).astype(dtype)


def similarity(scale, degrees, x, y):
    """(2, 3) map that rotates and scales about the origin, then translates."""
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def face_at(matrix):
    """The face whose alignment is `matrix` (picture px -> 512 px crop)."""
    back = inverse(np.asarray(matrix, dtype=np.float64))
    points = TEMPLATE.array().astype(np.float64) @ back[:, :2].T + back[:, 2]
    x0, y0 = points.min(axis=0)
    x1, y1 = points.max(axis=0)
    return Face((x0, y0, x1, y1), Landmarks(*map(tuple, points.tolist())), 0.99)


def detector(*faces):
    """A detector that always finds these faces."""

    def detect(pixels, settings):
        return list(faces)

    detect.name = "drawn"
    return detect


def identity(crops, fidelity):
    """A restorer that changes nothing."""
    return [crop.copy() for crop in crops]


class Repeat(nn.Module):
    """An upscaling network that blurs and repeats pixels `scale` times; an output px depends on 5x5 input px."""

    def __init__(self, scale=4):
        super().__init__()
        self.scale = scale
        self.blur = nn.Conv2d(3, 3, 5, padding=2, groups=3, bias=False)
        nn.init.constant_(self.blur.weight, 1 / 25)

    def forward(self, x):
        x = torch.nn.functional.interpolate(self.blur(x), scale_factor=float(self.scale), mode="nearest")
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Whites(nn.Module):
    """A repairing network: white is damage."""

    def forward(self, x):
        return (x.amin(1, keepdim=True) > 0.999).float()
