"""The command line. Everything that is printed is printed here."""

import argparse
import gc
import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tqdm import tqdm

from facemend import __version__
from facemend.errors import DecodeError, FacemendError, InputError, OptionError
from facemend.records import FACE_CHOICES, Face, Picture, Settings
from facemend.weights.download import fetch, progress_bar
from facemend.weights.installed import download_folder, find, verify
from facemend.weights.models import LITE, MODELS, Model, names

if TYPE_CHECKING:
    from facemend.pipeline import Pipeline, Progress
    from facemend.result import Result

DONE, FAILED, MISTAKE = 0, 1, 2  # exit codes
PICTURES = {
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif",
}  # fmt: skip  # what is looked for in folders; a file that is named may be called anything
RESULTS = ("_restored", "_restored_compare", "_restored_boxes")  # ends of the names this program gives
DEFAULTS = Settings()
LARGE = "'facemend download gfpgan-v1.4 realesrgan-x4plus retinaface-r50'"

EXAMPLES = """\
examples:
  facemend restore old.jpg                          old_restored.jpg, twice as large, all faces restored
  facemend restore old.jpg -o new.png --scale 4     four times as large, into new.png
  facemend restore scans/ -o restored/              every picture of a folder
  facemend restore scans/ --skip-existing           those a stopped run left over
  facemend restore group.jpg --boxes                which face has which number?
  facemend restore group.jpg --faces 0,2            only those two
  facemend restore face.png --aligned --scale 1     a 512 px face cut-out
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 all done, 2 the caller's mistake, 1 anything else."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; the next file opened would take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end
    options = _parser().parse_args(arguments)
    logging.getLogger("facemend").handlers = [_Notes()]
    logging.getLogger("facemend").setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file may have any name
    try:
        code = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _complain("stopped")
    except BrokenPipeError:  # the reader of our output has gone, which is no news to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except Exception as error:
        if options.debug:
            raise
        code = _complain(error)
    sys.exit(code)


class _Notes(logging.Handler):
    """Shows what the package has to say on stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"facemend: {record.getMessage()}", file=sys.stderr)


def _complain(problem: object, source: Path | None = None) -> int:
    """One line on stderr, with the picture it is about; the exit code that fits."""
    tqdm.write(f"facemend: {_told(problem, source)}", file=sys.stderr)
    return MISTAKE if isinstance(problem, InputError) else FAILED


def _told(problem: object, source: Path | None = None) -> str:
    """What went wrong, on one line, with the picture it is about."""
    message = str(problem)
    if isinstance(problem, Exception) and not isinstance(problem, (FacemendError, OSError)):
        message = f"unforeseen {type(problem).__name__}: {message} (--debug tells where)"
    if source and str(source) not in message:
        message = f"{source}: {message}"
    return " ".join(message.split())


