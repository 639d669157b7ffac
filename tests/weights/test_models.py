import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from facemend.errors import OptionError
from facemend.weights.models import MODELS, automatic, lookup, lookup_for, public_names


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_row_is_complete(model):
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.size > 500_000
    assert model.bundled == (model.licence == "CC0-1.0")
    assert all(url.startswith("https://") and url.endswith("/" + model.file) for url in model.urls)
    assert bool(model.why) == (model.commercial != "yes")


def test_files_and_hashes_are_unique():
    assert (
        len({model.file for model in MODELS.values()})
        == len({model.sha256 for model in MODELS.values()})
        == len(MODELS)
    )


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_tensor_of_a_network_comes_from_its_file(model):
    with torch.device("meta"):
        network = model.net()
    assert not network.training
    buffers = {name for name, _ in network.named_buffers()}
    assert buffers <= network.state_dict().keys()  # the loader gives no values to other buffers


def test_public_names_by_task():
    assert public_names("restorer") == (
        "gfpgan-v1.4",
        "gfpgan-v1.3",
        "gfpgan-v1.2",
        "restoreformer",
        "codeformer",
        "lite",
    )
    assert public_names("detector") == ("retinaface-r50", "retinaface-mobile0.25", "lite")
    assert public_names("parser") == ("parsenet",)
    assert "realesr-general-x4v3" in public_names("upscaler")


@pytest.mark.parametrize(
    ("scale", "first", "last"),
    [
        (0, "realesrgan-x4plus", "lite"),
        (1, "realesrgan-x2plus", "lite"),
        (2, "realesrgan-x2plus", "lite"),
        (2.5, "realesrgan-x4plus", "lite"),
        (8, "realesrgan-x4plus", "lite"),
    ],
)
def test_the_preferred_upscaler_has_the_smallest_scale_that_is_enough(scale, first, last):
    names = [model.public_name for model in automatic("upscaler", scale)]
    assert (names[0], names[-1]) == (first, last)
    assert set(names) == {model.public_name for model in automatic("upscaler")}


@pytest.mark.parametrize("task", ["restorer", "upscaler", "detector"])
def test_lite_names_one_model_of_each_task(task):
    assert lookup_for(task, "lite").task == task
    assert lookup_for(task, "lite").public_name == "lite"


def test_bundled_files_are_in_the_wheel():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    bundled = [model.file for model in MODELS.values() if model.bundled]
    assert included == {f"weights/{file}": f"facemend/bundled/{file}" for file in bundled}


def test_a_companion_is_a_part_of_its_model_and_no_choice():
    assert [model.name for model in lookup("realesr-general-x4v3").parts()] == [
        "realesr-general-x4v3",
        "realesr-general-wdn-x4v3",
    ]
    assert "realesr-general-wdn-x4v3" not in public_names("upscaler")
    assert [model.name for model in lookup("parsenet").parts()] == ["parsenet"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"'gfpgan'.*gfpgan-v1\.4"):
        lookup("gfpgan")


@pytest.mark.parametrize("module", ["models", "installed", "download"])
def test_the_table_of_models_does_not_import_torch(module):
    code = f"import sys, facemend.weights.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
