import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from facemend.machine import process
from facemend.weights import installed

# The processes that pytest-xdist starts share the processors. This must be set before a test imports PyTorch.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if PROCESSES > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // PROCESSES)))
process.limit_spinning()  # before a test imports PyTorch, so that tests do not slow down what runs beside them
settings.register_profile("untimed", deadline=None)  # as the machine may be busy
settings.load_profile("untimed")
WEIGHTS = Path(__file__).parents[1] / "weights"
NOBODY = 65534  # an unprivileged user
SHARED = os.environ.get("FACEMEND_SHARED", str(Path(__file__).parents[2] / "shared"))


def pytest_addoption(parser):
    parser.addoption("--shared", default=SHARED, help="folder with small real weights/ and test pictures in data/")
    parser.addoption("--server", help="URL of a running container with the lite models, for the tests of its clients")


@pytest.fixture(scope="session")
def shared(request):
    """The folder with real weights and pictures; tests that need it are skipped where it is missing."""
    folder = Path(request.config.getoption("--shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: give --shared FOLDER or set FACEMEND_SHARED")
    return folder


@pytest.fixture(autouse=True)
def no_installed_weights(monkeypatch, tmp_path, tmp_path_factory):
    """Tests see the bundled weights and those they name, and no others that are installed on this machine."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(installed, "cache", lambda: home / "cache")
    monkeypatch.setattr(installed, "PROJECT", home)
    monkeypatch.setattr(installed, "PACKAGE", home)
    (home / "bundled").mkdir()
    for path in WEIGHTS.glob("lite-*.safetensors"):
        (home / "bundled" / path.name).symlink_to(path)


@pytest.fixture
def locked():
    """A read-only folder with an unreadable file.

    Root could write and read both, so a test run by root continues as an unprivileged user.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret.png").touch(0)
        folder.chmod(0o555)
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(NOBODY)
        yield folder
        if as_root:
            os.seteuid(0)