class _Parser(argparse.ArgumentParser):
    """Says what is wrong on one line; the class of `argparse` puts the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(f"{self.prog}: {message}; '{self.prog} --help' lists all options".split())
        self.exit(MISTAKE, f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT",
        help="a picture, or a folder of pictures; write ./-old.jpg where a name begins with a dash",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="OUT",
        help="a file (.png, .jpg, .webp, .tiff) or a folder (default: NAME_restored.EXT beside the input)",
    )  # fmt: skip
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--force", action="store_true", help="overwrite files (never the input)")
    there.add_argument(
        "--skip-existing", action="store_true",
        help="leave pictures alone whose result is there: goes on with a run that was stopped, "
        "and writes the pictures beside a missing result anew",
    )  # fmt: skip

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
    output.add_argument(
        "--strip-metadata", action="store_true",
        help="write no EXIF: place, time, camera, DPI (kept otherwise, where the format holds it)",
    )  # fmt: skip
    output.add_argument("--compare", action="store_true", help="also write OUT_compare.jpg: before beside after")
    output.add_argument("--boxes", action="store_true", help="also write OUT_boxes.jpg: the faces with their numbers")
    output.add_argument("--json", action="store_true", help="one JSON line for each picture on stdout")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (%(default)s)")
    machine.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto",
        help="of the networks; auto is half where the hardware is fast in it and the network safe (%(default)s)",
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
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with a NAME of {', '.join(MODELS)}")
    return name, Path(path)


def _restore(options: argparse.Namespace) -> int:
    settings = Settings(**{name: getattr(options, name) for name in Settings.__dataclass_fields__})
    if not 1 <= options.quality <= 100:
        raise OptionError("quality", options.quality, "a whole number from 1 to 100")
    codes = {DONE}

    def failed(error: Exception, source: Path) -> None:
        codes.add(_complain(error, source))
        if options.json:
            tqdm.write(json.dumps({"input": str(source), "error": _told(error, source)}))

    def unreadable(error: OSError) -> None:
        failed(DecodeError(f"cannot open {error.filename}: {error.strerror}"), Path(error.filename))

    jobs: list[Job] = []
    to_file = _names_a_file(options.output, options.inputs)
    for path in options.inputs:
        try:
            jobs += _jobs(path, options.output, to_file, unreadable)
        except FacemendError as error:
            failed(error, path)
        except OSError as error:
            unreadable(error)
    if not jobs:
        return _worst(codes)

    with _here_to_stay():
        from facemend.pipeline import Pipeline  # imports torch, which --help and mistakes need not wait for

        pipeline = Pipeline.load(
            restorer=options.model,
            upscaler=options.upscaler,
            device=options.device,
            precision=options.precision,
            weights=dict(options.weights),
        )
    print(f"facemend: {_described(pipeline)}", file=sys.stderr)
    used = {stage.name for stage in (pipeline.restorer, pipeline.upscaler) if stage}
    if LITE in used - {options.model, options.upscaler}:
        print(f"facemend: lite models come with the program; {LARGE} fetches large ones", file=sys.stderr)
    if pipeline.restorer is None and not (options.boxes or options.json):
        settings = replace(settings, faces="none")  # nobody asks where they are
    taken = {_identity(job.source) for job in jobs}
    for job in tqdm(jobs, unit="picture", disable=None if len(jobs) > 1 else True):
        try:
            said = _restore_one(pipeline, job, settings, options, taken, bar=len(jobs) == 1)
        except Exception as error:
            if options.debug:
                raise
            failed(error, job.source)
        else:
            tqdm.write(said)
    return _worst(codes)


@contextmanager
def _here_to_stay() -> Iterator[None]:
    """Do not look for garbage among what is imported and loaded: PyTorch starts and ends in half the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def _worst(codes: set[int]) -> int:
    """The exit code of several pictures: a failure that is not the caller's outweighs mistakes."""
    return FAILED if FAILED in codes else max(codes)


class Job(NamedTuple):
    """One picture and where it goes."""

    source: Path
    target: Path
    named: bool  # the target is the user's own file name; otherwise the format's suffix is still to come


def _names_a_file(output: str | None, inputs: Sequence[Path]) -> bool:
    """Whether -o is a file: it looks like one, and there is one picture to put there."""
    if output is None or output.endswith(os.sep) or Path(output).is_dir() or not Path(output).suffix:
        return False
    if len(inputs) > 1 or inputs[0].is_dir():
        raise OptionError("the output", output, "a folder where there are several pictures; end it with /")
    return True


def _jobs(path: Path, output: str | None, to_file: bool, unreadable: Callable[[OSError], None]) -> list[Job]:
    """What is to be done for one argument; `unreadable` is told of folders in it that cannot be looked into."""
    path.stat()  # raises what is wrong with it, before anything else
    if not path.is_dir():
        if output is None:
            return [Job(path, path.with_name(f"{path.stem}_restored"), named=False)]
        return [Job(path, Path(output), named=True) if to_file else Job(path, Path(output) / path.stem, named=False)]
    target = Path(output) if output else path
    results, whole = _real(target), _real(path)
    apart = results != whole and results.is_relative_to(whole)  # results lie in a folder of it
    found = sorted(
        source
        for folder, _, names in os.walk(path, onerror=unreadable)
        for source in map(Path(folder).joinpath, names)
        if source.suffix.lower() in PICTURES
        and not any(part.startswith(".") for part in source.relative_to(path).parts)  # a Mac's ._NAME.jpg, a .trash
        and not source.stem.endswith(RESULTS)
        and not (apart and _real(source.parent).is_relative_to(results))
    )
    if not found:
        raise DecodeError(
            f"{path} holds no pictures to restore ({', '.join(sorted(PICTURES))}; "
            f"names that end in {', '.join(RESULTS)} are taken for results)"
        )
    ending = "" if output else "_restored"
    return [
        Job(source, (target / source.relative_to(path)).with_name(f"{source.stem}{ending}"), named=False)
        for source in found
    ]


