import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.comfyui.stand_in import modules

FOLDER = Path(__file__).parents[2] / "comfyui"
NAME = "custom_nodes/facemend-node"  # ComfyUI makes the name of the module from the folder's path


@pytest.fixture
def comfy(monkeypatch, tmp_path):
    """The stand-in of ComfyUI with the node loaded as ComfyUI does it: its modules, and what is theirs."""
    shown = []
    made = modules(tmp_path / "models", shown)
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    path = FOLDER / "__init__.py"
    spec = importlib.util.spec_from_file_location(NAME, path)
    extension = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, extension)
    spec.loader.exec_module(extension)
    yield SimpleNamespace(
        extension=extension,
        node=sys.modules[f"{NAME}.node"],
        networks=sys.modules[f"{NAME}.networks"],
        management=made["comfy.model_management"],
        shown=shown,
        models_dir=tmp_path / "models",
    )
    for name in [name for name in sys.modules if name.startswith(f"{NAME}.")]:
        del sys.modules[name]
