"""Fetch a registered file of weights from the network: resumed, hashed, and in its place only when it is right."""

import hashlib
import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock
from tqdm import tqdm

from facemend.errors import ChecksumError, DownloadError, OptionError, WeightsError
from facemend.weights.installed import blocks, check
from facemend.weights.models import Model

TIMEOUT = httpx.Timeout(30, connect=10)  # seconds without a byte before a connection counts as broken
PAUSES = (0.5, 1, 2, 4, 8)  # seconds to wait before going on with a broken transfer
ALLOWED = "https, or http to this machine itself"
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416  # HTTP status codes, RFC 9110

Progress = Callable[[int], None]  # called with the number of bytes that are there


def fetch(model: Model, folder: Path, progress: Progress = lambda there: None) -> Path:
    """Bring a model's file into a folder and return its path; at once if the right file is there.

    Of two processes that want the same file one fetches it and the other waits. What a broken or killed run left in
    NAME.part is gone on with. FACEMEND_MIRROR=https://host/path replaces scheme and host of every URL.

    Args:
        model: the row that names the file.
        folder: where to put it; made if need be.
        progress: called with the number of bytes that are there, up to `model.size`.

    Raises:
        OptionError: FACEMEND_MIRROR is not an address that may be used.
        ChecksumError: the file in the folder, or the last one that was fetched, is not the official one.
        DownloadError: no URL works, or the folder cannot be written.
    """
    urls = _addresses(model)
    target = folder / model.file
    try:
        if not _is_there(model, target):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not _is_there(model, target):  # another process may have brought it while this one waited
                    _Transfer(model, target, progress).run(urls)
    except OSError as error:
        raise DownloadError(_shown(urls[0]), f"{folder} cannot be written: {error.strerror}", target) from error
    return target


@contextmanager
def progress_bar(model: Model) -> Iterator[Progress]:
    """Show a bar on stderr, on a terminal only, and give the function that moves it."""
    with tqdm(total=model.size, desc=model.name, unit="B", unit_scale=True, disable=None) as bar:

        def move(there: int) -> None:
            bar.update(there - bar.n)

        yield move


def _is_there(model: Model, target: Path) -> bool:
    """Tell whether the file is there; another one in its place is an error, as it is not ours to overwrite."""
    if not target.exists():
        return False
    check(model, target)
    return True


@dataclass(frozen=True)
class _Transfer:
    """A file on its way to its place; what has come of it lies in NAME.part."""

    model: Model
    target: Path
    progress: Progress

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def there(self) -> int:
        """Bytes that have come."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, urls: list[httpx.URL]) -> None:
        """Put the file in its place, from the first URL that works; else raise what went wrong with the last one."""
        failures: list[WeightsError] = []
        hooks = {"request": [_refuse_insecure]}  # called for each redirect too
        try:
            opened = httpx.Client(timeout=TIMEOUT, follow_redirects=True, event_hooks=hooks)
        except (ValueError, httpx.InvalidURL) as error:
            raise DownloadError(_shown(urls[0]), f"the proxy settings are wrong ({error})", self.target) from error
        with opened as client:
            for url in urls:
                try:
                    self.receive_patiently(client, url)
                except httpx.HTTPError as error:
                    failures.append(DownloadError(_shown(url), _reason(error), self.target))
                except ChecksumError as error:
                    failures.append(error)
                else:
                    self.part.replace(self.target)
                    return
        raise failures[-1]

    def receive_patiently(self, client: httpx.Client, url: httpx.URL) -> None:
        """Receive over several connections where they break, as long as each brought something."""
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
        """Fill NAME.part over one connection, from where it ends if `resume`, and compare its hash.

        Raises:
            httpx.HTTPError: the server is out of reach, refuses or breaks off; NAME.part can be gone on with.
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
            with client.stream("GET", _shown(url), headers=headers, auth=auth) as response:  # httpx logs the address
                if resumed and response.status_code == RANGE_NOT_SATISFIABLE:
                    return self.receive(client, url, resume=False)
                response.raise_for_status()
                if response.status_code != PARTIAL_CONTENT:  # a server without ranges starts again
                    digest, there = hashlib.sha256(), 0
                size = there + int(response.headers.get("Content-Length", self.model.size - there))
                if size != self.model.size:
                    raise self.other_file(url, f"{size} bytes")
                with self.part.open("ab" if there else "wb") as file:
                    for block in response.iter_raw():
                        file.write(block)
                        digest.update(block)
                        there += len(block)
                        self.progress(there)
                        if there > self.model.size:
                            break
            if there < self.model.size:  # only a server that announces no length can get here
                raise httpx.RemoteProtocolError(f"the connection closed after {there} of {self.model.size} bytes")
        if digest.hexdigest() != self.model.sha256:
            self.part.unlink()
            if resumed:  # the bytes of the earlier connection may be the wrong ones
                return self.receive(client, url)
            raise self.other_file(url, f"{digest.hexdigest()} of {there} bytes")
        return None

    def other_file(self, url: httpx.URL, actual: str) -> ChecksumError:
        """Return the error that says what the server has instead of the official file."""
        expected = f"{self.model.sha256} of {self.model.size} bytes"
        remedy = f"{_shown(url)} has another one; download the official one yourself and put it at {self.target}"
        return ChecksumError(self.part, expected, actual, remedy)


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code} {error.response.reason_phrase}"
    return str(error) or type(error).__name__  # a timeout comes without words


def _addresses(model: Model) -> list[httpx.URL]:
    """Return the model's URLs as they are to be asked for: on the mirror, if there is one."""
    mirror = os.environ.get("FACEMEND_MIRROR", "").rstrip("/")
    if not mirror:
        return [httpx.URL(url) for url in model.urls]
    try:
        base = httpx.URL(mirror)
    except httpx.InvalidURL:
        base = httpx.URL()
    if not base.host or base.query or base.fragment or not _allowed(base):
        shown = mirror.rpartition("@")[2].partition("?")[0]  # the rest may be secret
        raise OptionError("FACEMEND_MIRROR", shown, f"an address like https://host/path, without query ({ALLOWED})")
    return [httpx.URL(mirror + httpx.URL(url).path) for url in model.urls]


def _allowed(url: httpx.URL) -> bool:
    """Tell whether nobody between here and the server can read or change what is sent."""
    if url.scheme != "http":
        return url.scheme == "https"
    try:
        return url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:  # a host name
        return False


def _refuse_insecure(request: httpx.Request) -> None:
    if not _allowed(request.url):
        raise httpx.UnsupportedProtocol(f"{_shown(request.url)} is refused, only {ALLOWED} may be asked")


def _shown(url: httpx.URL) -> str:
    """Return a URL for a message, without the password a mirror's may hold."""
    return str(url.copy_with(userinfo=b""))
