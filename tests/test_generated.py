"""Generated files match their sources, and literals are replaced correctly."""

import re
import subprocess
import sys

import pytest

from facemend.weights import hub
from facemend.weights.models import MODELS
from script.generate import products, with_literal
from script.openapi import ROOT

FILES = [
    "predict.py",
    "predict_creative.py",
    "openapi.json",
    "openapi_creative.json",
    "docs/models.md",
    "docs/formats.md",
]
SOURCE = """\
class Predictor:
    def run(
        self,
        image: Path = Input(description="Größe, before."),
        model: str = Input(
            default="a",
            choices=["a", "b"],
            description="█ A model.",
        ),
    ) -> Path: ...
"""


@pytest.fixture(scope="module")
def made():
    return products()


@pytest.mark.parametrize("path", FILES)
def test_a_generated_file_is_current(made, path):
    assert (ROOT / path).read_text(encoding="utf-8") == made[path], f"{path} is out of date: run `make generated`"


def test_every_generated_file_is_tested(made):
    assert made.keys() == set(FILES)


def test_the_page_has_one_row_for_each_model(made):
    lines = made["docs/models.md"].splitlines()
    rows = lines[lines.index(next(line for line in lines if line.startswith("| ---"))) + 1 :]
    rows = rows[: rows.index("")]
    assert len(rows) == len(MODELS)
    for row, model in zip(rows, MODELS.values(), strict=True):
        assert len(re.findall(r"(?<!\\)\|", row)) == 9, "a cell with a | in it"
        assert row.startswith(f"| `{model.public_name}` |")
        assert all(text in row for text in (model.file, model.licence, model.commercial, model.why, model.source))


def test_the_page_has_the_networks_of_the_upscaler_creative(made):
    for row in hub.REPOSITORIES.values():
        line = next(line for line in made["docs/models.md"].splitlines() if line.startswith(f"| `{row.name}`"))
        assert all(text in line for text in (row.url, row.licence, row.source, row.checked))
    assert hub.OPENRAIL in made["docs/models.md"]


def test_links_of_the_page_exist(made):
    links = re.findall(r"\]\((?!https:)([^)]+)\)", made["docs/models.md"])
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)


def test_a_list_is_replaced():
    assert with_literal(SOURCE, "model", "choices", ["c"]) == SOURCE.replace('["a", "b"]', '["c"]')


def test_a_description_is_replaced():
    assert with_literal(SOURCE, "image", "description", "Façade") == SOURCE.replace("Größe, before.", "Façade")


@pytest.mark.parametrize("length", [5, 94, 95, 96, 97, 130])
def test_a_replaced_list_is_formatted(length):
    made = with_literal(SOURCE, "model", "choices", ["a", "b" * (length - 5)])
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(ROOT / "predict.py"), "-"]
    formatted = subprocess.run(
        command, input=made.encode(), capture_output=True, check=True, timeout=60
    ).stdout.decode()
    assert made == formatted
    assert ("choices=[\n" in made) == (length > 95)
    assert with_literal(made, "model", "choices", ["a", "b"]) == SOURCE
