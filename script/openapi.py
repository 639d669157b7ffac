"""The OpenAPI document of predict.py, equal to the one that `cog build` makes.

`cog build` does not run predict.py. It reads the inputs from the text, and silently drops a value that it cannot read.
This module reads the same values from the text, and raises an error where Cog would drop one. Cog's Python package
gives the types. All that does not depend on the predictor is kept from the committed openapi.json.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

from cog._inspector import create_predictor

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "openapi.json"
TEXT = r'"[^"\\\n]*"'
NUMBER = r"-?\d+(?:\.\d+)?"
VALUE = f"(?:{TEXT}|{NUMBER})"
KEYWORDS = {  # keyword of Input(): a regular expression for the values that Cog reads as Python does
    "default": f"{VALUE}|True|False|None",
    "description": f'(?!""){TEXT}',
    "ge": NUMBER,
    "le": NUMBER,
    "choices": rf"\[\s*{VALUE}(?:,\s*{VALUE})*,?\s*\]",
    "deprecated": "True",
}
RENAMED = {"ge": "minimum", "le": "maximum"}  # keyword of Input(): its name in the document


def document(source: str, module: str = "predict") -> dict[str, Any]:
    """Return the OpenAPI document of a predictor.

    Args:
        source: the text of the module, from which the values come.
        module: the name of the module, which is imported for the types.

    Raises:
        ValueError: Cog refuses an input, or would drop a value of it.
    """
    declared = {name: _values(source, name, call) for name, call in inputs(source).items()}
    predictor = create_predictor(module, "Predictor")
    whole: dict[str, Any] = json.loads(TARGET.read_text(encoding="utf-8"))
    kept = whole["components"]["schemas"]
    for name in ("Output", *kept.pop("Input")["properties"]):  # the choices of an input have its name
        kept.pop(name, None)
    properties, choices = {}, {}
    for name, values in declared.items():
        field = predictor.inputs[name]
        schema = {"x-order": field.order} | {RENAMED.get(key, key): value for key, value in values.items()}
        if "OPTIONAL" in field.type.repetition.name:
            schema["nullable"] = True
        elif values.get("default") is None:
            schema.pop("default", None)  # a default that the type does not allow
        if "choices" in schema:
            enumeration = {"title": name, "description": "An enumeration.", "enum": schema.pop("choices")}
            choices[name] = enumeration | field.type.json_type()
            schema["allOf"] = [{"$ref": f"#/components/schemas/{name}"}]
        else:
            schema |= {"title": name.replace("_", " ").title(), **field.type.json_type()}
        properties[name] = schema
    required = [name for name, schema in properties.items() if not schema.keys() & {"default", "nullable"}]
    made = {"title": "Input", "type": "object", "properties": properties, "required": required}
    whole["components"]["schemas"] = {"Input": made, "Output": predictor.output.json_type(), **choices, **kept}
    return whole


def inputs(source: str) -> dict[str, ast.Call]:
    """Return the call of Input() for each input of run(), from the text of a predictor."""
    run = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == "run")
    names = [argument.arg for argument in run.args.args[1:]]
    missing = [None] * (len(names) - len(run.args.defaults))
    calls = {}
    for name, call in zip(names, [*missing, *run.args.defaults], strict=True):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "Input" or call.args:
            raise ValueError(f"{name} needs an Input() with keywords only")
        calls[name] = call
    return calls


def _values(source: str, name: str, call: ast.Call) -> dict[str, Any]:
    """Return the values of an Input() by keyword."""
    values = {}
    for keyword in call.keywords:
        text = ast.get_source_segment(source, keyword) or ""
        key, _, value = text.partition("=")
        if key not in KEYWORDS or not re.fullmatch(KEYWORDS[key], value):
            raise ValueError(f"{name} has {text!r}: KEYWORDS of script/openapi.py has the forms that Cog can read")
        values[key] = ast.literal_eval(keyword.value)
    if "description" not in values:
        raise ValueError(f"{name} needs a description")
    return values
