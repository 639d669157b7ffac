"""Modules import only lower layers, and the command line starts without PyTorch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "facemend"
LAYERS = [  # a part (a folder or a file) may import itself and the parts in the lines above
    {"errors"},
    {"extras"},
    {"records"},
    {"creative"},
    {"nets"},
    {"weights", "machine", "files"},
    {"stages"},
    {"loader"},
    {"result", "treatment", "draw", "sheet"},
    {"pasting"},
    {"pipeline"},
    {"job", "collection", "comparison"},
    {"web", "batch"},
    {"cli", "container"},
    {"__main__"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
SHARED_STAGES = {
    "batches",
    "condition",
    "diffusion",
    "fill",
    "fitting",
    "geometry",
    "lines",
    "recolour",
    "resampling",
    "seams",
    "seen",
    "tiled",
    "tiles",
    "views",
    "windows",
}  # the only modules of stages/ that its other modules import


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
            names = node.module.split(".")
            if names[0] == "facemend":
                for alias in node.names:
                    module = PACKAGE.joinpath(*names[1:], alias.name)
                    is_module = module.is_dir() or module.with_suffix(".py").is_file()
                    yield ".".join([*names[1:], alias.name] if is_module else names[1:])


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_lower_layers(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in RANK, "add the new part to LAYERS"
    parts = {name.split(".")[0] for name in imports(path)} - {"", part}
    assert not [name for name in parts if RANK[name] >= RANK[part]]


def test_the_package_itself_imports_only_errors_and_records():
    assert set(imports(PACKAGE / "__init__.py")) == {"errors", "records"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_stages_do_not_import_each_other(path):
    stages = {name.partition(".")[2] for name in imports(path) if name.startswith("stages.")}
    assert stages <= SHARED_STAGES


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


def test_networks_are_available_after_import_facemend():
    command = "import facemend; print(type(facemend.weights.MODELS['lite-upscaler'].net()).__name__)"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "SRVGGNetCompact\n"


@pytest.mark.parametrize("arguments", [["-c", "import facemend"], ["-m", "facemend", "--help"]])
def test_import_and_help_do_not_import_torch(arguments):
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()}
    assert "facemend.errors" in loaded
    assert not {"torch", "cv2", "diffusers", "transformers", "huggingface_hub"} & loaded


def test_only_one_module_imports_diffusers():
    pattern = re.compile(r"(import|from) (diffusers|transformers)")
    assert [path.name for path in modules() if pattern.search(path.read_text("utf-8"))] == ["diffusion.py"]


def test_the_pipeline_does_not_import_diffusers():
    command = "import sys, facemend.pipeline; print(sorted({'diffusers', 'transformers'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "[]\n"
