"""`facemend web`: its mistakes, and how it starts and ends."""

import http.client
import importlib.util
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from facemend.extras import install_command
from facemend.web.app import LONGEST_PAUSE
from facemend.web.guard import HEADER
from tests.pictures import smooth
from tests.programs import allow_ctrl_c
from tests.test_readme import ROOT
from tests.web.photos import jpeg
from tests.web.serving import Client


@contextmanager
def started(*options):
    """The program as a child process, and the address it prints."""
    command = [sys.executable, "-m", "facemend", "web", "--no-browser", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, cwd=ROOT, preexec_fn=allow_ctrl_c, **pipes)
    try:
        yield child, re.search(r"http://\S+", child.stdout.readline())[0]
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_an_address_of_this_machine_and_ends_at_an_interrupt(number):
    with started() as (child, address):
        assert address.startswith("http://127.0.0.1:")
        assert "facemend" in httpx.get(address, trust_env=False).text
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
        assert (out, err, child.returncode) == ("", "facemend: stopped\n", -number)


def test_ctrl_c_ends_a_job_too():
    with started() as (child, address):
        client = Client(address)
        photo = client.upload(jpeg(smooth(300, 1200)))
        with client.asking(f"/photos/{photo['key']}/restore", json={"scale": 4}) as told:
            while next(told)[1]["stage"] != "upscale":
                pass
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
        client.http.close()
        assert (out, err, child.returncode) == ("", "facemend: stopped\n", -signal.SIGINT)


def test_ctrl_c_ends_an_upload_that_has_stopped():
    with started() as (child, address):
        upload = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"))
        upload.request("POST", "/photos", b"x", {HEADER: "1", "Content-Length": "1000"})
        httpx.get(address, trust_env=False)  # it has read the request
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=LONGEST_PAUSE / 2)
        upload.close()
        assert (out, err, child.returncode) == ("", "facemend: stopped\n", -signal.SIGINT)


def test_an_open_address_has_a_token():
    with started("--host", "0.0.0.0") as (_, address):
        port, token = re.fullmatch(r"http://0\.0\.0\.0:(\d+)/\?token=(\S+)", address).groups()
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 403
        page = httpx.get(f"http://127.0.0.1:{port}/?token={token}", trust_env=False, follow_redirects=True)
        assert page.status_code == 200


def test_without_the_extra_it_says_what_to_install(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    code, out, err = run("web")
    assert (code, out, err) == (2, "", f"facemend: the page needs uvicorn; run {install_command('web')}\n")


def test_a_port_that_is_taken_is_one_line(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("web", "--no-browser", "--port", port)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"--port is {port}, but must be one that this program may listen on" in err
    assert err.endswith("(127.0.0.1: address already in use); leave it out for any\n")


def test_the_reason_is_that_of_the_system_and_not_of_its_number(run, monkeypatch):
    def refuse(*_, **__):
        raise OSError(10048, "Only one usage of each socket address (protocol/port) is normally permitted")

    monkeypatch.setattr(socket, "create_server", refuse)  # Windows has numbers that `os.strerror` does not know
    assert "(127.0.0.1: only one usage of each socket address (protocol/port) is" in run("web", "--no-browser")[2]


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("--port", "70000"), "facemend: --port is 70000, but must be a number from 0 to 65535"),
        (("--host", "no.such.host.invalid"), "facemend: --host is 'no.such.host.invalid', but must be a name or an"),
        (("--host", "192.0.2.1"), "facemend: --host is '192.0.2.1', but must be a name or an address of this machine"),
        (("--max-upload", "0"), "facemend: --max-upload is 0.0, but must be a number above 0"),
        (("--max-upload", "nan"), "facemend: --max-upload is nan, but must be a number above 0"),
        (("--max-upload", "inf"), "facemend: --max-upload is inf, but must be a number above 0"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, start):
    code, out, err = run("web", "--no-browser", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(start)
