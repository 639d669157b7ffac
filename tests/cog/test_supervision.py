"""The supervisors of docs/supervision.md restart a server whose worker died."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from tests.cog.serving import PATIENCE, ROOT, STAND_IN, Handler, data_url, listening, opened, png, serving
from tests.pictures import smooth

PAGE = (ROOT / "docs" / "supervision.md").read_text(encoding="utf-8")
COMPOSE, DEPLOYMENT = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL))
CONTAINER = DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]
LIVENESS, READINESS = (CONTAINER[f"{kind}Probe"]["exec"]["command"] for kind in ("liveness", "readiness"))
_, DOCKER = COMPOSE["services"]["facemend"]["healthcheck"]["test"]
SYSTEMD = re.search(r"ExecStart=/bin/sh -c '(.+)'", PAGE)[1]


@contextmanager
def started(command, port, tools=""):
    """Start a command of the page with shorter sleeps; `tools` is a folder that precedes the others in PATH."""
    if isinstance(command, str):
        command = ["/bin/sh", "-c", re.sub(r"sleep \d+", "sleep 0.1", command)]
    folders = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(folders), "PORT": str(port)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run(command, port):
    """The exit code and stderr of a command of the page."""
    with started(command, port) as process:
        _, said = process.communicate(timeout=PATIENCE)
        return process.returncode, said


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
def test_probes_pass_and_fail_by_status(status, alive, ready):
    class Health(Handler):
        def do_GET(self):  # noqa: N802
            self.answer(200, {"status": status, "setup": {"status": "succeeded", "logs": "READY"}})

    with listening(Health) as url:
        for command, passes in ((LIVENESS, alive), (READINESS, ready)):
            code, said = run(command, url.rsplit(":")[-1])
            assert code == (0 if passes else 1)
            assert said == ("" if passes else f"the server is {status}, not {' or '.join(command[2:])}\n")


def test_a_probe_fails_where_no_server_answers():
    code, said = run(LIVENESS, 9)
    assert code == 1
    assert re.fullmatch("the server does not answer: .*refused\n", said)


@pytest.mark.slow
def test_supervisors_restart_a_server_whose_worker_died(tmp_path, wide):
    """Each example is tried. The worker is killed with SIGKILL, as the kernel does when memory runs out."""
    folders = [tmp_path / name for name in ("first", "second", "tools")]
    for folder in folders:
        folder.mkdir()
    systemctl = folders[2] / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" > {folders[2]}/told\nkill $PPID\n')
    systemctl.chmod(0o755)
    options = {"FACEMEND_MODELS": "lanczos"}
    with (
        serving(folders[0], STAND_IN, **options) as server,
        started(SYSTEMD, server.port, folders[2]) as watch,
        ThreadPoolExecutor(1) as pool,
    ):
        docker = DOCKER.replace("kill 1", f"kill {server.process.pid}")  # in a container the server is process 1
        assert docker != DOCKER
        call = pool.submit(server.predict, image=wide, face_enhance=False, upscaler="realesrnet-x4plus")
        server.wait("BUSY")
        for command in (LIVENESS, READINESS, docker):
            assert run(command, server.port) == (0, "")
        (worker,) = psutil.Process(server.process.pid).children()
        worker.kill()
        assert call.result()["error"] == "Worker crashed"
        assert server.wait("UNHEALTHY")["user_healthcheck_error"]
        for command in (LIVENESS, READINESS):
            assert run(command, server.port)[0] == 1
        _, said = watch.communicate(timeout=PATIENCE)
        assert said == "the server is UNHEALTHY, not STARTING or READY or BUSY\n" * 3
        assert (folders[2] / "told").read_text() == "try-restart facemend\n"
        assert server.client.post("/predictions", json={"input": {"image": wide}}).status_code == 409
        assert server.process.poll() is None
        run(docker, server.port)
        assert server.process.wait(10) == 0
    assert COMPOSE["services"]["facemend"]["restart"] == "always"  # Docker restarts it whatever its exit code
    with serving(folders[1], STAND_IN, **options) as server:
        answer = server.predict(image=data_url(png(smooth(64, 80))), face_enhance=False)
        assert opened(answer["output"]).size == (160, 128)
