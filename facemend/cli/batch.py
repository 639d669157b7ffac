"""`facemend batch`."""

import argparse
import json
import os
import posixpath
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from tqdm import tqdm

from facemend.batch.manifest import State
from facemend.batch.names import tasks
from facemend.batch.places import is_url, open_place
from facemend.batch.plan import Plan
from facemend.batch.run import Batch, open_batch
from facemend.cli import say, sources
from facemend.cli.options import add_picture_options, not_empty
from facemend.cli.restore import models_of, settings_of, writing_of
from facemend.errors import FacemendError, InputError, OpenError, OptionError, Remedy
from facemend.files import formats


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a batch, and those of a picture."""
    place = "a folder, or a URL: s3://, gs:// or az://"
    parser.add_argument("source", type=_place, metavar="SRC", help=f"{place}: the pictures")
    parser.add_argument("destination", type=_place, metavar="DST", help=f"{place}: the results, with the same paths")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local",
        help="local: processes of this machine; ray: the Ray cluster that RAY_ADDRESS names, or one on this machine "
        "(%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_workers, metavar="N",
        help="number of processes, each with one thread (default: one for each processor; with networks on a GPU, one, "
        "or one for each GPU with --engine ray)",
    )  # fmt: skip
    parser.add_argument("--retry-failed", action="store_true", help="try pictures again that failed in an earlier run")
    add_picture_options(parser)


def batch(options: argparse.Namespace, reporter: say.Reporter) -> None:
    """Restore every picture of a folder or bucket that no earlier run has done."""
    settings = settings_of(options)
    if options.keep_dates and is_url(options.destination):
        raise InputError("a bucket keeps no dates", Remedy("leave out {}", "keep_dates"))
    listing = _Listing(options.source, options.destination, reporter)
    if next(tasks(listing.keys(), ()), None) is None:  # before the networks are loaded and the destination made
        listing.note_left_out()
        reporter.failed(sources.no_pictures(options.source), options.source)
        return
    models = models_of(options, settings)
    models["weights"] = {name: path.absolute() for name, path in options.weights}  # as workers may be elsewhere
    plan = Plan(
        source=options.source,
        destination=options.destination,
        models=models,
        settings=settings,
        writing=writing_of(options),
        force=options.force,
        resume=options.skip_existing,
        report=options.json,
        debug=options.debug,
    )
    opened = open_batch(
        plan, listing.keys, engine=options.engine, workers=options.workers, retry_failed=options.retry_failed
    )
    with opened as ready:
        say.note(say.describe(ready.names))
        say.note_lite(ready.names, (options.restorer, options.upscaler))
        _run(ready, listing, options, reporter)


class _Listing:
    """The keys of the pictures of the source; they are listed again at each call of `keys`.

    Args:
        source: a folder or URL.
        destination: a folder or URL.
        reporter: told of folders that cannot be read.

    Raises:
        InputError: the source cannot be read, or the destination is the source or holds it.
    """

    def __init__(self, source: str, destination: str, reporter: say.Reporter) -> None:
        self._source = source
        self._destination = destination
        self._reporter = reporter
        self._unreadable: set[str] = set()
        self.left_out: Counter[str] = Counter()
        if not is_url(source) and not os.path.isdir(source):
            raise InputError(f"{source} is not a folder", "check the path")
        if not is_url(destination) and os.path.exists(destination) and not os.path.isdir(destination):
            raise InputError(f"{destination} is not a folder", "name a folder for the results")
        if PurePath(source).is_relative_to(destination):
            raise OptionError("the destination", destination, "neither the source nor a folder that holds it")

    def keys(self) -> Iterator[str]:
        """Yield the keys of all files that have the suffix of a picture, and count what is left out."""
        self.left_out.clear()
        for key in self._files():
            name = key.rpartition("/")[2]
            if reason := sources.why_not(name):
                self.left_out[reason] += 1
            # Also where the format needs a package that is not installed: names of results must not depend on that.
            if posixpath.splitext(name)[1].lower() in formats.BY_SUFFIX and not name.startswith("."):
                yield key

    def note_left_out(self) -> None:
        """Write what `keys` left out."""
        if self.left_out:
            say.note(f"{self._source}: {sources.counted(self.left_out)}")

    def _files(self) -> Iterator[str]:
        if not is_url(self._source):
            folder = Path(self._source)
            for path in sources.walk(folder, Path(self._destination), self._cannot_read, self.left_out):
                yield path.relative_to(folder).as_posix()
            return
        results = f"{self._destination}/".removeprefix(f"{self._source}/")
        for key in open_place(self._source).list():
            if key.startswith(results):
                self.left_out["results"] += 1
            elif "/." in f"/{key.rpartition('/')[0]}":
                self.left_out[sources.HIDDEN] += 1
            else:
                yield key

    def _cannot_read(self, error: OSError) -> None:
        if error.filename not in self._unreadable:
            self._unreadable.add(error.filename)
            self._reporter.failed(OpenError.of(error.filename, error), error.filename)


def _run(ready: Batch, listing: _Listing, options: argparse.Namespace, reporter: say.Reporter) -> None:
    start = time.monotonic()
    counts: Counter[str] = Counter()
    total = sum(1 for _ in ready.pending()) if sys.stderr.isatty() else None
    for outcome in tqdm(ready.outcomes(), total=total, unit="picture", disable=None, smoothing=0.02):
        name = f"{options.source}/{outcome.key}"
        counts["failed" if outcome.error else "skipped" if outcome.skipped else "restored"] += 1
        if outcome.error:
            reporter.failed(outcome.error, name)
            continue
        if outcome.lost:
            say.note(f"{name}: not kept: {', '.join(outcome.lost)}")
        if options.json:
            output = f"{options.destination}/{outcome.outputs[0]}"
            report = {"skipped": True} if outcome.skipped else outcome.report or {}
            tqdm.write(json.dumps({"input": name, "output": output, **report}))
    seconds = time.monotonic() - start
    listing.note_left_out()
    _report_earlier(ready, reporter)
    counts["done before"] = ready.earlier[State.DONE]
    parts = [f"{counts[what]} {what}" for what in ("skipped", "restored", "failed", "done before") if counts[what]]
    if not parts:
        return
    rate = f" ({counts['restored'] / seconds:.2f} pictures/s)" if counts["restored"] else ""
    say.note(f"{', '.join(parts)} in {seconds:.1f} s{rate}")


def _report_earlier(ready: Batch, reporter: say.Reporter) -> None:
    """Write how many pictures failed in earlier runs and were not tried again; they count for the exit code."""
    if not (count := ready.earlier[State.FAILED] + ready.earlier[State.MISTAKE]):
        return
    names = ", ".join([*ready.examples, *(["..."] if count > len(ready.examples) else [])])
    error = FacemendError if ready.earlier[State.FAILED] else InputError
    remedy = Remedy("try them again with {}", "retry_failed")
    reporter.failed(error(f"pictures that failed in earlier runs: {count} ({names})", remedy))


def _place(text: str) -> str:
    """A URL, or the path of a folder that every worker understands."""
    if not is_url(text):
        return str(sources.real_path(Path(not_empty(text))))
    if not text.partition("://")[2].strip("/"):
        raise argparse.ArgumentTypeError(f"{text!r} names no bucket")
    return text.rstrip("/")


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
