"""Writes openapi.json, the public interface of predict.py: `python -m script.openapi`.

Cog makes the same document when it builds an image: from the text of predict.py, without running it. What it cannot
read there it leaves out without a word; this program refuses it.
"""

import ast
import json
import tokenize
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "openapi.json"
COG = "0.23.1"  # the version whose document this is
TYPES: dict[str, dict[str, Any]] = {
    "Path": {"type": "string", "format": "uri"},
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
}
COPIED = {"default": "default", "description": "description", "ge": "minimum", "le": "maximum"}


def document(source: str) -> dict[str, Any]:
    """Return the OpenAPI document of a predictor.

    Args:
        source: the text of predict.py.

    Raises:
        ValueError: an input is declared in a way that Cog does not read, or reads wrongly.
    """
    run = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == "run")
    if len(run.args.defaults) != len(run.args.args) - 1:
        raise ValueError("every input of run() needs an Input()")
    inputs: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    for order, (argument, call) in enumerate(zip(run.args.args[1:], run.args.defaults, strict=True)):
        name, kind = argument.arg, ast.unparse(argument.annotation) if argument.annotation else ""
        given = _keywords(source, name, call)
        base = TYPES.get(kind.removesuffix(" | None"))
        if base is None:
            raise ValueError(f"{name} has the type {kind!r}: give one of {', '.join(TYPES)}, alone or with | None")
        schema = {"x-order": order} | {COPIED[key]: value for key, value in given.items() if key in COPIED}
        if kind.endswith(" | None"):
            schema["nullable"] = True
        if "choices" in given:
            schema["allOf"] = [_reference(name)]
            choices[name] = {"title": name, "description": "An enumeration.", "enum": given["choices"], **base}
        else:
            schema |= {"title": _title(name), **base}
        inputs[name] = schema
    required = [name for name, schema in inputs.items() if "default" not in schema and "nullable" not in schema]
    returns = ast.unparse(run.returns) if run.returns else ""
    return _whole(
        {
            "Input": {"title": "Input", "type": "object", "properties": inputs, "required": required},
            "Output": {"title": "Output", **TYPES[returns]},
            **choices,
        }
    )


def _keywords(source: str, name: str, call: ast.expr) -> dict[str, Any]:
    """What an Input() says, by keyword; each of it a literal."""
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != "Input" or call.args:
        raise ValueError(f"{name} needs an Input() with nothing but keywords")
    given: dict[str, Any] = {}
    for keyword in call.keywords:
        text, value = (ast.get_source_segment(source, node) or "" for node in (keyword, keyword.value))
        key = str(keyword.arg)
        if key not in {*COPIED, "choices"}:
            raise ValueError(f"{name} has the keyword {key}, which this program does not know")
        if text != f"{key}={value}" or not _plain(keyword.value, value):
            raise ValueError(f"{name} has {text!r}: give one plain literal")
        given[key] = ast.literal_eval(keyword.value)
    if not given.get("description"):
        raise ValueError(f"{name} has no description")
    return given


def _plain(node: ast.expr, text: str) -> bool:
    """Whether an expression is one number, True, False, None, one string without escapes, or a list of such."""
    if isinstance(node, ast.List):
        return all(isinstance(element, ast.Constant) and "\\" not in text for element in node.elts)
    if not isinstance(node, ast.Constant) or "\\" in text:
        return False
    tokens = [token.type for token in tokenize.generate_tokens(StringIO(text).readline)]
    return not isinstance(node.value, str) or tokens.count(tokenize.STRING) == 1


def _title(name: str) -> str:
    return " ".join(part.capitalize() for part in name.split("_"))


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _text(name: str, **more: str) -> dict[str, str]:
    return {"title": _title(name), "type": "string", **more}


def _object(title: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "type": "object", "properties": properties}


def _answers(schema: dict[str, Any], *, checked: bool = False) -> dict[str, Any]:
    answers = {"200": ("Successful Response", schema)}
    if checked:
        answers["422"] = ("Validation Error", _reference("HTTPValidationError"))
    return {
        code: {"description": text, "content": {"application/json": {"schema": schema}}}
        for code, (text, schema) in answers.items()
    }


def _whole(schemas: dict[str, Any]) -> dict[str, Any]:
    """The document around the schemas of a predictor: the same for each."""
    place = {"title": "Location", "type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}
    states = ["starting", "processing", "succeeded", "canceled", "failed"]
    response = {
        "input": _reference("Input"),
        "output": _reference("Output"),
        **{name: _text(name) for name in ("id", "version", "status", "error", "logs")},
        **{name: _text(name, format="date-time") for name in ("created_at", "started_at", "completed_at")},
        "metrics": {"title": "Metrics", "type": "object"},
    }
    detail = {"title": "Detail", "type": "array", "items": _reference("ValidationError")}
    problem = {
        "loc": place,
        "msg": {"title": "Message", "type": "string"},
        "type": {"title": "Error Type", "type": "string"},
    }
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": COG},
        "paths": {
            "/": {"get": {"summary": "Root", "operationId": "root__get", "responses": _answers({})}},
            "/health-check": {
                "get": {
                    "summary": "Healthcheck",
                    "operationId": "healthcheck_health_check_get",
                    "responses": _answers({}),
                }
            },
            "/predictions": {
                "post": {
                    "summary": "Predict",
                    "description": "Run a single prediction on the model",
                    "operationId": "predict_predictions_post",
                    "requestBody": {"content": {"application/json": {"schema": _reference("PredictionRequest")}}},
                    "responses": _answers(_reference("PredictionResponse"), checked=True),
                }
            },
            "/predictions/{prediction_id}/cancel": {
                "post": {
                    "summary": "Cancel",
                    "operationId": "cancel_predictions__prediction_id__cancel_post",
                    "parameters": [
                        {"required": True, "schema": _text("prediction_id"), "name": "prediction_id", "in": "path"}
                    ],
                    "responses": _answers({}, checked=True),
                }
            },
        },
        "components": {
            "schemas": {
                **schemas,
                "PredictionRequest": _object("PredictionRequest", {"id": _text("id"), "input": _reference("Input")}),
                "PredictionResponse": _object("PredictionResponse", response),
                "Status": {"title": "Status", "description": "An enumeration.", "enum": states, "type": "string"},
                "HTTPValidationError": _object("HTTPValidationError", {"detail": detail}),
                "ValidationError": {**_object("ValidationError", problem), "required": ["loc", "msg", "type"]},
            }
        },
    }


if __name__ == "__main__":
    made = document((ROOT / "predict.py").read_text(encoding="utf-8"))
    TARGET.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