def _real(path: Path) -> Path:
    """Where a name leads: no/../old.jpg to old.jpg, although there is no folder "no" before the result is written."""
    return Path(os.path.realpath(path))  # Path.resolve fails at links in a ring before Python 3.13


def _identity(path: Path) -> object:
    """What two names of one file have in common; where it would be if there is no file yet."""
    path = _real(path)
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _restore_one(
    pipeline: "Pipeline", job: Job, settings: Settings, options: argparse.Namespace, taken: set[object], bar: bool
) -> str:
    """Restore one picture; what to say of it.

    `taken` holds the files that must not be written: inputs, and outputs of this run.
    """
    from facemend.draw import SEAM, before_after, numbered
    from facemend.files.decode import decode
    from facemend.files.encode import LONGEST_SIDE, SUFFIXES, encode, output_format, suffix_format, write

    start = time.perf_counter()
    picture = decode(job.source, settings)
    decoding = time.perf_counter() - start

    # Every mistake about the output is found before the work, not after it.
    height, width = settings.output_size(*picture.pixels.shape[:2])
    kind = output_format(picture, suffix_format(job.target) if job.named else options.format, (height, width))
    target = job.target if job.named else job.target.with_name(job.target.name + SUFFIXES[kind])
    compare = target.with_name(f"{target.stem}_compare.jpg") if options.compare else None
    boxes = target.with_name(f"{target.stem}_boxes.jpg") if options.boxes else None
    if compare and max(height, 2 * width + SEAM) > LONGEST_SIDE["jpeg"]:
        raise OptionError("compare", f"{2 * width + SEAM} x {height} px", f"at most {LONGEST_SIDE['jpeg']} px a side")
    outputs = [path for path in (target, compare, boxes) if path]
    try:
        there = {path for path in outputs if _real(path).exists()}
    except OSError as error:
        raise OptionError("the output", str(target), f"a name a file can have ({error.strerror})") from error
    for path in outputs:
        if _identity(path) in taken:
            raise OptionError("the output", str(path), "another file than the inputs and the other outputs; rename one")
        if path in there and not (options.force or options.skip_existing):
            raise OptionError("the output", str(path), "a new file; --force overwrites, --skip-existing leaves it")
    if options.skip_existing and target in there:
        taken.add(_identity(target))
        skipped = json.dumps({"input": str(job.source), "output": str(target), "skipped": True})
        return skipped if options.json else f"{target}  is there already"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError("the output", str(target), f"in a folder that can be made ({error.strerror})") from error
    if not os.access(target.parent, os.W_OK):
        raise OptionError("the output", str(target), "in a folder that may be written to; -o names another")
    if picture.several:
        tqdm.write(f"facemend: {job.source} holds several pictures; the first is restored", file=sys.stderr)

    with _progress(bar) as progress:
        result = pipeline.run(picture, settings, progress)
    if compare:
        write(compare, encode(Picture(before_after(result.before, result.picture)), "jpeg"))
    if boxes:
        write(boxes, encode(Picture(numbered(result.before, result.faces)), "jpeg"))
    start = time.perf_counter()
    result.save(target, quality=options.quality, strip_metadata=options.strip_metadata)  # last: where it is, all are
    encoding = time.perf_counter() - start
    taken.update(map(_identity, outputs))
    total = result.seconds["total"] + decoding + encoding
    seconds = {**result.seconds, "decode": decoding, "encode": encoding, "total": total}
    result = replace(result, seconds=seconds)
    looked = settings.faces != "none"
    return json.dumps(_record(job.source, target, result)) if options.json else _line(target, result, looked)


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


def _line(target: Path, result: "Result", looked: bool) -> str:
    height, width = result.pixels.shape[:2]
    restored = sum(face.restored for face in result.faces)
    found = f"{restored} of {len(result.faces)} faces restored" if result.faces else "no faces found"
    parts = [str(target), f"{width} x {height}", *([found] if looked else []), f"{result.seconds['total']:.1f} s"]
    return " ".join("  ".join(parts).split("\n"))


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
        "seconds": {stage: round(value, 4) for stage, value in result.seconds.items()},
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
    choices = {model.name: model for model in remote}
    models = []
    for name in options.names:
        if name not in choices:
            allowed = ", ".join(choices)
            raise OptionError("the model name", name, f"one of {allowed}; {LITE} comes with the program")
        models.append(choices[name])
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
