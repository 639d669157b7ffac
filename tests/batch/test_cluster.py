"""Batches on Ray, which runs on this machine for the tests."""

import re
import shutil
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from facemend.batch.engines import make_engine
from facemend.batch.run import open_batch
from facemend.cli import _parser
from facemend.errors import InputError
from facemend.extras import install_command
from tests.batch.places import DEADLY, LITE, Repeat, files, keys, numbered, plan, restored

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of Ray's own files, when it ends


def listening():
    """The addresses on which this process and those that it has started listen."""
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip.removeprefix("::ffff:")


def test_a_batch_on_ray(tmp_path):
    """It writes what `restore` writes, one that kills its worker is tried twice, and nothing listens outside."""
    source, destination, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    numbered(source, range(4))
    shutil.copy(EXAMPLES / "old.jpg", source)
    models = {**LITE, "upscaler": Repeat(log)}
    expected = restored(source, tmp_path / "expected", models)
    numbered(source, [DEADLY])
    tried = log.read_text().split().count(str(DEADLY))
    with open_batch(plan(source, destination, models), keys(source), engine="ray", workers=2) as batch:
        addresses = set(listening())
        outcomes = list(batch.outcomes())
    assert addresses == {"127.0.0.1"}
    [failed] = [outcome for outcome in outcomes if outcome.error]
    assert failed.key == f"25/{DEADLY}.png"
    assert str(failed.error).startswith("its worker died 2 times")
    assert log.read_text().split().count(str(DEADLY)) == tried + 2
    assert files(destination) == expected


def test_the_example_for_kubernetes_is_a_command_and_has_a_token():
    job = yaml.safe_load((EXAMPLES / "cluster" / "rayjob.yaml").read_text())["spec"]
    program, options = job["entrypoint"].split()[:3], job["entrypoint"].split()[3:]
    assert program == ["python", "-m", "facemend"]
    assert _parser().parse_args(options).engine == "ray"
    cluster = job["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f'"ray[default]=={cluster["rayVersion"]}"' in (EXAMPLES / "cluster" / "Dockerfile").read_text()


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "facemend.batch.cluster", raising=False)
    with pytest.raises(InputError, match=re.escape(install_command("ray"))):
        make_engine("ray", plan("in", "out"), None)
