import re
from pathlib import Path

import pytest

from facemend.weights.models import MODELS

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "SECURITY.md",
    "weights/README.md",
    "comfyui/README.md",
    *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_file_named_in_a_page_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named = re.findall(r"`((?:[a-z]+/)+[A-Za-z_.]+\.[a-z]+)`", text)
    tests = re.findall(r"\btests/[\w/]+\.py", text)
    missing = [name for name in linked if not (ROOT / page).parent.joinpath(name).exists()]
    missing += [name for name in named + tests if not (ROOT / name).exists() and not name.startswith(".cog/")]
    assert not missing


def test_every_model_in_the_readme_is_registered():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| purpose | models |")[2].partition("\n\n")[0]
    named = re.findall(r"`([^`]+)`", table)
    assert named
    assert set(named) <= {model.public_name for model in MODELS.values()}
