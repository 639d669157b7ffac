"""The command line. Everything that is printed is printed here."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tqdm import tqdm

from facemend import __version__
from facemend.download import fetch, progress_bar
from facemend.errors import DecodeError, FacemendError, InputError, OptionError
from facemend.installed import download_folder, find, verify
from facemend.models import MODELS, Model, lookup, names
from facemend.records import FACE_CHOICES, Face, Picture, Settings

if TYPE_CHECKING:
    from facemend.pipeline import Pipeline, Progress
    from facemend.result import Result

DONE, FAILED, MISTAKE = 0, 1, 2  # exit codes
PICTURES = {
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif",
}  # fmt: skip  # what is looked for in folders; a file that is named may be called anything
RESULTS = ("_restored", "_compare", "_boxes")  # ends of the names this program gives
DEFAULTS = Settings()

EXAMPLES = """\
examples:
  facemend restore old.jpg                          old_restored.jpg, twice as large, all faces restored
  facemend restore old.jpg -o new.png --scale 4     four times as large, into new.png
  facemend restore scans/ -o restored/              every picture of a folder
  facemend restore group.jpg --boxes                which face has which number?
  facemend restore group.jpg --faces 0,2            only those two
  facemend restore face.png --aligned --scale 1     a 512 px face cut-out
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 all done, 2 the caller's mistake, 1 anything else."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
    except FacemendError as error:
        if options.debug:
            raise
        code = _complain(error)
    except KeyboardInterrupt:
        code = _complain("stopped")
    except BrokenPipeError:  # the reader of our output has gone, which is no news to it
        code = FAILED
    sys.exit(code)


def _complain(problem: object, source: Path | None = None) -> int:
    """One line on stderr, with the picture it is about; the exit code that fits."""
    message = " ".join(str(problem).split())
    if source and str(source) not in message:
        message = f"{source}: {message}"
    tqdm.write(f"facemend: {message}", file=sys.stderr)
    return MISTAKE if isinstance(problem, InputError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facemend",
        description="Restore faces in old, blurry or AI-made photos and enlarge pictures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"facemend {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    restore = _command(commands, "restore", _restore, "restore faces and enlarge pictures")
    _add_restore_options(restore)

    _command(commands, "models", _models, "list the models: size, licence, commercial use, installed or not")

    download = _command(commands, "download", _download, "fetch weights, verified by SHA-256")
    download.add_argument("names", nargs="*", metavar="NAME", help="a model of 'facemend models'")
    download.add_argument("--all", action="store_true", help="every model")
    download.add_argument("--commercial", action="store_true", help="every model whose licence allows commercial use")

    _command(commands, "verify", _verify, "hash every installed file again")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES if name == "restore" else None,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)
    return parser


def _add_restore_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="a picture, or a folder of pictures")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT",
        help="a file (.png, .jpg, .webp, .tiff) or a folder (default: NAME_restored.EXT beside the input)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite files (never the input)")

    what = parser.add_argument_group("what to do")
    what.add_argument(
        "--model", choices=(*names("restorer"), "none"), metavar="NAME",
        help="face restorer, see 'facemend models'; 'none' leaves faces alone (default: the best one installed)",
    )  # fmt: skip
    what.add_argument(
        "--upscaler", choices=(*names("upscaler"), "lanczos"), metavar="NAME",
        help="what enlarges the rest; 'lanczos' needs no weights and is fast (default: the best one installed)",
    )  # fmt: skip
    what.add_argument(
        "--scale", type=float, default=DEFAULTS.scale, metavar="1..8", help="output size / input size (%(default)g)"
    )
    what.add_argument(
        "--fidelity", type=float, default=DEFAULTS.fidelity, metavar="0..1",
        help="codeformer only: 0 looks best, 1 is most like the input (%(default)g)",
    )  # fmt: skip
    what.add_argument(
        "--strength", type=float, default=DEFAULTS.strength, metavar="0..1",
        help="how much of the restored face is mixed in (%(default)g)",
    )  # fmt: skip
    what.add_argument(
        "--denoise", type=float, default=DEFAULTS.denoise, metavar="0..1",
        help="realesr-general-x4v3 only: 0 keeps grain, 1 cleans (%(default)g)",
    )  # fmt: skip
    what.add_argument(
        "--seed", type=int, metavar="N", help="gfpgan only: draw its noise anew (default: the noise of its weights)"
    )

    faces = parser.add_argument_group("which faces")
    faces.add_argument(
        "--faces", type=_faces, default=DEFAULTS.faces, metavar="|".join(FACE_CHOICES) + "|0,2",
        help="which to restore; numbers as --boxes shows them (all)",
    )  # fmt: skip
    faces.add_argument("--aligned", action="store_true", help="the picture is one face, cut out and upright")
    faces.add_argument(
        "--sensitivity", type=float, default=DEFAULTS.sensitivity, metavar="0..1",
        help="0 finds only certain faces, 1 doubtful ones too (%(default)g)",
    )  # fmt: skip
    faces.add_argument(
        "--min-face", type=int, default=DEFAULTS.min_face, metavar="PX", help="ignore smaller faces (%(default)s)"
    )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--format", choices=("auto", "png", "jpg", "webp", "tiff"), default="auto",
        help="auto keeps the input's where it can hold the result; with -o FILE the suffix decides (%(default)s)",
    )  # fmt: skip
    output.add_argument("--quality", type=int, default=95, metavar="1..100", help="of JPEG and WebP (%(default)s)")
    output.add_argument("--compare", action="store_true", help="also write OUT_compare.jpg: before beside after")
    output.add_argument("--boxes", action="store_true", help="also write OUT_boxes.jpg: the faces with their numbers")
    output.add_argument("--json", action="store_true", help="one JSON line for each picture on stdout")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (%(default)s)")
    machine.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto",
        help="of the networks; auto is float32 on a CPU, half on CUDA (%(default)s)",
    )  # fmt: skip
    machine.add_argument(
        "--max-input-mp", type=float, default=DEFAULTS.max_input_mp, metavar="MP",
        help="refuse larger inputs, in megapixels (%(default)g)",
    )  # fmt: skip
    machine.add_argument(
        "--max-output-mp", type=float, default=DEFAULTS.max_output_mp, metavar="MP",
        help="refuse larger outputs, in megapixels (%(default)g)",
    )  # fmt: skip
    machine.add_argument(
        "--weights", action="append", default=[], type=_weights, metavar="NAME=PATH",
        help="use a file of your own for a model (not hash-checked); may be repeated",
    )  # fmt: skip


