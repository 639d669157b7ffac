import shutil
from pathlib import Path

import pytest

from facemend.web.networks import Networks
from tests.programs import npm_install
from tests.web.serving import StandIn, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def server():
    """A client of a server with a stand-in for the networks; its attribute `networks` is that."""
    networks = StandIn()
    with serving(networks) as (client, _):
        client.networks = networks
        yield client


@pytest.fixture(scope="session")
def lite():
    """A client of a server with the networks of the package."""
    with serving(Networks(), max_upload=100_000_000) as (client, _):
        yield client


@pytest.fixture(scope="module")  # while it runs, no other test can start an event loop
def chromium():
    """A browser without a window."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed, see docs/CONTRIBUTING.md")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The source of axe-core, which looks for what hinders people."""
    folder = npm_install("axe-core", Path(__file__).parent / "js", tmp_path_factory.mktemp("axe"))
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
