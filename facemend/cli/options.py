"""The options of `facemend restore` and `facemend batch`."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from facemend.files import formats
from facemend.records import DEFAULT_SETTINGS, FACE_CHOICES
from facemend.weights.models import MODELS, Task, public_names

WRITTEN = ", ".join(row.suffix for row in formats.WRITABLE)


def add_restore_options(parser: argparse.ArgumentParser) -> None:
    """Add those of `facemend restore`."""
    parser.add_argument(
        "inputs", nargs="+", type=lambda text: Path(not_empty(text)), metavar="INPUT",
        help="a picture, or a folder of pictures; write ./-old.jpg where a name begins with a dash",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=not_empty, metavar="OUT",
        help=f"a file ({WRITTEN}) or a folder (default: NAME_restored.EXT beside the input)",
    )  # fmt: skip
    add_picture_options(parser)


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Add those of both commands; the destination of an option is the name of the setting or argument in Python."""
    there = parser.add_mutually_exclusive_group()
    there.add_argument(
        "--force", action="store_true",
        help="overwrite files (never the input; in a batch, no result that an earlier run with the same settings made)",
    )  # fmt: skip
    there.add_argument(
        "--skip-existing", action="store_true",
        help="skip pictures whose result exists, to continue a run that was stopped; pictures of --compare, "
        "--boxes and --mask that are missing are written",
    )  # fmt: skip

    what = parser.add_argument_group("what to do")
    what.add_argument(
        "--model", dest="restorer", type=model("restorer", "none"), default="auto", metavar="NAME|FILE",
        help="model that restores faces, see 'facemend models', or a file with its weights; 'none' leaves faces as "
        "they are; 'auto' is the best one installed; with --allow-noncommercial, it is chosen for each face "
        "(%(default)s)",
    )  # fmt: skip
    what.add_argument(
        "--allow-noncommercial", action="store_true",
        help="let 'auto' use codeformer, where it is installed, for faces with too little detail for a likeness; its "
        "licence forbids commercial use",
    )  # fmt: skip
    what.add_argument(
        "--upscaler", type=model("upscaler", "lanczos", "creative"), default="auto", metavar="NAME|FILE",
        help="model that enlarges the picture, see 'facemend models', or a file with its weights; 'lanczos' needs no "
        "weights and is fast; 'creative' invents detail, see below; 'auto' is the best one installed for the scale "
        "(%(default)s)",
    )  # fmt: skip
    what.add_argument(
        "--parser", type=model("parser", "none"), default="auto", metavar="NAME|FILE",
        help="model that finds the outline of a face, or a file with its weights; 'none' pastes an oval; 'auto' is "
        "parsenet where it is installed (%(default)s)",
    )  # fmt: skip
    what.add_argument(
        "--scale",
        type=number,
        default=DEFAULT_SETTINGS.scale,
        metavar="1..8",
        help="output size / input size (%(default)g)",
    )
    what.add_argument(
        "--fidelity", type=number, default=DEFAULT_SETTINGS.fidelity, metavar="0..1",
        help="codeformer only: 0 looks best, 1 is most like the input (%(default)g)",
    )  # fmt: skip
    what.add_argument(
        "--strength", type=number, default=DEFAULT_SETTINGS.strength, metavar="0..1",
        help="how much of the restored face is mixed in (%(default)g)",
    )  # fmt: skip
    what.add_argument(
        "--adaptive", action=argparse.BooleanOptionalAction, default=DEFAULT_SETTINGS.adaptive,
        help="mix in less of the restored face where a face is sharp already (default: on)",
    )  # fmt: skip
    what.add_argument(
        "--repair", action="store_true",
        help="first repair scratches, dust, creases and cracks; look at the result: fine lines, such as "
        "wires and outlines, and jewellery may be taken for damage",
    )  # fmt: skip
    what.add_argument(
        "--denoise", type=number, default=DEFAULT_SETTINGS.denoise, metavar="0..1",
        help="realesr-general-x4v3 only: 0 keeps grain, 1 cleans (%(default)g)",
    )  # fmt: skip
    what.add_argument(
        "--seed",
        type=whole,
        metavar="N",
        help="seed of the noise; for gfpgan (default: the noise stored with its weights) and creative (default: 0)",
    )

    faces = parser.add_argument_group("which faces")
    faces.add_argument(
        "--faces", default=DEFAULT_SETTINGS.faces, metavar="|".join(FACE_CHOICES) + "|0,2",
        help="which faces to restore; --boxes shows their numbers (all)",
    )  # fmt: skip
    faces.add_argument(
        "--detector", type=model("detector"), default="auto", metavar="NAME|FILE",
        help="model that finds faces, see 'facemend models', or a file with its weights; 'auto' is the best one "
        "installed (%(default)s)",
    )  # fmt: skip
    faces.add_argument(
        "--aligned", action="store_true", help="the picture is one face, cropped and upright; no faces are looked for"
    )
    faces.add_argument(
        "--sensitivity", type=number, default=DEFAULT_SETTINGS.sensitivity, metavar="0..1",
        help="0 finds only clear faces, 1 also doubtful ones (%(default)g)",
    )  # fmt: skip
    faces.add_argument(
        "--min-face",
        type=whole,
        default=DEFAULT_SETTINGS.min_face,
        metavar="PX",
        help="ignore smaller faces (%(default)s)",
    )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--format", choices=formats.CHOICES, default="auto",
        help="auto keeps the format of JPEG, PNG, WebP and TIFF where it can hold the result; HEIC, AVIF and JPEG XL "
        "become JPEG, everything else PNG; with -o FILE the suffix decides (%(default)s)",
    )  # fmt: skip
    output.add_argument(
        "--quality", type=_quality, default=95, metavar="1..100|lossless",
        help="quality of JPEG and WebP files; a lossless WebP stays lossless from 95 on; lossless is 100 for a JPEG "
        "(%(default)s)",
    )  # fmt: skip
    output.add_argument(
        "--strip-metadata", action="store_true",
        help="write no EXIF, XMP, IPTC, comments and texts (place, time, camera, DPI, captions, prompts); otherwise "
        "they are kept where the format holds them",
    )  # fmt: skip
    output.add_argument(
        "--keep-dates", action="store_true", help="give each result the time of modification of its picture"
    )
    output.add_argument("--compare", action="store_true", help="also write OUT_compare.jpg: before beside after")
    output.add_argument("--boxes", action="store_true", help="also write OUT_boxes.jpg: the faces with their numbers")
    output.add_argument("--mask", action="store_true", help="also write OUT_mask.png: white where --repair changed it")
    output.add_argument("--json", action="store_true", help="one JSON line for each picture on stdout")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (%(default)s)")
    machine.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto",
        help="precision of the networks; auto is half precision where it is safe and fast on the hardware "
        "(%(default)s)",
    )  # fmt: skip
    machine.add_argument(
        "--max-input-mp", type=number, default=DEFAULT_SETTINGS.max_input_mp, metavar="MP",
        help="refuse larger inputs, in megapixels (%(default)g)",
    )  # fmt: skip
    machine.add_argument(
        "--max-output-mp", type=number, default=DEFAULT_SETTINGS.max_output_mp, metavar="MP",
        help="refuse larger outputs, in megapixels (%(default)g)",
    )  # fmt: skip
    machine.add_argument(
        "--weights", action="append", default=[], type=_weights, metavar="NAME=PATH",
        help="use your own file for a model; its hash is not checked; may be repeated",
    )  # fmt: skip


def not_empty(text: str) -> str:
    """Return the text of an argument; empty, as of a shell variable that is not set, it would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name")
    return text


def number(text: str) -> float:
    """Return the number of an argument."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def whole(text: str) -> int:
    """Return the whole number of an argument."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _quality(text: str) -> int | str:
    try:
        return text if text == formats.LOSSLESS else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100, or lossless") from None


def model(task: Task, *others: str) -> Callable[[str], str]:
    """A parser of "auto", names of models with a task, `others` and existing files, without an import of PyTorch."""

    def parse(text: str) -> str:
        choices = ("auto", *public_names(task), *others)
        if text not in choices and not os.path.isfile(text):
            raise argparse.ArgumentTypeError(f"{text!r} is not an existing file and none of {', '.join(choices)}")
        return text if text in choices else str(Path(text).absolute())

    return parse


def _weights(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not path or name not in MODELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with a NAME of {', '.join(MODELS)}")
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"{path!r} is not an existing file")
    return name, Path(path)
