"""The command line: its commands and exit codes."""

import argparse
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from facemend import __version__
from facemend.cli.batch import add_batch_options, batch
from facemend.cli.compare import add_compare_options, compare
from facemend.cli.creative import add_creative_options
from facemend.cli.models import download, show_models, verify
from facemend.cli.options import add_restore_options
from facemend.cli.restore import restore
from facemend.cli.say import FAILED, MISTAKE, Notes, Reporter
from facemend.cli.web import add_web_options, web
from facemend.errors import one_line

EXAMPLES = """\
examples:
  facemend restore old.jpg                          old_restored.jpg, twice as large, all faces restored
  facemend restore old.jpg -o new.png --scale 4     four times as large, into new.png
  facemend restore scans/ -o restored/              every picture of a folder
  facemend restore scans/ --skip-existing           continue a run that was stopped
  facemend batch scans/ restored/                   a large folder, with all processors; again to go on after a stop
  facemend restore group.jpg --boxes                also write a picture with the faces numbered
  facemend restore group.jpg --faces 0,2            only those two
  facemend restore face.png --aligned --scale 1     the picture is one face, cropped and upright
  facemend compare old.jpg                          which of the installed models is the best for it?
  facemend web                                      restore photos on a page in your browser
"""


Command = Callable[[argparse.Namespace, Reporter], None]


class _Terminated(KeyboardInterrupt):
    """SIGTERM, by which services are stopped: it ends the work as Ctrl-C does, so that nothing is left behind."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 all done, 2 the caller's mistake, 1 anything else."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; the next file opened would take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file may have any name
    options = _parser().parse_args(arguments)
    logging.getLogger("facemend").handlers = [Notes()]
    logging.getLogger("facemend").setLevel(logging.INFO)
    reporter = Reporter(options)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        options.run(options, reporter)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        reporter.failed("stopped")
        _die_of(signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has closed it, so there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        reporter.failed(error)
    sys.exit(reporter.code)


def _terminate(*_: object) -> NoReturn:
    raise _Terminated


def _die_of(number: signal.Signals) -> None:
    """End this process by a signal, as other programs do: a loop of a shell goes on after any exit code."""
    sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake on one line; the class of `argparse` prints the whole usage before it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse; an unknown argument is reported by the parser of the command, whose --help lists what it takes."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        line = one_line(f"{self.prog}: {message}; '{self.prog} --help' lists all options")
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

    restoring = _command(commands, "restore", restore, "restore faces and enlarge pictures")
    add_restore_options(restoring)
    add_creative_options(restoring)

    batching = _command(commands, "batch", batch, "restore a whole folder or bucket, with many processes")
    add_batch_options(batching)
    add_creative_options(batching)

    text = "draw the results of all installed restorers and upscalers on one sheet"
    add_compare_options(_command(commands, "compare", compare, text))
    add_web_options(_command(commands, "web", web, "restore photos on a page in the browser"))

    _command(commands, "models", show_models, "list the models: size, licence, commercial use, installed or not")

    downloading = _command(commands, "download", download, "download weights and check them")
    downloading.add_argument("names", nargs="*", metavar="NAME", help="a model of 'facemend models'")
    others = "except the networks of the upscaler creative, which have to be named"
    downloading.add_argument("--all", action="store_true", help=f"every model, {others}")
    downloading.add_argument("--commercial", action="store_true", help="those of --all that allow commercial use")

    _command(commands, "verify", verify, "check every installed file again")
    return parser


def _command(commands: Any, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES if name == "restore" else None,
    )
    errors = "unexpected errors, and go on" if name == "batch" else "an error"
    parser.add_argument("--debug", action="store_true", help=f"show the traceback of {errors}")
    parser.set_defaults(run=run)
    return parser
