"""The health check and the examples for Docker, Kubernetes and systemd notice every failure, and end the server."""

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

import healthy
import watch
from tests.cog.serving import PATIENCE, ROOT, STAND_IN, Handler, data_url, listening, opened, png, serving
from tests.pictures import smooth

EXAMPLES = ROOT / "examples" / "serving"
COMPOSE = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))
DEPLOYMENT = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
UNIT, WATCH = ((EXAMPLES / f"{name}@.service").read_text(encoding="utf-8") for name in ("facemend", "facemend-watch"))
READINESS = CONTAINER["readinessProbe"]["exec"]["command"]
# As `python watch.py`, but without waiting between the checks, and with less patience for a server that is hanging.
WATCHING = [sys.executable, "-c", "import watch; watch.PAUSE = 0; watch.main()"]
HASTILY = [*WATCHING[:2], f"import healthy; healthy.TIMEOUT = 1; {WATCHING[2]}"]
HUNG_FOREVER = "x" * 300  # an id that Cog makes a file name of


def run(command, port, **environment):
    """The exit code and stderr of a command of the examples."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "PORT": str(port), **environment},
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stderr


class Health(Handler):
    """Answers health checks with `status`."""

    status = ""

    def do_GET(self):  # noqa: N802
        self.answer(200, {"status": self.status, "setup": {"status": "succeeded", "logs": "READY"}})


@pytest.mark.parametrize(
    ("status", "alive", "ready"),
    [
        ("STARTING", True, False),
        ("READY", True, True),
        ("BUSY", True, True),
        ("UNHEALTHY", False, False),
        ("SETUP_FAILED", False, False),
        ("DEFUNCT", False, False),
    ],
)
def test_the_checks_pass_and_fail_by_status(tmp_path, status, alive, ready):
    with listening(type("Fixed", (Health,), {"status": status})) as url:
        for allowed, passes in ((["STARTING", "READY", "BUSY"], alive), (READINESS[2:], ready)):
            command = ["python", "healthy.py", *allowed]
            code, said = run(command, url.rsplit(":")[-1], FACEMEND_PULSE=str(tmp_path / "pulse"))
            assert code == (0 if passes else 1)
            assert said == ("" if passes else f"the server is {status}, not {' or '.join(allowed)}\n")


def test_the_check_fails_where_no_server_answers():
    code, said = run(READINESS, 9)
    assert code == 1
    assert re.fullmatch("the server does not answer: .*refused\n", said)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_another_server_is_one_line(body):
    class Other(Handler):
        def do_GET(self):  # noqa: N802
            self.answer(200, body)

    with listening(Other) as url:
        port = url.rsplit(":")[-1]
        assert run(READINESS, port) == (1, f"what answers on port {port} is not Cog's server\n")


@pytest.mark.parametrize("name", ["PORT", "FACEMEND_BUSY_LIMIT"])
def test_a_setting_that_is_no_number_is_one_line(name):
    assert run(READINESS, 9, **{name: "abc"}) == (1, f"{name} is 'abc', but must be a whole number\n")


def test_a_pulse_file_that_cannot_be_written_is_one_line():
    with listening(type("Fixed", (Health,), {"status": "READY"})) as url:
        code, said = run(READINESS, url.rsplit(":")[-1], FACEMEND_PULSE="/proc/none/pulse")
    assert code == 1
    assert re.fullmatch("cannot write /proc/none/pulse: .*; set FACEMEND_PULSE to another file\n", said)


def test_the_server_is_ended_even_if_its_worker_ends_first(monkeypatch):
    ended = []

    class Ended:
        def __init__(self, pid):
            self.pid = pid

        def children(self, recursive):
            return [Ended(self.pid + 1)]

        def kill(self):
            raise psutil.NoSuchProcess(self.pid)

        def terminate(self):
            ended.append(self.pid)

        def wait(self, seconds):
            pass

    with listening(Handler) as url:
        monkeypatch.setattr(healthy, "PORT", int(url.rsplit(":")[-1]))
        monkeypatch.setattr(watch.psutil, "Process", Ended)
        watch.stop()
    assert ended == [os.getpid()]


def test_busy_fails_only_after_the_limit_without_progress(tmp_path):
    pulse = tmp_path / "pulse"
    options = {"FACEMEND_PULSE": str(pulse), "FACEMEND_BUSY_LIMIT": "900"}
    with listening(type("Fixed", (Health,), {"status": "BUSY"})) as url:
        port = url.rsplit(":")[-1]
        assert run(READINESS, port, **options) == (0, "")  # the first check ever
        for age, code in ((800, 0), (1000, 1), (1000, 1)):
            os.utime(pulse, (time.time() - age,) * 2)
            assert run(READINESS, port, **options)[0] == code
        said = run(READINESS, port, **options)[1]
        assert re.search("BUSY without progress for 100[0-9] seconds, over the limit of 900", said)
    with listening(type("Fixed", (Health,), {"status": "READY"})) as url:
        assert run(READINESS, url.rsplit(":")[-1], **options) == (0, "")
    assert time.time() - pulse.stat().st_mtime < PATIENCE  # a call that begins now has the whole limit


def test_a_call_is_progress(server, wide):
    """A long call is not taken for one that hangs."""
    server.pulse.touch()
    os.utime(server.pulse, (0, 0))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, image=wide, face_enhance=False, upscaler="realesrnet-x4plus")
        for _ in range(3):  # the beginning, and parts of the work
            seen = server.pulse.stat().st_mtime
            while server.pulse.stat().st_mtime == seen:
                assert not call.done()
                time.sleep(0.01)
        call.result()


def failing_worker(server):
    """Kill the worker, as the kernel does when memory runs out."""
    worker(server).kill()
    server.wait("UNHEALTHY")


def hanging_worker(server):
    worker(server).suspend()


def bad_id(server):
    answer = server.client.post("/predictions", json={"id": HUNG_FOREVER, "input": {"image": "x"}}).json()
    assert "File name too long" in answer["error"]
    server.wait("BUSY")
    os.utime(server.pulse, (0, 0))


def hanging_server(server):
    psutil.Process(server.process.pid).suspend()


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def worker(server):
    (process,) = psutil.Process(server.process.pid).children()
    return process


@pytest.mark.slow
def test_a_server_that_fails_is_ended_and_works_after_a_restart(tmp_path, wide):
    """Docker, Kubernetes and systemd start it again, whatever its exit code. The failures are tried at once."""

    def attempt(fail):
        first, second = (tmp_path / f"{fail.__name__}-{number}" for number in (1, 2))
        first.mkdir()
        second.mkdir()
        with serving(first, STAND_IN, FACEMEND_MODELS="lanczos") as server:
            options = {"FACEMEND_PULSE": str(server.pulse), "FACEMEND_BUSY_LIMIT": "900"}
            assert run(WATCHING, server.port, **options) == (0, "")
            processes = [psutil.Process(server.process.pid), worker(server)]
            fail(server)
            code, said = run(HASTILY if fail in (hanging_worker, hanging_server) else WATCHING, server.port, **options)
            assert code == 1
            assert len(said.splitlines()) == 3, said
            server.process.wait(PATIENCE)
            assert not any(alive(process) for process in processes)
        with serving(second, STAND_IN, FACEMEND_MODELS="lanczos") as server:
            answer = server.predict(image=data_url(png(smooth(64, 80))), face_enhance=False)
            assert opened(answer["output"]).size == (160, 128)

    failures = failing_worker, hanging_worker, bad_id, hanging_server
    with ThreadPoolExecutor(len(failures)) as pool:
        list(pool.map(attempt, failures))


def test_watching_says_if_there_is_no_server_to_end():
    code, said = run(WATCHING, 9)
    assert code == 1
    assert said.splitlines()[-1] == "no server of this user listens on port 9"


def test_the_examples_watch_and_restart():
    for name in ("facemend-1", "facemend-2"):
        service = COMPOSE["services"][name]
        assert service["healthcheck"]["test"] == ["CMD", "python", "watch.py"]
        assert service["restart"] == "always"
    assert CONTAINER["livenessProbe"]["exec"]["command"] == ["python", "watch.py"]
    assert "python watch.py" in WATCH
    assert "Restart=always" in UNIT
    for command in (["watch.py"], READINESS[1:]):
        assert (ROOT / command[0]).is_file()


def test_the_examples_give_the_server_few_rights_and_limits():
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"]
        assert service["mem_limit"]
        assert service["image"] != "facemend" or service["user"] == "1000:1000"
    assert POD["securityContext"]["runAsNonRoot"]
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert CONTAINER["resources"]["limits"].keys() == {"memory", "ephemeral-storage", "nvidia.com/gpu"}
    for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "MemoryMax=8G"):
        assert line in UNIT.splitlines()


def test_systemd_accepts_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not there")
    for name, text in (("facemend", UNIT), ("facemend-watch", WATCH)):
        text = text.replace("/opt/facemend/.venv/bin/python", sys.executable)  # it checks that the program exists
        (tmp_path / f"{name}@5001.service").write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert str(tmp_path) not in checked.stderr
    assert "facemend" not in checked.stderr
