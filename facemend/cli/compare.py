"""`facemend compare`."""

import argparse
import os
import time
from pathlib import Path

from facemend.cli import say
from facemend.cli.names import SHEET
from facemend.cli.options import not_empty, number
from facemend.cli.sources import identity, output_file
from facemend.errors import DecodeError, OutputPathError
from facemend.files import choice
from facemend.machine import process
from facemend.records import DEFAULT_SETTINGS, Picture, Settings

MIDDLE = "middle"


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    parser.add_argument("input", type=lambda text: Path(not_empty(text)), metavar="INPUT", help="a picture")
    parser.add_argument(
        "-o", "--output", type=not_empty, metavar="OUT",
        help=f"a file, such as sheet.png or sheet.jpg, or a folder (default: NAME{SHEET}.png beside the input)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite the output (never the input)")
    parser.add_argument(
        "--face", type=_face, metavar=f"N|{MIDDLE}",
        help="number of the face to show, see 'facemend restore --boxes'; 'middle' shows the upscalers at the middle "
        "of the picture, and no restorers (default: the largest face, or the middle where there is none)",
    )  # fmt: skip
    parser.add_argument(
        "--scale", type=number, default=DEFAULT_SETTINGS.scale, metavar="1..8",
        help="how many times larger the upscalers make the picture (%(default)g)",
    )  # fmt: skip


def compare(options: argparse.Namespace, reporter: say.Reporter) -> None:
    """Draw the results of all installed restorers and upscalers on one sheet; a model that fails is left out."""
    start = time.perf_counter()
    Settings(scale=options.scale)  # a mistake in it is an error before the networks are loaded
    target = _target(options.input, options.output)
    if identity(target) == identity(options.input):
        raise OutputPathError(target, "another file than the input")
    with process.startup():  # for torch, which --help and mistakes need not wait for
        from facemend import comparison, job
        from facemend.files.decode import decode
        from facemend.files.encode import encode
        from facemend.files.output import write
        from facemend.sheet import sheet

        picture = decode(options.input, Settings(scale=1))
        job.check_writable(job.Outputs(target, None, None, None), overwrite=options.force)
        subject = comparison.find_subject(picture, options.face)
    with say.progress_bar(True) as progress:
        sections = comparison.compare(picture, subject, options.scale, reporter.failed, progress)
    drawn = sheet(f"{options.input.name}: {subject.words}", sections)
    data = encode(Picture(drawn), choice.by_suffix(target).name)
    job.make_folder(target)
    write(target, data)
    height, width = drawn.shape[:2]
    print(f"{target}  {width} x {height}  {subject.words}  {time.perf_counter() - start:.1f} s")


def _face(text: str) -> int | str:
    if text == MIDDLE or text.isdecimal():
        return text if text == MIDDLE else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither the number of a face, such as 0, nor {MIDDLE}")


def _target(source: Path, output: str | None) -> Path:
    """The file of the sheet; raises an InputError where the source is a folder or the suffix is unknown."""
    if os.path.isdir(source):
        raise DecodeError(f"cannot open {source}: it is a folder", "give one picture")
    if output is None:
        return source.with_name(f"{source.stem}{SHEET}.png")
    return output_file(output) or Path(output, f"{source.stem}{SHEET}.png")
