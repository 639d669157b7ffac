import os
from pathlib import Path

import pytest

SHARED = os.environ.get("FACEMEND_SHARED", str(Path(__file__).parents[2] / "shared"))


def pytest_addoption(parser):
    parser.addoption("--shared", default=SHARED, help="folder with small real weights/ and test pictures in data/")


@pytest.fixture(scope="session")
def shared(request):
    """The folder with real weights and pictures; tests that need it are skipped where it is missing."""
    folder = Path(request.config.getoption("--shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: give --shared FOLDER or set FACEMEND_SHARED")
    return folder


@pytest.fixture(autouse=True)
def no_installed_weights(monkeypatch, tmp_path):
    """Tests see only the weights they name, not what is installed on this machine."""
    monkeypatch.setenv("FACEMEND_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
