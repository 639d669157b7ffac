import re
from pathlib import Path

import pytest

from facemend.weights.models import MODELS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/container.md", "docs/supervision.md", "weights/README.md", "SECURITY.md"]
)
def test_files_that_are_named_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named = re.findall(r"`((?:[a-z]+/)+[A-Za-z_.]+\.[a-z]+)`", text)
    missing = [name for name in linked + named if not (ROOT / name).exists() and not name.startswith(".cog/")]
    assert not missing


def test_every_model_is_in_the_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for model in MODELS.values():
        if model.task != "companion":
            assert f"`{model.public_name}`" in text or f"`-{model.name.split('-')[-1]}`" in text, model.name
