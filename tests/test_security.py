"""The code never unpickles a file, and never starts a shell."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [path for folder in ("facemend", "training", "bench", "script") for path in (ROOT / folder).rglob("*.py")]
CODE += ROOT.glob("*.py")


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_unpickles_or_uses_a_shell(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in [ast.unparse(keyword) for keyword in node.keywords]
        if isinstance(node, ast.keyword):
            assert ast.unparse(node) not in ("allow_pickle=True", "shell=True")
