"""openapi.json, cog.yaml and .dockerignore match predict.py and the package."""

import ast
import json
import re
import subprocess
import sys
import tomllib

import jsonschema
import openapi_spec_validator
import pytest
import yaml

from facemend.container.names import OLD, VERSIONS
from facemend.files.formats import FORMATS
from facemend.machine import process
from facemend.weights.models import public_names
from script.openapi import ROOT, TARGET, document
from tests.cog.serving import ARENAS

SOURCE = (ROOT / "predict.py").read_text(encoding="utf-8")
DOCUMENT = json.loads(TARGET.read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
INPUTS = SCHEMAS["Input"]["properties"]
CONFIG = yaml.safe_load((ROOT / "cog.yaml").read_text(encoding="utf-8"))
EXPECTED = {  # name: type, default, bounds or choices
    "image": ("string", "required", None),
    "model": ("string", "auto", {"auto", *public_names("restorer")}),
    "fidelity": ("number", 0.5, (0, 1)),
    "upscale": ("number", 2, (1, 8)),
    "face_enhance": ("boolean", True, None),
    "only_center_face": ("boolean", False, None),
    "strength": ("number", 1, (0, 1)),
    "adaptive": ("boolean", True, None),
    "repair": ("boolean", False, None),
    "strip_metadata": ("boolean", False, None),
    "upscaler": ("string", "auto", {"auto", "lanczos", *public_names("upscaler")}),
    "denoise": ("number", 0.5, (0, 1)),
    "aligned": ("boolean", False, None),
    "sensitivity": ("number", 0.5, (0, 1)),
    "seed": ("integer", None, (0, 2**53 - 1)),
    "output_format": ("string", "auto", {"auto", "png", "jpg", "webp"}),
    "output_quality": ("integer", 95, (1, 100)),
    "scale": ("number", None, (1, 8)),
    "upscaling": ("number", None, (1, 8)),
    "version": ("string", None, set(VERSIONS)),
    "codeformer_fidelity": ("number", None, (0, 1)),
    "background_enhance": ("boolean", None, None),
}


def test_the_document_is_valid():
    assert list(openapi_spec_validator.OpenAPIV30SpecValidator(DOCUMENT).iter_errors()) == []


def test_the_running_server_returns_the_document(server):
    assert server.client.get("/openapi.json").json() == DOCUMENT


def test_the_document_has_every_input_with_its_limits():
    assert list(INPUTS) == list(EXPECTED)
    assert SCHEMAS["Input"]["required"] == ["image"]
    for name, (kind, default, limits) in EXPECTED.items():
        seen = INPUTS[name]
        assert len(seen["description"]) > 20, name
        assert seen.get("default", "required") == default, name
        if isinstance(limits, set):
            assert set(SCHEMAS[name]["enum"]) == limits
            assert SCHEMAS[name]["type"] == kind
        else:
            assert seen["type"] == kind
            assert (seen.get("minimum"), seen.get("maximum")) == (limits or (None, None)), name


def test_old_names_are_deprecated_and_no_others():
    assert {name for name, seen in INPUTS.items() if seen.get("deprecated")} == OLD.keys()
    assert all(INPUTS[name]["nullable"] for name in OLD)


def test_cog_reads_the_same_inputs_from_the_running_predictor():
    from cog._inspector import create_predictor

    for name, field in create_predictor("predict", "Predictor").inputs.items():
        seen = INPUTS[name]
        assert (field.default, field.description) == (seen.get("default"), seen["description"])
        assert (field.ge, field.le) == (seen.get("minimum"), seen.get("maximum"))
        assert field.choices == (SCHEMAS[name]["enum"] if "allOf" in seen else None)


def test_every_keyword_of_an_input_is_a_literal():
    run = next(node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef) and node.name == "run")
    assert len(run.args.defaults) == len(EXPECTED)
    for call in run.args.defaults:
        assert not call.args
        for keyword in call.keywords:
            ast.literal_eval(keyword.value)


