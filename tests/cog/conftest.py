import contextlib
from pathlib import Path

import pytest

from tests.cog.serving import STAND_IN, Service, data_url, png, serving
from tests.pictures import smooth
from tests.programs import npm_install


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server with test doubles of the networks; tests leave it ready."""
    with serving(tmp_path_factory.mktemp("server"), STAND_IN, FACEMEND_MODELS="lanczos") as running:
        yield running


@pytest.fixture(scope="session")
def lite(request, tmp_path_factory):
    """The server with the bundled networks only, on one thread; or a container that runs already (--server)."""
    if url := request.config.getoption("--server"):
        with contextlib.closing(Service(url)) as running:
            yield running
        return
    folder = tmp_path_factory.mktemp("lite")
    options = {"FACEMEND_MODELS": "lite", "FACEMEND_WEIGHTS": str(folder / "empty"), "OMP_NUM_THREADS": "1"}
    with serving(folder, **options) as running:
        yield running


@pytest.fixture(autouse=True)
def still_ready(request):
    """The shared servers must be ready after each test."""
    yield
    for name in {"server", "lite"}.intersection(request.fixturenames):
        request.getfixturevalue(name).wait("READY")


@pytest.fixture(scope="session")
def face():
    """A square picture as a data URL, for aligned=True."""
    return data_url(png(smooth(96, 96, seed=1)))


@pytest.fixture(scope="session")
def wide():
    """A picture of several tiles as a data URL."""
    return data_url(png(smooth(600, 900, seed=2)))


@pytest.fixture(scope="session")
def javascript(tmp_path_factory):
    """A folder with the JavaScript client installed."""
    return npm_install("the JavaScript client", Path(__file__).parent / "js", tmp_path_factory.mktemp("js"))
