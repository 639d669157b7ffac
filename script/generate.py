"""Writes the files that are derived from other files: `python -m script.generate`, or `make generated`.

- predict.py: the values of LITERALS, which Cog reads from the text and which therefore cannot be expressions
- openapi.json: the public interface of predict.py
- docs/models.md: the table of models
"""

import json

from facemend.container.names import VERSIONS
from facemend.files.formats import READABLE
from facemend.records import DEFAULT_SETTINGS
from facemend.weights.models import MODELS, Model, Task, public_names
from script.openapi import ROOT, document, inputs

WIDTH = 120  # of a line of code
LITERALS: dict[tuple[str, str], str | list[str]] = {  # (input, keyword of its Input()): the value
    ("image", "description"): f"The photo: {READABLE}, up to {DEFAULT_SETTINGS.max_input_mp:g} megapixels.",
    ("model", "choices"): ["auto", *public_names("restorer")],
    ("upscaler", "choices"): ["auto", *public_names("upscaler"), "lanczos"],
    ("version", "choices"): list(VERSIONS),
}
TASKS: dict[Task, str] = {
    "restorer": "restores faces",
    "upscaler": "enlarges pictures",
    "detector": "finds faces",
    "parser": "finds the outline of a face",
    "companion": "is used together with",
}
MODELS_PAGE = """\
# Models

This page is generated from `facemend/weights/models.py`. Change that file and run `make generated`.

`facemend download NAME` fetches a model and checks its SHA-256. The `lite` models come with the package: there is one
for each task, all with the name `lite`, and [weights/README.md](../weights/README.md) describes them. The upscaler
`lanczos` is a filter without a network and needs no file.

- **Scale**: how many times wider and higher an upscaler makes a picture. facemend resizes the result to the scale that
  you ask for.
- **Licence**: for downloaded models, that of the code. No project states a licence of its weight files, and the
  pictures used for training have terms of their own.
- **Commercial use**: whether the licence allows it. Where the answer is not yes, the reason follows.

| name | what it does | scale | file | size | licence | commercial use | source |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def products() -> dict[str, str]:
    """Return the text of each generated file by its path in the repository."""
    source = (ROOT / "predict.py").read_text(encoding="utf-8")
    for (name, key), value in LITERALS.items():
        source = with_literal(source, name, key, value)
    return {
        "predict.py": source,
        "openapi.json": json.dumps(document(source), indent=2, ensure_ascii=False) + "\n",
        "docs/models.md": MODELS_PAGE + "".join(map(_row, MODELS.values())),
    }


def with_literal(source: str, name: str, key: str, value: str | list[str]) -> str:
    """Return the text of a predictor with one value replaced, formatted as `ruff format` does.

    Args:
        source: the text.
        name: an input.
        key: a keyword that its Input() has already.
        value: the new value.
    """
    keyword = next(keyword for keyword in inputs(source)[name].keywords if keyword.arg == key)
    old = keyword.value
    literal = json.dumps(value, ensure_ascii=False)
    if isinstance(value, list) and old.col_offset + len(literal + ",") > WIDTH:
        indent = "\n" + " " * keyword.col_offset
        items = (f"{indent}    {json.dumps(item, ensure_ascii=False)}," for item in value)
        literal = f"[{''.join(items)}{indent}]"
    lines = source.encode().splitlines(keepends=True)  # the columns of ast count bytes
    last = old.end_lineno or old.lineno
    before = b"".join(lines[: old.lineno - 1]) + lines[old.lineno - 1][: old.col_offset]
    after = lines[last - 1][old.end_col_offset :] + b"".join(lines[last:])
    return (before + literal.encode() + after).decode()


def _row(model: Model) -> str:
    """Return the line of a model in the table."""
    users = ", ".join(f"`{user.name}`" for user in MODELS.values() if model.name in user.companions)
    scale = str(model.tiling.scale) if model.tiling else ""
    file = f"[{model.file}]({model.urls[0]})" if model.urls else model.file
    commercial = f"**{model.commercial}**: {model.why}" if model.why else model.commercial
    source = model.source
    if source.startswith("https://"):
        source = f"[{'/'.join(source.split('/')[3:])}]({source})"
    cells = (
        f"`{model.public_name}`",
        f"{TASKS[model.task]} {users}".strip(),
        scale,
        file,
        f"{model.size / 1e6:.1f} MB",
        model.licence,
        commercial,
        source,
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    for path, text in products().items():
        (ROOT / path).write_text(text, encoding="utf-8")
