"""Batches from and to a bucket, on a local server that speaks the protocol of Amazon S3."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import MemoryStore

from facemend.batch.manifest import CLAIMS, FOLDER, Manifest, State
from facemend.batch.places import is_url, open_place
from facemend.batch.plan import Outcome
from facemend.errors import FacemendError, InputError, OpenError, OptionError
from facemend.extras import install_command
from tests.batch.places import restored

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def server():
    """The address of the server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """The URL of an empty bucket."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{server}/moto-api/reset").raise_for_status()
    httpx.put(f"{server}/scans").raise_for_status()
    return "s3://scans"


def put(url, files):
    place = open_place(url)
    for key, data in files.items():
        obstore.put(place._store, key, data)
    return place


def batch(*arguments, cache):
    command = [sys.executable, "-m", "facemend", "batch", *map(str, arguments), "--workers", "1"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}  # without installed weights
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_the_objects_are_the_files_of_restore(bucket, tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    shutil.copy(EXAMPLES / "old.jpg", source / "sub" / "old photo #1.jpg")
    expected = restored(source, tmp_path / "expected", compare=True)
    put(bucket, {"in/sub/old photo #1.jpg": (EXAMPLES / "old.jpg").read_bytes(), "in/bad.png": b"no picture"})
    arguments = [f"{bucket}/in", f"{bucket}/out", "--model", "lite", "--upscaler", "lite", "--compare"]
    ran = batch(*arguments, cache=tmp_path)
    assert ran.returncode == 2, ran.stderr
    assert f"cannot read {bucket}/in/bad.png: its format is unknown" in ran.stderr
    assert "1 restored, 1 failed in" in ran.stderr
    results = open_place(f"{bucket}/out")
    written = {key: results.read(key) for key in results.list() if not key.startswith(".facemend/")}
    assert written == expected
    assert not list(results.list(CLAIMS))
    again = batch(*arguments, cache=tmp_path)
    assert again.returncode == 2
    assert "pictures that failed in earlier runs: 1 (bad.png); try them again with --retry-failed" in again.stderr
    assert "1 done before in" in again.stderr


def test_a_copy_of_an_object_has_its_content_suffix_and_date(bucket, tmp_path):
    place = put(bucket, {"sub/a.nef": b"content"})
    copy = place.fetch("sub/a.nef", tmp_path)
    assert (copy.suffix, copy.read_bytes()) == (".nef", b"content")
    assert copy.stat().st_mtime == obstore.head(place._store, "sub/a.nef")["last_modified"].timestamp()


def test_a_manifest_in_a_bucket_goes_on(bucket, monkeypatch):
    place = put(bucket, {f"{number}.jpg": b"" for number in range(3)})
    monkeypatch.setattr(type(place), "pause", 1000)
    lines = Manifest(place, "r")
    for key in ("a", "b"):
        assert place.mark(CLAIMS + key)
    for number in range(3):
        lines.add(Outcome(f"{number}.heic", (f"{number}.jpg",)))
    assert len(list(place.list(FOLDER))) == 1
    assert Manifest(open_place(bucket), "r").state("1.heic") is None  # it is still in memory
    lines.write()
    read = Manifest(open_place(bucket), "r")
    assert [read.state(f"{number}.heic") for number in range(3)] == [State.DONE] * 3
    [part] = place.list(FOLDER)
    assert [json.loads(line)["input"] for line in place.read(part).splitlines()] == ["0.heic", "1.heic", "2.heic"]


def test_listing_streams_and_looks_at_no_object(bucket, monkeypatch):
    place = open_place(bucket)
    place._store = MemoryStore()
    for number in range(3000):
        obstore.put(place._store, f"{number:05}.jpg", b"")
    chunks = []
    listed = obstore.list
    monkeypatch.setattr(obstore, "head", lambda *_: pytest.fail("one request for a key"))
    monkeypatch.setattr(obstore, "list", lambda *args: (chunks.append(len(one)) or one for one in listed(*args)))
    keys = place.list()
    assert next(keys) == "00000.jpg"
    assert sum(chunks) < 3000
    assert sum(1 for _ in keys) == 2999


def test_an_object_is_replaced_only_when_asked_for(bucket, tmp_path):
    place = put(bucket, {"a.jpg": b"theirs"})
    (tmp_path / "a.jpg").write_bytes(b"ours")
    with pytest.raises(OptionError, match="must be a new file"):
        place.publish(tmp_path / "a.jpg", "a.jpg", replace=False)
    assert place.read("a.jpg") == b"theirs"
    place.publish(tmp_path / "a.jpg", "a.jpg", replace=True)
    assert place.read("a.jpg") == b"ours"
    assert [place.mark("claim"), place.mark("claim")] == [True, False]


def test_errors_of_a_bucket_are_one_line(bucket, tmp_path):
    place = open_place(bucket)
    with pytest.raises(OpenError, match="scans/gone.jpg: it is not there any more"):
        place.fetch("gone.jpg", tmp_path)
    for call in (lambda one: list(one.list()), lambda one: one.read("a"), lambda one: one.mark("a")):
        with pytest.raises(FacemendError, match="s3://other") as raised:
            call(open_place("s3://other"))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://host/a", "ftp://host/a", "s3://"])
def test_a_url_of_another_kind_is_an_error(url):
    assert is_url(url)
    with pytest.raises(InputError, match="://"):
        open_place(url)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "facemend.batch.bucket", raising=False)
    with pytest.raises(InputError, match=re.escape(install_command("stores"))):
        open_place("s3://scans")
