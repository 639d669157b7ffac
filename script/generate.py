"""Writes the files that are derived from other files: `python -m script.generate`, or `make generated`.

- predict.py: the values of LITERALS, which Cog reads from the text and which therefore cannot be expressions
- predict_creative.py: likewise, the values of CREATIVE_LITERALS
- openapi.json, openapi_creative.json: the public interfaces of these two
- docs/models.md: the table of models
- docs/formats.md: the table of file formats
"""

import json

from facemend.container.names import SAMPLER_NAMES, SAMPLERS, UPSCALERS, VERSIONS
from facemend.creative import PRESETS
from facemend.errors import listed
from facemend.files.formats import ABILITIES, FORMATS, METADATA, Format
from facemend.records import DEFAULT_SETTINGS
from facemend.weights import hub
from facemend.weights.models import MODELS, Model, Task, public_names
from script.openapi import ROOT, document, inputs

WIDTH = 120  # of a line of code
PHOTOS = listed([row.title for row in FORMATS.values()])  # which the image reads
LITERALS: dict[tuple[str, str], str | list[str]] = {  # (input, keyword of its Input()): the value
    ("image", "description"): f"The photo: {PHOTOS}, up to {DEFAULT_SETTINGS.max_input_mp:g} megapixels.",
    ("model", "choices"): ["auto", *public_names("restorer")],
    ("upscaler", "choices"): ["auto", *public_names("upscaler"), "lanczos"],
    ("version", "choices"): list(VERSIONS),
}
CREATIVE_LITERALS: dict[tuple[str, str], str | list[str]] = {
    ("image", "description"): LITERALS["image", "description"],
    ("preset", "choices"): list(PRESETS),
    ("scheduler", "choices"): [*SAMPLERS, "normal", "karras"],
    ("sampler_name", "choices"): list(SAMPLER_NAMES),
    ("upscaler", "choices"): ["auto", *public_names("upscaler"), "lanczos", *UPSCALERS],
}
TASKS: dict[Task, str] = {
    "restorer": "restores faces",
    "upscaler": "enlarges pictures",
    "detector": "finds faces",
    "parser": "finds the outline of a face",
    "repairer": "repairs scratches, dust, creases and cracks",
    "companion": "is used together with",
}
MODELS_PAGE = """\
# Models

This page is generated from `facemend/weights/models.py` and `facemend/weights/hub.py` by `script/generate.py`. Change
these files and run `make generated`.

`facemend download NAME` fetches a model and checks its SHA-256; for `creative`, see below. The `lite` models come with
the package: there is one for each task, all with the name `lite`, and [weights/README.md](../weights/README.md)
describes them. The upscaler `lanczos` is a filter without a network and needs no file.

- **Scale**: how many times wider and higher an upscaler makes a picture. facemend resizes the result to the scale that
  you ask for.
- **Licence**: for downloaded models, that of the code. No project states a licence of its weight files, and the
  pictures used for training have terms of their own.
- **Commercial use**: whether the licence allows it. Where the answer is not yes, the reason follows.

| name | what it does | scale | file | size | licence | commercial use | source |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
CREATIVE_PAGE = """
## Networks of the upscaler creative

[creative.md](creative.md) describes the upscaler. These come from pinned revisions on huggingface.co and have to be
downloaded by name, with the extra `creative`: `facemend download realistic-vision-v5.1 sd15-tile`. One base and the
ControlNet are needed. A revision is a hash of the content of all files. After a download, a SHA-256 or a size is
compared where public sources confirm it, and else nothing.

OpenRAIL: TERMS.

| name | what it is | revision | size | checked | licence | from |
| --- | --- | --- | --- | --- | --- | --- |
"""


FORMATS_PAGE = """\
# File formats

This page is generated from `facemend/files/formats.py` by `script/generate.py`. Change these files and run
`make generated`.

MATRIX

- **read**: the reader keeps it. **written**: a file that facemend writes in this format has it too.
- An empty cell: the format does not have it, or its reader does not read it.
- Formats with an **extra** need one more package: `pip install '.[raw]'` in the folder of the repository, or `'.[all]'`
  for all of them. Without it, folders are searched for the other formats, and a file named directly ends in an error
  that says what to install. The container has all of them.
- Of a file with several pictures (animations, pages, bursts) the first is read; the program says so.

What a file has and its result cannot have is named on one line on stderr, and with `--json` under `lost`.

## Metadata

**EXIF** is not written anew. The block keeps its bytes and their order, so notes of camera makers and texts in any
encoding stay readable. Only what became false is changed in place: Orientation becomes 1, the thumbnail is removed (and
a preview that some phones append to the block), the sizes become those of the result, the two resolutions are exchanged
where the picture was turned, ColorSpace becomes sRGB and InteroperabilityIndex R98. In a TIFF the block is the start of
the file, so offsets inside it stay valid. A block that cannot be read is left out, and one that can be read in part is
kept. Both are reported on stderr.