@pytest.mark.parametrize(
    "declared",
    [
        'x: str = Input(description="a" "b")',
        'x: str = Input(description=("a"))',
        'x: str = Input(description="a" + "b")',
        'x: str = Input(description=f"a")',
        r'x: str = Input(description="a\nb")',
        "x: str = Input(default='a')",
        'x: float = Input(description="a", ge=LOWEST)',
        'x: float = Input(description="a", le=2 * 3)',
        'x: float = Input(1, description="a")',
        'x: str = Input(description="a", choices=("a", "b"))',
        'x: str = Input(description="a", choices=list("ab"))',
        'x: str = Input(description="a", choices=["a" "b", "c"])',
        'x: str = Input(description="a", choices=["a", ("b")])',
        'x: str = Input(description="a", regex="a")',
        'x: str = Input(description="a", **MORE)',
        'x: float = Input(description="a", le=1_000)',
        'x: float = Input(description="a", le="1")',
        'x: str = Input(description="a", deprecated=False)',
        'x: str = Input(description=r"a")',
        "x: str = Input(description='a')",
        'x: str = Input(description="")',
        'x: str = Input(default="a")',
        "x: str",
        "x: str = 'a'",
    ],
)
def test_declarations_that_cog_would_drop_are_refused(declared):
    with pytest.raises(ValueError, match="^x (has|needs)"):
        document(f"class Predictor:\n    def run(self, {declared}) -> Path: ...\n")


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """A function that takes the declaration of an input and returns the schemas of a predictor with it."""

    def schemas(declared):
        source = f"class Predictor(BaseRunner):\n    def run(self, {declared}) -> Path: ...\n"
        source = f"from typing import Literal\nfrom cog import BaseRunner, Input, Path\n{source}"
        (tmp_path / "other_predictor.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "other_predictor", raising=False)
        return document(source, "other_predictor")["components"]["schemas"]

    return schemas


@pytest.mark.parametrize(
    "declared",
    [
        'x: Literal["a", "b"] = Input(description="a")',
        'x: str = Input(description="a", ge=1)',
        'x: float = Input(description="a", default=3, le=2)',
    ],
)
def test_declarations_that_cog_refuses_are_refused(documented, declared):
    with pytest.raises(ValueError, match="x: "):
        documented(declared)


@pytest.mark.parametrize(
    ("declared", "schema", "required"),
    [
        ("a: int = Input({})", {"title": "A", "type": "integer"}, True),
        ("a: int = Input(default=None, {})", {"title": "A", "type": "integer"}, True),
        ("a: int | None = Input({})", {"title": "A", "type": "integer", "nullable": True}, False),
        (
            "a_b: float = Input(default=-1.5, ge=-2, deprecated=True, {})",
            {"title": "A B", "type": "number", "default": -1.5, "minimum": -2, "deprecated": True},
            False,
        ),
    ],
)
def test_the_schema_of_an_input_is_that_of_cog(documented, declared, schema, required):
    """The expected schema is that of `cog build`: pkg/schema/openapi_spec.go of Cog."""
    name = declared.partition(":")[0]
    made = documented(declared.format('description="An input."'))
    assert made["Input"]["properties"] == {name: {"x-order": 0, "description": "An input.", **schema}}
    assert made["Input"]["required"] == [name] * required


def test_choices_become_a_separate_schema(documented):
    made = documented('speed: int = Input(description="An input.", choices=[1, 2])')
    assert made["Input"]["properties"]["speed"]["allOf"] == [{"$ref": "#/components/schemas/speed"}]
    assert made["speed"] == {"title": "speed", "description": "An enumeration.", "enum": [1, 2], "type": "integer"}
    assert "upscaler" not in made
    assert made["Status"] == SCHEMAS["Status"]


def test_cog_yaml_follows_the_rules_of_cog():
    """The rules are those of Cog's own schema and loader."""
    assert CONFIG.keys() <= {"build", "image", "run", "environment"}
    build = CONFIG["build"]
    assert build.keys() <= {"gpu", "cuda", "python_version", "python_requirements", "sdk_version", "system_packages"}
    assert build["gpu"] is True
    assert build["cuda"] == "13.0", "Cog does not know this torch; PyPI's torch is built for this CUDA"
    assert build["python_version"] in ("3.12", "3.13")
    pins = (ROOT / build["python_requirements"]).read_text(encoding="utf-8").splitlines()
    pins = [pin for pin in pins if not pin.startswith("#")]
    assert all(re.fullmatch(r"[\w.\-\[\]]+==[\w.]+", pin) for pin in pins)
    assert any(pin.startswith("torch==") for pin in pins), "without it, Cog takes CUDA 11.8"
    assert build["sdk_version"] == DOCUMENT["info"]["version"]
    file, _, name = CONFIG["run"].partition(":")
    assert f"class {name}(BaseRunner)" in (ROOT / file).read_text(encoding="utf-8")


def test_the_image_reads_every_format():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {row.extra for row in FORMATS.values() if row.extra}
    needed = {requirement for extra in extras for requirement in project["optional-dependencies"][extra]}
    pins = (ROOT / CONFIG["build"]["python_requirements"]).read_text(encoding="utf-8").lower()
    assert extras
    assert not [one for one in needed if f"\n{one.partition('>=')[0].lower()}==" not in pins]


def test_the_image_contains_the_weights():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert not {"weights", "weights/", "*.pth", "weights/*.pth", "facemend", "pyproject.toml"} & set(ignored)
    assert "FACEMEND_WEIGHTS=/src/weights" in CONFIG["environment"]


def test_cog_takes_only_the_weights_for_weights():
    """Cog separates every folder with a file of 10 MiB and no Python code, whatever .dockerignore says."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this is no clone, or git is not there")
    paths = [path for path in tracked.stdout.split("\0") if path and not path.startswith("weights/")]
    assert paths
    assert not [path for path in paths if (ROOT / path).stat().st_size >= 10 * 2**20]


def test_the_image_runs_what_the_tests_run():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert not {"healthy.py", "watch.py", "predict.py", "*.py"} & set(ignored)
    assert f"MALLOC_ARENA_MAX={ARENAS}" in CONFIG["environment"]
    assert f"GOMP_SPINCOUNT={process.SPINS}" in CONFIG["environment"]


def test_answers_match_the_document(server, face):
    answer = server.predict(image=face, aligned=True)
    # The document requires no key, and allows others.
    assert answer.keys() == {"id", "status", "output", "logs", "metrics"}
    document = {**DOCUMENT, "properties": {"answer": SCHEMAS["PredictionResponse"]}}
    jsonschema.validate({"answer": answer}, document)
    with pytest.raises(jsonschema.ValidationError, match="3 is not of type 'string'"):
        jsonschema.validate({"answer": {**answer, "output": 3}}, document)
