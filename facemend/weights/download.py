"""Download the official weights file of a model; resume interrupted downloads and check the SHA-256."""

import hashlib
import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock, Timeout
from tqdm import tqdm

from facemend.errors import ChecksumError, DownloadError, OptionError, WeightsError
from facemend.weights.installed import blocks, check
from facemend.weights.models import Model

TIMEOUT = httpx.Timeout(30, connect=10)  # seconds; without a byte for so long, a connection counts as broken
WAIT = 0.5  # seconds after which a process that waits for another's download shows how far that is
PAUSES = (0.5, 1, 2, 4, 8)  # seconds to wait before each attempt to resume a broken transfer
ALLOWED = "https, or http to this machine"
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416  # HTTP status codes, RFC 9110

Progress = Callable[[int], None]  # called with the number of bytes received so far


def fetch(model: Model, folder: Path, progress: Progress = lambda there: None) -> Path:
    """Download a model's file into a folder, unless it is already there.

    If two processes want the same file, one downloads it and the other waits. The bytes received are kept in NAME.part,
    so an interrupted download continues where it stopped. FACEMEND_MIRROR=https://host/path replaces scheme and host of
    every URL.

    Args:
        model: the model.
        folder: where to put the file; created if it does not exist.
        progress: called with the number of bytes received so far, up to `model.size`.

    Returns:
        The path of the file.

    Raises:
        OptionError: FACEMEND_MIRROR is not a valid address, or not a secure one.
        ChecksumError: the file in the folder, or the one downloaded last, is not the official one.
        DownloadError: no URL works, or the folder cannot be written to.
    """
    urls = _addresses(model)
    target = folder / model.file
    try:
        if not _is_there(model, target):
            folder.mkdir(parents=True, exist_ok=True)
            transfer = _Transfer(model, target, progress)
            with _acquired(FileLock(f"{target}.lock"), lambda: progress(transfer.there)):
                if not _is_there(model, target):  # another process may have downloaded it while this one waited
                    transfer.run(urls)
    except OSError as error:
        raise DownloadError(_shown(urls[0]), f"{folder} cannot be written: {error.strerror}", target) from error
    return target


@contextmanager
def progress_bar(model: Model) -> Iterator[Progress]:
    """Show a progress bar on stderr if that is a terminal. The context is the function that advances it."""
    with tqdm(total=model.size, desc=model.name, unit="B", unit_scale=True, disable=None) as bar:

        def move(there: int) -> None:
            bar.update(there - bar.n)

        yield move


def _acquired(lock: FileLock, tell: Callable[[], None]) -> AbstractContextManager[object]:
    """Wait for a lock that another process may have; `tell` is called meanwhile, and may raise to stop that."""
    while True:
        try:
            return lock.acquire(timeout=WAIT)
        except Timeout:
            tell()


def _is_there(model: Model, target: Path) -> bool:
    """Return whether the file exists. Raise ChecksumError if it is another file, which may be the user's own."""
    if not target.exists():
        return False
    check(model, target)
    return True


