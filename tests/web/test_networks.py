from pathlib import Path

import pytest
import torch

from facemend import loader
from facemend.errors import NotInstalledError, OptionError
from facemend.pipeline import Pipeline
from facemend.web.networks import Networks, offered
from facemend.weights import installed
from facemend.weights.models import MODELS


def names(pipeline):
    stages = (pipeline.detector, pipeline.restorer, pipeline.upscaler, pipeline.parser, pipeline.repairer)
    return [stage and stage.name for stage in stages]


@pytest.mark.parametrize("repair", [False, True])
def test_the_networks_are_those_of_the_command_line(repair):
    of_command_line = Pipeline.load(repairer=None if repair else "none", scale=2)
    assert names(Networks().pipeline(scale=2, repair=repair)) == names(of_command_line)


def test_networks_are_loaded_once_and_one_for_each_task_is_kept():
    networks = Networks()
    first, second = networks.pipeline(), networks.pipeline(restorer="none")
    assert first.detector is second.detector is networks.finder().detector
    assert first.upscaler is second.upscaler
    assert second.restorer is None
    assert networks.pipeline().restorer is not first.restorer


def test_an_upscaler_is_loaded_again_when_its_companion_has_come(monkeypatch):
    model = MODELS["realesr-general-x4v3"]
    there = {model.name}
    monkeypatch.setattr(loader, "find", lambda name: Path(name) if name in there or name.startswith("lite") else None)
    monkeypatch.setattr(loader, "load", lambda model, path: torch.nn.Identity())
    networks = Networks()
    first = networks.pipeline(upscaler=model.name, restorer="none").upscaler
    assert networks.pipeline(upscaler=model.name, restorer="none").upscaler is first
    there.update(part.name for part in model.parts())
    assert networks.pipeline(upscaler=model.name, restorer="none").upscaler is not first


def test_what_is_not_installed_is_an_error_of_its_own():
    with pytest.raises(NotInstalledError, match="gfpgan-v1.4 are not installed"):
        Networks().pipeline(restorer="gfpgan-v1.4")
    with pytest.raises(OptionError, match="restorer is 'nothing'"):
        Networks().pipeline(restorer="nothing")


def test_models_are_offered_with_licence_and_size(tmp_path):
    rows = {row["name"]: row for row in offered("restorer")}
    assert rows["lite"] == {"name": "lite", "licence": "free", "installed": True, "bytes": 0, "fidelity": False}
    assert rows["codeformer"]["licence"] == "non-commercial"
    assert [name for name, row in rows.items() if row["fidelity"]] == ["codeformer"]
    general = MODELS["realesr-general-x4v3"]
    (row,) = [row for row in offered("upscaler") if row["name"] == general.name]
    assert row["bytes"] == sum(part.size for part in general.parts())  # with the network for the option denoise
    folder = installed.download_folder()
    folder.mkdir()
    (folder / general.file).touch()
    (row,) = [row for row in offered("upscaler") if row["name"] == general.name]
    assert (row["bytes"], row["installed"]) == (general.parts()[1].size, False)
