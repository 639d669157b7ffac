import pytest

from tests.cog.serving import STAND_IN, data_url, png, serving
from tests.pictures import smooth


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server with test doubles of the networks; tests leave it ready."""
    with serving(tmp_path_factory.mktemp("server"), STAND_IN, FACEMEND_MODELS="lanczos") as running:
        yield running


@pytest.fixture(autouse=True)
def still_ready(request):
    """The shared server must be ready after each test."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").wait("READY", patience=10)


@pytest.fixture(scope="session")
def face():
    """A square picture as a data URL, for aligned=True."""
    return data_url(png(smooth(96, 96, seed=1)))


@pytest.fixture(scope="session")
def wide():
    """A picture of several tiles as a data URL."""
    return data_url(png(smooth(600, 900, seed=2)))
