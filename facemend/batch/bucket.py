"""A bucket: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure. Needs the extra `stores`.

The keys and addresses of an account come from the environment, as those of its own tools, such as AWS_REGION and
AWS_ENDPOINT_URL: https://developmentseed.org/obstore/latest/authentication/
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from facemend.errors import FacemendError, InputError, OpenError, OutputPathError, listed

SCHEMES = ("s3", "gs", "az")


class Bucket:
    """A bucket, or what is below one path in it."""

    scratch = ""
    pause = 1.0  # every call of `append` writes the whole object again

    def __init__(self, url: str) -> None:
        if url.partition("://")[0] not in SCHEMES:
            known = listed([f"{one}://" for one in SCHEMES])
            raise InputError(f"{url} is not a URL of a bucket", f"give a folder, or a URL with {known}")
        self.name = url.rstrip("/")
        self._appended: dict[str, bytes] = {}
        try:
            self._store = from_url(url)
        except (BaseError, ValueError) as error:
            raise InputError(f"cannot use {url}: {_reason(error)}", "check the URL and the environment") from error

    def list(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        try:
            for chunk in obstore.list(self._store, prefix or None):
                yield from (found["path"] for found in chunk)
        except (BaseError, FileNotFoundError) as error:
            raise self._failed("list", prefix, error) from error

    def is_file(self, key: str, file: Path) -> bool:  # noqa: D102
        return False

    def exists(self, key: str) -> bool:  # noqa: D102
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise self._failed("look for", key, error) from error
        return True

    def index(self) -> Callable[[str], bool]:  # noqa: D102
        there = {hash(key) for key in self.list()}
        return lambda key: hash(key) in there

    def read(self, key: str) -> bytes:  # noqa: D102
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except (BaseError, FileNotFoundError) as error:
            raise self._failed("read", key, error) from error

    def append(self, key: str, data: bytes) -> None:  # noqa: D102
        self._appended = {key: self._appended.get(key, b"") + data}  # an earlier object is complete
        try:
            obstore.put(self._store, key, self._appended[key])
        except (BaseError, FileNotFoundError) as error:  # the latter says that there is no bucket
            raise self._failed("write", key, error) from error

    def mark(self, key: str) -> bool:  # noqa: D102
        try:
            obstore.put(self._store, key, b"", mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, FileNotFoundError) as error:
            raise self._failed("write", key, error) from error
        return True

    def delete(self, keys: Sequence[str]) -> None:  # noqa: D102
        try:
            obstore.delete(self._store, keys)
        except FileNotFoundError:
            pass
        except BaseError as error:
            raise self._failed("delete", keys[0], error) from error

    def fetch(self, key: str, folder: Path) -> Path:  # noqa: D102
        path = folder / f"source{Path(key).suffix}"
        try:
            found = obstore.get(self._store, key)
            with path.open("wb") as stream:
                for chunk in found.stream():
                    stream.write(chunk)
        except FileNotFoundError as error:
            raise OpenError(f"{self.name}/{key}", "it is not there any more") from error
        except BaseError as error:
            raise self._failed("read", key, error) from error
        changed = int(found.meta["last_modified"].timestamp() * 1e9)
        os.utime(path, ns=(changed, changed))
        return path

    def publish(self, file: Path, key: str, replace: bool) -> None:  # noqa: D102
        try:
            obstore.put(self._store, key, file, mode="overwrite" if replace else "create")
        except AlreadyExistsError as error:
            raise OutputPathError.existing(f"{self.name}/{key}") from error
        except (BaseError, FileNotFoundError) as error:
            raise self._failed("write", key, error) from error

    def lock(self) -> AbstractContextManager[object]:  # noqa: D102
        return nullcontext()

    def _failed(self, what: str, key: str, error: Exception) -> FacemendError:
        remedies = "try again", "check the keys of the account in the environment"
        return FacemendError(f"cannot {what} {self.name}/{key}: {_reason(error)}", *remedies)


def _reason(error: Exception) -> str:
    """The first line of an error; the others hold how often it was tried and the internals of the library."""
    return str(error).partition("\n")[0]
