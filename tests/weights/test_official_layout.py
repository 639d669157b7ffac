"""Checkpoints in the layout of their authors (wrapper key, prefix, names), run in the whole pipeline."""

import numpy as np
import pytest
import torch

from facemend.pipeline import Pipeline
from facemend.records import Settings
from facemend.weights import load
from tests.nets import reference
from tests.pictures import smooth
from tests.precisions import EMULATED

LAYOUTS = {
    "gfpgan-v1.4": ("gfpgan_1.4", lambda state: {"params_ema": state}),
    "restoreformer": ("restoreformer", lambda state: {"params": state}),
    "codeformer": ("codeformer", lambda state: {"params_ema": {f"module.{key}": state[key] for key in state}}),
}
# In float32 the other networks differ only in their weights and arguments, which have tests of their own.
COMPUTED = [
    ("gfpgan-v1.4", "fp32"),
    *(pytest.param(model, "bf16", marks=EMULATED) for model in LAYOUTS),
]


@pytest.mark.parametrize("model", LAYOUTS)
def test_all_weights_of_the_official_layout_are_loaded(model, tmp_path):
    record, wrapped = LAYOUTS[model]
    expected = reference.load(record).state_dict()
    torch.save(wrapped(expected), tmp_path / "own.pth")
    loaded = load(model, tmp_path / "own.pth").state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "precision"), COMPUTED)
def test_the_pipeline_computes_what_the_network_does(model, precision, tmp_path):
    record, wrapped = LAYOUTS[model]
    net = reference.load(record)
    path = tmp_path / "own.pth"
    torch.save(wrapped(net.state_dict()), path)
    pipeline = Pipeline.load(
        restorer=model, upscaler="lanczos", device="cpu", precision=precision, weights={model: path}
    )
    picture = smooth(512, 512)
    result = pipeline.run(picture, Settings(aligned=True, scale=1, fidelity=0.5))
    with torch.inference_mode():
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        expected = ((net(x)[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert result.faces[0].net == model
    if precision == "fp32":
        assert np.mean(result.pixels != expected) < 0.01, "the output of the network, up to rounding"
    else:
        assert 10 * np.log10(255**2 / np.mean((result.pixels - expected) ** 2)) > 35  # dB
