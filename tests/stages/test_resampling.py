import numpy as np
import pytest
import torch

from facemend.stages.resampling import Resampling
from facemend.stages.tiles import spans

SCALE = 4


@pytest.mark.parametrize("ratio", [1.5, 2, 3, 5.3, 8])
def test_a_wave_keeps_its_place_and_its_height(ratio):
    """Of 14 px of the network's output; a filter of one lobe is 0.024 to 0.078 off."""
    length = 90
    (span,) = spans(length, round(length * ratio), 360, 4, 28)
    inputs = (np.arange(span.length * SCALE) + 0.5) / SCALE + span.first
    wave = torch.from_numpy(np.sin(inputs * SCALE * 2 * np.pi / 14).astype(np.float32))
    out = Resampling(span, SCALE, torch.device("cpu"))(wave[None, :, None].expand(3, -1, 2))
    centres = (np.arange(span.start, span.stop) + 0.5) / span.ratio
    expected = np.sin(centres * SCALE * 2 * np.pi / 14)
    assert out.shape == (3, len(expected), 2)
    assert np.abs(out[1, :, 1].numpy() - expected).max() < 0.015
