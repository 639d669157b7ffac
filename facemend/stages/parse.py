"""Mask the face in a restored crop with ParseNet."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from torch import nn

from facemend.machine.device import Device
from facemend.machine.network import Network
from facemend.records import Floats, Pixels
from facemend.stages.batches import in_batches

FACE_CLASSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)  # not background, hat, neck, necklace, clothes
BLUR = (101, 11.0)  # size and sigma in px of the Gaussian kernel, which is applied twice
FRAME = 10  # px at the edge of the crop in which the mask is 0


class ParseNetParser:
    """Masks faces with ParseNet.

    Args:
        name: the model's name.
        net: (N, 3, 512, 512) RGB in [-1, 1] -> (N, 19, 512, 512) logits.
        device: the device it runs on.
    """

    def __init__(self, name: str, net: nn.Module, device: Device) -> None:
        self.name = name
        self._network = Network(name, net, device, fixed_size=True)
        self._device = device

    def __call__(self, faces: Sequence[Pixels]) -> Iterator[Floats]:
        """Mask faces; see `stages.Parser`."""
        for labels in in_batches(self.name, self._device.place, faces, self._labels):
            yield from map(_mask, labels)

    def _labels(self, faces: Sequence[Pixels]) -> npt.NDArray[np.int64]:
        """The class of each px: (N, 512, 512)."""
        labels: npt.NDArray[np.int64] = self._network(self._device.faces(faces)).argmax(1).cpu().numpy()
        return labels


def _mask(labels: npt.NDArray[np.int64]) -> Floats:
    mask = np.isin(labels, FACE_CLASSES).astype(np.float32)
    kernel, sigma = BLUR
    for _ in range(2):
        mask = cv2.GaussianBlur(mask, (kernel, kernel), sigma).astype(np.float32, copy=False)
    inside = np.zeros_like(mask)
    inside[FRAME:-FRAME, FRAME:-FRAME] = mask[FRAME:-FRAME, FRAME:-FRAME]
    return inside