@dataclass(frozen=True)
class _Transfer:
    """The download of one file. NAME.part holds the bytes received so far."""

    model: Model
    target: Path
    progress: Progress

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def there(self) -> int:
        """The number of bytes received so far."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def run(self, urls: list[httpx.URL]) -> None:
        """Download the file from the first URL that works. If none does, raise the error of the last one."""
        failures: list[WeightsError] = []
        hooks = {"request": [_refuse_insecure]}  # called for each redirect too
        try:
            opened = httpx.Client(timeout=TIMEOUT, follow_redirects=True, event_hooks=hooks)
        except (ValueError, httpx.InvalidURL) as error:
            reason = f"a proxy variable such as HTTPS_PROXY is invalid ({error})"
            raise DownloadError(_shown(urls[0]), reason, self.target) from error
        with opened as client:
            for url in urls:
                try:
                    self.receive_patiently(client, url)
                except httpx.HTTPError as error:
                    failures.append(DownloadError(_shown(url), _reason(error), self.target))
                except ChecksumError as error:
                    failures.append(error)
                else:
                    with self.part.open("rb+") as file:  # else a power failure could leave an empty file
                        os.fsync(file.fileno())
                    self.part.replace(self.target)
                    return
        raise failures[-1]

    def receive_patiently(self, client: httpx.Client, url: httpx.URL) -> None:
        """Receive the file. Resume a broken connection, as long as each one has brought more bytes."""
        for pause in PAUSES:
            before = self.there
            try:
                return self.receive(client, url)
            except httpx.TransportError:
                if self.there <= before:
                    raise
                time.sleep(pause)
        return self.receive(client, url)

    def receive(self, client: httpx.Client, url: httpx.URL, resume: bool = True) -> None:
        """Receive the file into NAME.part over one connection and check its hash.

        Args:
            client: an HTTP client.
            url: the address of the file.
            resume: whether to continue after the bytes that NAME.part has.

        Raises:
            httpx.HTTPError: the server cannot be reached, refuses the request, or breaks the connection. NAME.part can
                be resumed later.
            ChecksumError: the server has another file.
        """
        digest, there = hashlib.sha256(), 0
        if resume and 0 < self.there <= self.model.size:
            for block in blocks(self.part):
                digest.update(block)
                there += len(block)
        resumed = there > 0
        self.progress(there)
        if there < self.model.size:
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if resumed else {})
            auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else httpx.USE_CLIENT_DEFAULT
            with client.stream("GET", _shown(url), headers=headers, auth=auth) as response:  # httpx logs its address
                if resumed and response.status_code == RANGE_NOT_SATISFIABLE:
                    return self.receive(client, url, resume=False)
                response.raise_for_status()
                if response.status_code != PARTIAL_CONTENT:  # without support for ranges, the whole file is sent
                    digest, there = hashlib.sha256(), 0
                size = there + int(response.headers.get("Content-Length", self.model.size - there))
                if size != self.model.size:
                    if resumed:  # a wrong server sends the whole file in place of the rest
                        return self.receive(client, url, resume=False)
                    raise self.other_file(url, f"{size} bytes")
                with self.part.open("ab" if there else "wb") as file:
                    for block in response.iter_raw():
                        file.write(block)
                        digest.update(block)
                        there += len(block)
                        self.progress(there)
                        if there > self.model.size:
                            break
            if there < self.model.size:  # possible only without Content-Length
                raise httpx.RemoteProtocolError(f"the connection closed after {there} of {self.model.size} bytes")
        if digest.hexdigest() != self.model.sha256:
            self.part.unlink()
            if resumed:  # the wrong bytes may be those received earlier
                return self.receive(client, url)
            raise self.other_file(url, f"{digest.hexdigest()} of {there} bytes")
        return None

    def other_file(self, url: httpx.URL, actual: str) -> ChecksumError:
        """Return the error for a server that does not have the official file."""
        expected = f"{self.model.sha256} of {self.model.size} bytes"
        remedy = f"download the official file yourself and put it at {self.target}; {_shown(url)} has another file"
        return ChecksumError(self.part, expected, actual, remedy)


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code} {error.response.reason_phrase}"
    return str(error) or type(error).__name__  # a timeout has no message


def _addresses(model: Model) -> list[httpx.URL]:
    """Return the model's URLs; on the mirror, if FACEMEND_MIRROR is set."""
    mirror = os.environ.get("FACEMEND_MIRROR", "").rstrip("/")
    if not mirror:
        return [httpx.URL(url) for url in model.urls]
    try:
        base = httpx.URL(mirror)
    except httpx.InvalidURL:
        base = httpx.URL()
    if not base.host or base.query or base.fragment or not _allowed(base):
        shown = mirror.rpartition("@")[2].partition("?")[0]  # the other parts may hold a password or a key
        raise OptionError("FACEMEND_MIRROR", shown, f"an address such as https://host/path without a query ({ALLOWED})")
    return [httpx.URL(mirror + httpx.URL(url).path) for url in model.urls]


def _allowed(url: httpx.URL) -> bool:
    """Return whether nobody between this machine and the server can read or change the transfer."""
    if url.scheme != "http":
        return url.scheme == "https"
    try:
        return url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:  # a host name
        return False


def _refuse_insecure(request: httpx.Request) -> None:
    if not _allowed(request.url):
        raise httpx.UnsupportedProtocol(f"{_shown(request.url)} is refused, because only {ALLOWED} is allowed")


def _shown(url: httpx.URL) -> str:
    """Return a URL without user name and password, for messages and logs."""
    return str(url.copy_with(userinfo=b""))
