import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from facemend.errors import Cancelled, ChecksumError, DownloadError, OptionError
from facemend.weights import download
from facemend.weights.download import fetch, progress_bar
from facemend.weights.models import Model, lookup

CONTENT = random.Random(0).randbytes(300_000)
HALF = len(CONTENT) // 2

# Run by another process: it downloads the row given as JSON and prints its progress.
CHILD = """
import dataclasses, json, pathlib, sys
from facemend.weights.download import fetch
from facemend.weights.models import lookup
row = dataclasses.replace(lookup("parsenet"), **json.loads(sys.argv[1]))
print("ready", flush=True)
fetch(row, pathlib.Path(sys.argv[2]), lambda there: print(there, flush=True))
"""


class Site:
    """A web server on this machine, with switches for its faults."""

    def __init__(self) -> None:
        self.files = {"/official.pth": CONTENT}
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.authorization: str | None = None  # of the last request
        self.sent = 0  # bytes of files
        self.ranges = True
        self.lengths = True
        self.ranges_refused = False
        self.ranges_ignored = False  # says that it sends a range, and sends the whole file
        self.redirect: str | None = None
        self.cuts: list[int] = []  # bytes after which the next connections break
        self.hold_at_half = False
        self.release = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *words: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append((handler.path, wanted))
        self.authorization = handler.headers.get("Authorization")
        if self.redirect:
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            return
        if handler.path not in self.files:
            handler.send_error(404)
            return
        if wanted and self.ranges_refused:
            handler.send_error(416)
            return
        content = self.files[handler.path]
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if start and self.ranges_ignored:
            handler.send_response(206)
            start = 0
        else:
            handler.send_response(206 if start else 200)
        if self.lengths:
            handler.send_header("Content-Length", str(len(content) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        body = content[start:]
        if self.cuts:
            body = body[: self.cuts.pop(0)]
        if self.hold_at_half:
            self.hold_at_half = False
            handler.wfile.write(body[:HALF])
            self.release.wait(30)
            body = body[HALF:]
        self.sent += len(body)
        with contextlib.suppress(OSError):  # the client was killed or has disconnected
            handler.wfile.write(body)

    def row(self, *paths: str, **changes: object) -> Model:
        urls = tuple(self.url + path for path in paths or ["/official.pth"])
        size, sha256 = len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
        fields = {"file": "official.pth", "urls": urls, "size": size, "sha256": sha256} | changes
        return dataclasses.replace(lookup("parsenet"), **fields)


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    for name in ("FACEMEND_MIRROR", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    site.release.set()
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr("facemend.weights.download.PAUSES", (0, 0, 0))


def child(row: Model, folder) -> subprocess.Popen[str]:
    fields = json.dumps({name: getattr(row, name) for name in ("file", "urls", "size", "sha256")})
    return subprocess.Popen([sys.executable, "-c", CHILD, fields, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def closed_url() -> str:
    """A URL of this machine at which no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_file_is_downloaded_whole_and_only_once(site, tmp_path):
    seen: list[int] = []
    path = fetch(site.row(), tmp_path / "new" / "folder", seen.append)
    assert path == tmp_path / "new" / "folder" / "official.pth"
    assert path.read_bytes() == CONTENT
    assert not path.with_name("official.pth.part").exists()
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, len(CONTENT))
    assert fetch(site.row(), path.parent) == path
    assert site.asked == [("/official.pth", None)]


def test_a_broken_connection_is_resumed(site, tmp_path, short_pauses):
    site.cuts = [100_000, 50_000]
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert site.sent == len(CONTENT)


def test_a_stalled_connection_is_resumed(site, tmp_path, short_pauses, monkeypatch):
    monkeypatch.setattr("facemend.weights.download.TIMEOUT", 0.2)
    site.hold_at_half = True
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [None, f"bytes={HALF}-"]


def test_a_server_that_keeps_breaking_is_given_up_and_resumed_later(site, tmp_path, short_pauses):
    site.cuts = [1000] * 4
    with pytest.raises(DownloadError, match=r"official\.pth"):
        fetch(site.row(), tmp_path)
    assert len(site.asked) == 4
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert site.asked[4:] == [("/official.pth", "bytes=4000-")]


def test_a_server_that_sends_nothing_is_asked_once(site, tmp_path):
    site.cuts = [0, 0]
    with pytest.raises(DownloadError):
        fetch(site.row(), tmp_path)
    assert len(site.asked) == 1


def test_a_server_without_ranges_restarts_the_download(site, tmp_path, short_pauses):
    site.ranges = False
    site.cuts = [100_000]
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert site.asked[1] == ("/official.pth", "bytes=100000-")


def test_a_server_that_refuses_ranges_is_asked_for_the_whole_file(site, tmp_path, short_pauses):
    site.ranges_refused = True
    site.cuts = [100_000]
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [None, "bytes=100000-", None]


def test_a_server_that_sends_the_whole_file_as_a_range_is_asked_again(site, tmp_path, short_pauses):
    site.ranges_ignored = True
    site.cuts = [100_000]
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [None, "bytes=100000-", None]


def test_a_server_without_content_length_is_resumed(site, tmp_path, short_pauses):
    site.lengths = False
    site.cuts = [100_000]
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert len(site.asked) == 2


def test_a_complete_part_file_is_not_downloaded_again(site, tmp_path):
    (tmp_path / "official.pth.part").write_bytes(CONTENT)
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert site.asked == []


@pytest.mark.parametrize(
    "part", [b"wrong" * 1000, CONTENT + b"more", b"x" * len(CONTENT)], ids=["part", "long", "full"]
)
def test_a_wrong_part_file_is_replaced(site, tmp_path, part):
    (tmp_path / "official.pth.part").write_bytes(part)
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert site.asked[-1] == ("/official.pth", None)


def test_a_wrong_hash_is_refused_and_leaves_nothing(site, tmp_path):
    site.files["/official.pth"] = wrong = CONTENT[::-1]
    with pytest.raises(ChecksumError) as caught:
        fetch(site.row(), tmp_path)
    for told in (CONTENT, wrong):
        assert hashlib.sha256(told).hexdigest() in str(caught.value)
    assert f"{site.url}/official.pth" in str(caught.value)
    assert str(tmp_path / "official.pth") in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("lengths", [True, False], ids=["announced", "unannounced"])
@pytest.mark.parametrize("length", [0, 1000, 10_000_000])
def test_a_wrong_size_is_refused(site, tmp_path, lengths, length):
    site.lengths = lengths
    site.files["/official.pth"] = bytes(length)
    with pytest.raises((ChecksumError, DownloadError), match="300000"):
        fetch(site.row(), tmp_path)
    assert not (tmp_path / "official.pth").exists()


def test_a_server_with_another_file_does_not_damage_a_good_part_file(site, tmp_path):
    (tmp_path / "official.pth.part").write_bytes(CONTENT[:HALF])
    site.files["/page.pth"] = b"<html>log in</html>"
    site.ranges = False
    with pytest.raises(ChecksumError):
        fetch(site.row("/page.pth"), tmp_path)
    site.ranges = True
    fetch(site.row("/page.pth", "/official.pth"), tmp_path)
    assert site.asked[-1] == ("/official.pth", f"bytes={HALF}-")


def test_the_next_url_is_tried(site, tmp_path, closed_url):
    site.files["/wrong.pth"] = CONTENT[::-1]
    row = site.row("/missing.pth", "/wrong.pth", "/official.pth")
    row = dataclasses.replace(row, urls=(f"{closed_url}/official.pth", *row.urls))
    assert fetch(row, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in site.asked] == ["/missing.pth", "/wrong.pth", "/official.pth"]


def test_not_found_names_the_url_and_the_target(site, tmp_path):
    with pytest.raises(DownloadError) as caught:
        fetch(site.row("/missing.pth"), tmp_path)
    assert caught.value.url == f"{site.url}/missing.pth"
    for part in (caught.value.url, "404", str(tmp_path / "official.pth")):
        assert part in str(caught.value)


def test_no_network_is_an_error_of_one_line(tmp_path, site, closed_url):
    with pytest.raises(DownloadError) as caught:
        fetch(site.row(urls=(f"{closed_url}/official.pth",)), tmp_path)
    assert str(tmp_path / "official.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mirror_replaces_the_host(site, tmp_path, monkeypatch):
    site.files["/cache/github/some/release/official.pth"] = CONTENT
    row = site.row(urls=("https://github.invalid/some/release/official.pth",))
    monkeypatch.setenv("FACEMEND_MIRROR", f"{site.url}/cache/github/")
    assert fetch(row, tmp_path).read_bytes() == CONTENT


def test_the_password_of_a_mirror_is_used_but_never_shown(site, tmp_path, monkeypatch, closed_url, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("FACEMEND_MIRROR", site.url.replace("//", "//me:secret@"))
    assert fetch(site.row(), tmp_path).exists()
    assert site.authorization == "Basic " + base64.b64encode(b"me:secret").decode()
    monkeypatch.setenv("FACEMEND_MIRROR", closed_url.replace("//", "//me:secret@"))
    with pytest.raises(DownloadError) as caught:
        fetch(site.row(), tmp_path / "other")
    assert "secret" not in str(caught.value)
    assert "official.pth" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "mirror",
    ["https://me:secret@host:port", "me:secret@example.com", "http://me:se/cret@example.com", "https://host/?key=secret"],
)  # fmt: skip
def test_the_password_of_an_invalid_mirror_is_never_shown(site, tmp_path, monkeypatch, mirror):
    monkeypatch.setenv("FACEMEND_MIRROR", mirror)
    with pytest.raises(OptionError, match=r"FACEMEND_MIRROR is '.*(host|example)") as caught:
        fetch(site.row(), tmp_path)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "mirror",
    ["http://example.com", "http://127.0.0.1.example.com", "ftp://example.com", "example.com", "https://", "https://host:port",
     "https://example.com/?file=", "https://example.com/#part", "file:///tmp"],
)  # fmt: skip
def test_invalid_mirrors_are_refused(site, tmp_path, monkeypatch, mirror):
    monkeypatch.setenv("FACEMEND_MIRROR", mirror)
    with pytest.raises(OptionError, match="FACEMEND_MIRROR"):
        fetch(site.row(), tmp_path)


def test_plain_http_is_refused(site, tmp_path):
    with pytest.raises(DownloadError, match="https"):
        fetch(site.row(urls=("http://example.com/official.pth",)), tmp_path)


def test_redirects_are_followed_but_not_to_plain_http(site, tmp_path):
    site.redirect = "http://example.com/official.pth"
    with pytest.raises(DownloadError, match=r"http://example\.com.* is refused"):
        fetch(site.row(), tmp_path)
    other = Site()
    other.redirect = f"{site.url}/official.pth"
    site.redirect = None
    with other.server:
        thread = threading.Thread(target=other.server.handle_request)
        thread.start()
        assert fetch(other.row(), tmp_path).read_bytes() == CONTENT
        thread.join()


def test_an_existing_other_file_is_not_overwritten(site, tmp_path):
    (tmp_path / "official.pth").write_bytes(b"my own")
    with pytest.raises(ChecksumError, match="delete it"):
        fetch(site.row(), tmp_path)
    assert (tmp_path / "official.pth").read_bytes() == b"my own"
    assert site.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported(site, tmp_path):
    (tmp_path / "official.pth.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="No space left") as caught:
        fetch(site.row(), tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "official.pth").exists()


def test_a_folder_that_cannot_be_made_is_reported(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(site.row(), tmp_path / "file" / "folder")


def test_a_folder_that_takes_no_files_is_reported(site, locked):
    for folder in (locked, locked / "weights"):
        with pytest.raises(DownloadError, match="cannot be written: Permission denied") as caught:
            fetch(site.row(), folder)
        assert "\n" not in str(caught.value)
    assert [path.name for path in locked.iterdir()] == ["secret.png"]
    assert site.asked == []


def test_a_missing_folder_is_made(site, tmp_path):
    assert fetch(site.row(), tmp_path / "not" / "there" / "yet").read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second device to write to")
def test_a_folder_on_another_device_is_used(site, tmp_path):
    """A file cannot be renamed across devices, so NAME.part must be in the folder of NAME."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        assert Path(other).stat().st_dev != tmp_path.stat().st_dev
        (tmp_path / "link").symlink_to(other)
        assert fetch(site.row(), tmp_path / "link").read_bytes() == CONTENT
        assert not list(Path(other).glob("*.part"))


def test_the_bytes_are_on_the_disk_before_the_file_has_its_name(site, tmp_path, monkeypatch):
    """After a power failure there is a whole file or none: what is renamed was synchronised before."""
    events = []
    fsync, replace = os.fsync, Path.replace

    def synchronised(descriptor):
        events.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(path, target):
        events.append(("rename", path.stat().st_ino))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synchronised)
    monkeypatch.setattr(Path, "replace", renamed)
    file = fetch(site.row(), tmp_path).stat().st_ino
    assert events == [("fsync", file), ("rename", file)]


def test_threads_download_a_file_once(site, tmp_path):
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: fetch(site.row(), tmp_path), range(4)))
    assert paths == [tmp_path / "official.pth"] * 4
    assert len(site.asked) == 1


def test_two_processes_download_a_file_once(site, tmp_path):
    site.hold_at_half = True
    with child(site.row(), tmp_path) as first, child(site.row(), tmp_path) as second:
        assert first.stdout.readline() == second.stdout.readline() == "ready\n"
        site.release.set()
        assert first.wait(30) == second.wait(30) == 0
    assert (tmp_path / "official.pth").read_bytes() == CONTENT
    assert len(site.asked) == 1


def test_a_killed_download_is_resumed(site, tmp_path):
    site.hold_at_half = True
    with child(site.row(), tmp_path) as victim:
        assert victim.stdout.readline() == "ready\n"
        while int(victim.stdout.readline()) < HALF:
            pass
        victim.kill()
    there = (tmp_path / "official.pth.part").stat().st_size
    assert 0.9 * HALF < there <= HALF
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT
    assert site.asked == [("/official.pth", None), ("/official.pth", f"bytes={there}-")]


def test_a_process_that_waits_for_a_killed_download_resumes_it(site, tmp_path):
    site.hold_at_half = True
    with child(site.row(), tmp_path) as victim:
        assert victim.stdout.readline() == "ready\n"
        while int(victim.stdout.readline()) < HALF:
            pass
        with child(site.row(), tmp_path) as waiting:
            assert waiting.stdout.readline() == "ready\n"
            victim.kill()
            assert waiting.wait(30) == 0
    assert (tmp_path / "official.pth").read_bytes() == CONTENT
    (_, first), (_, second) = site.asked
    assert first is None
    assert second.startswith("bytes="), "only the rest is requested"


def test_a_process_that_waits_for_another_shows_that_ones_progress_and_can_be_stopped(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.01)
    (tmp_path / "official.pth.part").write_bytes(CONTENT[:HALF])
    seen = []

    def stop(there):
        seen.append(there)
        raise Cancelled

    with FileLock(tmp_path / "official.pth.lock"), pytest.raises(Cancelled):
        fetch(site.row(), tmp_path, stop)
    assert seen == [HALF]
    assert site.asked == []
    assert fetch(site.row(), tmp_path).read_bytes() == CONTENT


def test_the_progress_bar_is_shown_on_terminals_only(site, tmp_path, capsys):
    with progress_bar(site.row()) as move:
        fetch(site.row(), tmp_path, move)
    assert capsys.readouterr() == ("", "")