**XMP** keeps its bytes; `tiff:Orientation`, the sizes and the colour space in it become those of the result. What it
says of parts that the result does not have is removed: a thumbnail, a gain map, a video, a second part of the packet;
and regions of faces where the picture was turned. **IPTC**, comments and the texts of a PNG are copied. A JPEG's
comment becomes the text `Comment` of a PNG, and back.

Not kept: the parts of an XMP packet over 64 KB, layers, other Photoshop resources (such as paths), gain maps, depth
maps, videos and sound. Other numbers of px stay as they are: in XMP those of a panorama (`GPano`) and of IPTC's image
regions, in EXIF SubjectArea, SubjectLocation and the FocalPlane resolutions. `--strip-metadata` leaves out all
metadata.

## Colours

Results are in sRGB. Colours are converted from the embedded ICC profile, unless it is damaged or for other pixels,
which is reported. Where there is none, they are converted from the colour space that the file names without a profile:
code points (cICP in PNG, nclx in HEIC and AVIF), the chunks gAMA and cHRM of a PNG, or Adobe RGB in EXIF. Code points
for the primaries of Display P3, DCI-P3 and BT.2020 are converted; others are taken as sRGB.

High dynamic range becomes standard range: PQ and HLG are tone-mapped by the curve of ITU-R BT.2390 from a peak of 1,000
cd/m2 to 203, which becomes white. OpenEXR and Radiance HDR are tone-mapped in the same way where they have values above
1.

With 16 bits per channel, profiles of primaries and curves are computed in 16 bits. Profiles of tables (such as those of
CMYK) are computed in 8 bits.

## Channels, depth and compression

A channel of a TIFF besides those of grey, RGB or CMYK is transparency only if it is the first one and ExtraSamples says
so; otherwise it is left out. A page marked as a reduced copy is not the picture. A BigTIFF is read if it has at most 2
GB. A camera raw file with the structure of a TIFF is known by its mosaic, whatever its name. HEIC with 10 or 12 bits is
read as 16 bits, and so becomes PNG unless TIFF is asked for. A WebP without loss stays so from `--quality 95` on;
`--quality lossless` writes any WebP so, and a JPEG with quality 100. A TIFF is written without compression.
"""


def products() -> dict[str, str]:
    """Return the text of each generated file by its path in the repository."""
    texts = {}
    for module, literals in (("predict", LITERALS), ("predict_creative", CREATIVE_LITERALS)):
        source = (ROOT / f"{module}.py").read_text(encoding="utf-8")
        for (name, key), value in literals.items():
            source = with_literal(source, name, key, value)
        interface = f"openapi{module.removeprefix('predict')}.json"
        texts[f"{module}.py"] = source
        texts[interface] = json.dumps(document(source, module), indent=2, ensure_ascii=False) + "\n"
    return texts | {
        "docs/formats.md": FORMATS_PAGE.replace("MATRIX", _matrix()),
        "docs/models.md": MODELS_PAGE + "".join(map(_row, MODELS.values())) + _networks(),
    }


def _networks() -> str:
    """The table of the networks of the upscaler creative."""
    lines = [CREATIVE_PAGE.replace("TERMS", hub.OPENRAIL)]
    for row in hub.REPOSITORIES.values():
        what = "Stable Diffusion 1.5 or trained from it" if row.part == "base" else "ControlNet tile for it"
        source = f"[{'/'.join(row.source.split('/')[3:])}]({row.source})"
        revision = f"[{row.repository}@{row.revision[:8]}]({row.url})"
        cells = (f"`{row.name}`", what, revision, f"{row.size / 1e6:.1f} MB", row.checked, row.licence, source)
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def _matrix() -> str:
    """The table of formats: a row for each, and a column for each thing it may have."""
    abilities = ABILITIES | METADATA
    lines = ["| format | suffixes | extra | written | " + " | ".join(abilities.values()) + " |"]
    lines.append("| --- " * (4 + len(abilities)) + "|")
    for row in sorted(FORMATS.values(), key=lambda row: (not row.writer, bool(row.extra))):
        written = f"`{row.suffix}`" if row.writer else f"as {FORMATS[row.converted_to].title}"
        cells = [row.title, " ".join(row.suffixes), row.extra, written, *(_cell(row, name) for name in abilities)]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def _cell(row: Format, ability: str) -> str:
    words = ("read" if ability in row.reads else "", "written" if row.writes(ability) else "")
    return ", ".join(filter(None, words))


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
    users = ", ".join(f"`{user.name}`" for user in MODELS.values() if model.name == user.companion)
    scale = str(model.tiling.scale) if model.task == "upscaler" and model.tiling else ""
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
