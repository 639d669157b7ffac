"""Imports point down only, and the command line starts fast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facemend"
LAYERS = [  # a module may import from the lines above its own
    {"errors"},
    {"records"},
    {"nets"},
    {"models"},
    {"installed"},
    {"geometry", "weights", "download", "colour", "deep", "jpeg", "heap", "cgroup"},
    {"memory"},
    {"captured"},
    {"device"},
    {"images", "encode"},
    {"detect", "align", "restore", "upscale", "paste", "parse", "draw"},
    {"result"},
    {"pipeline"},
    {"cli"},
    {"__main__"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}


def imports(path):
    """Modules of the package that a file imports for running, not for type checking."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checking = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in checking:
            if node.module == "facemend":
                yield from (alias.name for alias in node.names if alias.name in RANK)
            elif node.module.startswith("facemend."):
                yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_down(path):
    if path.stem == "__init__":
        assert set(imports(path)) <= {"errors", "records"}
        return
    assert path.stem in RANK, "say in LAYERS where the new module belongs"
    wrong = [name for name in imports(path) if RANK[name] >= RANK[path.stem]]
    assert not wrong


@pytest.mark.parametrize("path", sorted((PACKAGE / "nets").glob("*.py")), ids=lambda path: path.stem)
def test_nets_import_only_torch_and_each_other(path):
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
            assert node.module.startswith("facemend.nets") or not node.module.startswith("facemend")
        elif isinstance(node, ast.Import):
            roots.update(alias.name.split(".")[0] for alias in node.names)
    assert roots <= {"torch", "facemend", *sys.stdlib_module_names}


def test_networks_are_reached_with_one_import():
    command = "import facemend; print(type(facemend.weights.MODELS['lite-upscaler'].net()).__name__)"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "SRVGGNetCompact\n"


@pytest.mark.parametrize("arguments", [["-c", "import facemend"], ["-m", "facemend", "--help"]])
def test_starting_does_not_import_torch(arguments):
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()}
    assert "facemend.errors" in loaded
    assert not {"torch", "cv2"} & loaded