def _faces(text: str) -> str | tuple[int, ...]:
    if text in FACE_CHOICES:
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(FACE_CHOICES)}, or numbers as 0,2") from None


def _weights(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not path or name not in MODELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with the name of a model")
    return name, Path(path)


def _restore(options: argparse.Namespace) -> int:
    settings = Settings(**{name: getattr(options, name) for name in Settings.__dataclass_fields__})
    jobs = list(_jobs(options.inputs, options.output))
    if not 1 <= options.quality <= 100:
        raise OptionError("quality", options.quality, "a whole number from 1 to 100")

    from facemend.pipeline import Pipeline  # imports torch, which --help and mistakes need not wait for

    pipeline = Pipeline.load(
        restorer=options.model,
        upscaler=options.upscaler,
        device=options.device,
        precision=options.precision,
        weights=dict(options.weights),
    )
    print(f"facemend: {_described(pipeline)}", file=sys.stderr)
    if options.model is None and pipeline.restorer is None:
        print(
            "facemend: no face restorer is installed: run 'facemend download gfpgan-v1.4 retinaface-r50'",
            file=sys.stderr,
        )
    codes = {DONE}
    for job in tqdm(jobs, unit="picture", disable=None if len(jobs) > 1 else True):
        try:
            _restore_one(pipeline, job, settings, options, bar=len(jobs) == 1)
        except (FacemendError, OSError) as error:
            if options.debug:
                raise
            codes.add(_complain(error, job.source))
    return FAILED if FAILED in codes else max(codes)


class Job(NamedTuple):
    """One picture and where it goes."""

    source: Path
    target: Path
    named: bool  # the target is the user's own file name; otherwise the format's suffix is still to come


def _jobs(inputs: Sequence[Path], output: Path | None) -> Iterator[Job]:
    one_file = len(inputs) == 1 and not inputs[0].is_dir() and output and output.suffix and not output.is_dir()
    for path in inputs:
        for source in _pictures(path) if path.is_dir() else [path]:
            if output is None:
                if path == source or not source.stem.endswith(RESULTS):  # results of an earlier run are no inputs
                    yield Job(source, source.with_name(f"{source.stem}_restored"), named=False)
            elif one_file:
                yield Job(source, output, named=True)
            else:
                inside = source.relative_to(path if path.is_dir() else path.parent)
                yield Job(source, output / inside.with_suffix(""), named=False)


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise DecodeError(f"{folder} holds no pictures ({', '.join(sorted(PICTURES))} are looked for)")
    return found


def _restore_one(pipeline: "Pipeline", job: Job, settings: Settings, options: argparse.Namespace, bar: bool) -> None:
    from facemend.draw import before_after, numbered
    from facemend.encode import SUFFIXES, encode, output_format, suffix_format, write
    from facemend.images import decode

    picture = decode(job.source, max_pixels=int(settings.max_input_mp * 1e6))
    # Every mistake about the output is found before the work, not after it.
    size = settings.output_size(*picture.pixels.shape[:2])
    kind = output_format(picture, suffix_format(job.target) if job.named else options.format, size)
    target = job.target if job.named else job.target.with_name(job.target.name + SUFFIXES[kind])
    compare = target.with_name(f"{target.stem}_compare.jpg") if options.compare else None
    boxes = target.with_name(f"{target.stem}_boxes.jpg") if options.boxes else None
    for path in filter(None, (target, compare, boxes)):
        if path.exists() and path.samefile(job.source):
            raise OptionError("the output", str(path), "another file than the input")
        if path.exists() and not options.force:
            raise OptionError("the output", str(path), "a new file; --force overwrites")
    if picture.frames > 1:
        tqdm.write(f"facemend: {job.source} holds {picture.frames} pictures; the first is restored", file=sys.stderr)

    with _progress(bar) as progress:
        result = pipeline.run(picture, settings, progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    result.save(target, quality=options.quality)
    if compare:
        write(compare, encode(Picture(before_after(result.before, result.picture)), "jpeg"))
    if boxes:
        write(boxes, encode(Picture(numbered(result.before, result.faces)), "jpeg"))
    tqdm.write(json.dumps(_record(job.source, target, result)) if options.json else _line(target, result))


@contextmanager
def _progress(shown: bool) -> Iterator["Progress | None"]:
    """A bar on stderr for the stages that take long, on a terminal only."""
    if not shown:
        yield None
        return
    with tqdm(disable=None, leave=False) as bar:

        def move(stage: str, done: int, total: int) -> None:
            bar.set_description(stage, refresh=False)
            bar.total = total
            bar.n = done
            bar.refresh()

        yield move


def _line(target: Path, result: "Result") -> str:
    height, width = result.pixels.shape[:2]
    restored = sum(face.restored for face in result.faces)
    faces = f"{restored} of {len(result.faces)} faces restored" if result.faces else "no faces found"
    return f"{target}  {width} x {height}  {faces}  {result.seconds['total']:.1f} s"


def _record(source: Path, target: Path, result: "Result") -> dict[str, Any]:
    """What --json says of one picture; px of the input, rounded to hundredths."""
    height, width = result.pixels.shape[:2]
    return {
        "input": str(source),
        "output": str(target),
        "size": [width, height],
        "restorer": result.restorer,
        "upscaler": result.upscaler,
        "faces": [_face(face) for face in result.faces],
        "seconds": {stage: round(value, 3) for stage, value in result.seconds.items()},
    }


def _face(face: Face) -> dict[str, Any]:
    return {
        "box": [round(value, 2) for value in face.box],
        "landmarks": {name: [round(value, 2) for value in point] for name, point in face.landmarks._asdict().items()},
        "score": round(face.score, 4),
        "restored": face.restored,
        "net": face.net,
        "reason": face.reason,
    }


def _described(pipeline: "Pipeline") -> str:
    parts = {
        "faces": pipeline.restorer,
        "picture": pipeline.upscaler,
        "detector": pipeline.detector,
        "parser": pipeline.parser,
    }
    return ", ".join(f"{part}: {stage.name if stage else 'none'}" for part, stage in parts.items())


def _models(options: argparse.Namespace) -> int:
    """The table of models, a line each."""
    rows = [("NAME", "TASK", "SCALE", "SIZE", "COMMERCIAL USE", "INSTALLED", "LICENCE")]
    for model in MODELS.values():
        rows.append(
            (
                model.called,
                model.task,
                f"x{model.scale}" if model.task in ("upscaler", "companion") else "",
                f"{model.size / 1e6:.1f} MB",
                model.commercial,
                "bundled" if model.bundled else "yes" if find(model.name) else "no",
                model.licence,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
    for reason in dict.fromkeys(model.why for model in MODELS.values() if model.why):
        print(f"Note: {reason}.")
    print(f"Downloads go to {download_folder()}.")
    return DONE


def _download(options: argparse.Namespace) -> int:
    remote = [model for model in MODELS.values() if not model.bundled]
    models = [lookup(name) for name in options.names]
    if options.all:
        models += remote
    if options.commercial:
        models += [model for model in remote if model.commercial == "yes"]
    if not models:
        raise OptionError("the list of models", "", "one or more names, --all or --commercial")
    parts: dict[str, Model] = {part.name: part for model in models for part in model.parts()}
    for model in parts.values():
        with progress_bar(model) as progress:
            path = fetch(model, download_folder(), progress)
        allowed = "" if model.commercial == "yes" else f"  commercial use: {model.commercial} ({model.why})"
        print(f"{model.name}  {path}{allowed}")
    return DONE


def _verify(options: argparse.Namespace) -> int:
    code = DONE
    count = 0
    for model, path, error in verify():
        count += 1
        if error:
            code = _complain(error)
        else:
            print(f"{model.name}  {path}  right")
    print(f"{count} installed files hashed")
    return code
