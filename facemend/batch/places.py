"""Where pictures come from and results go: a folder here, a bucket in `facemend.batch.bucket`."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from facemend.errors import InputError, OutputError, OutputPathError
from facemend.extras import install_remedy
from facemend.files.output import exists

OWN = ".facemend"  # the folder of a batch in its destination
SCRATCH = f"{OWN}/scratch"  # with unfinished results
LOCK = f"{OWN}/lock"


class Place(Protocol):
    """A folder or a bucket. Keys are relative paths with / between their parts.

    Attributes:
        name: its path or URL.
        scratch: folder for unfinished results, from which they can be moved here; "" for any folder.
        pause: seconds to wait between two calls of `append`.
    """

    name: str
    scratch: str
    pause: float

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys of all files below a folder, one that ends in / or "" for all."""

    def exists(self, key: str) -> bool:
        """Whether there is a file; in a folder, raises OutputPathError where there is something else."""

    def is_file(self, key: str, file: Path) -> bool:
        """Whether the file of a key is a certain file of this machine, which may have several paths."""

    def index(self) -> Callable[[str], bool]:
        """A function that tells whether there is a file; of a bucket, what was there when it was made."""

    def read(self, key: str) -> bytes:
        """The content of a file."""

    def append(self, key: str, data: bytes) -> None:
        """Add to the end of a file that only this object writes."""

    def mark(self, key: str) -> bool:
        """Write an empty file; return False if there is one already."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete files; those that do not exist are ignored."""

    def fetch(self, key: str, folder: Path) -> Path:
        """Return a file of this machine with the content of a picture; `folder` is for a copy.

        Raises:
            OpenError: there is none, or it cannot be read.
        """

    def publish(self, file: Path, key: str, replace: bool) -> None:
        """Move a finished file here, so that it appears whole.

        Raises:
            OptionError: there is a file, and `replace` is False.
            OutputError: it cannot be written.
        """

    def lock(self) -> AbstractContextManager[object]:
        """Keep other batches out, where that is possible, and remove results that were left unfinished.

        Raises:
            InputError: another batch runs.
            OutputError: this place cannot be written to.
        """


def open_place(name: str) -> Place:
    """The place that a path or a URL names.

    Raises:
        InputError: it is a URL, and the package for buckets is not installed or does not know it.
    """
    if not is_url(name):
        return Folder(Path(name))
    try:
        from facemend.batch.bucket import Bucket  # imports the package of an extra
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise InputError(f"{name} needs the package obstore", install_remedy("stores")) from error
    return Bucket(name)


def is_url(name: str) -> bool:
    """Whether a name is a URL, and not a path."""
    return "://" in name


class Folder:
    """A folder of this machine, or of a file system that all machines have at the same path."""

    pause = 0.0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.scratch = str(path / SCRATCH)
        self._path = path

    def list(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        for parent, _, files in os.walk(self._path / prefix):
            for file in files:
                yield Path(parent, file).relative_to(self._path).as_posix()

    def exists(self, key: str) -> bool:  # noqa: D102
        return exists(self._path / key)

    def is_file(self, key: str, file: Path) -> bool:  # noqa: D102
        return self.exists(key) and (self._path / key).samefile(file)

    def index(self) -> Callable[[str], bool]:  # noqa: D102
        return lambda key: (self._path / key).is_file()

    def read(self, key: str) -> bytes:  # noqa: D102
        return (self._path / key).read_bytes()

    def append(self, key: str, data: bytes) -> None:  # noqa: D102
        path = self._path / key
        with _writing(path), path.open("ab", buffering=0) as stream:  # closing would write what is left in a buffer
            size = stream.tell()
            try:
                while data:
                    data = data[stream.write(data) :]
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(size)  # the next line must not continue half a one
                raise

    def mark(self, key: str) -> bool:  # noqa: D102
        path = self._path / key
        with _writing(path):
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                return False
        return True

    def delete(self, keys: Sequence[str]) -> None:  # noqa: D102
        for key in keys:
            (self._path / key).unlink(missing_ok=True)

    def fetch(self, key: str, folder: Path) -> Path:  # noqa: D102
        return self._path / key

    def publish(self, file: Path, key: str, replace: bool) -> None:  # noqa: D102
        path = self._path / key
        if path.exists() and not replace:
            raise OutputPathError.existing(path)
        with _writing(path):
            file.replace(path)

    @contextmanager
    def lock(self) -> Iterator[None]:  # noqa: D102
        lock = FileLock(self._path / LOCK, blocking=False)
        with _writing(self._path / LOCK):
            try:
                lock.acquire()
            except Timeout as error:  # which is an OSError too
                raise InputError(f"another batch writes into {self._path}", "wait until it has ended") from error
        try:
            shutil.rmtree(self.scratch, ignore_errors=True)  # of a run that was killed
            yield
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)  # of workers that were killed
            lock.release()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the folder of a file that is written in the block. An OSError becomes an OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
