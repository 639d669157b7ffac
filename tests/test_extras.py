import json
import sys
from importlib import metadata

import pytest

from facemend import extras


class Installed:
    """A distribution with this direct_url.json, or none."""

    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (None, '"facemend[web]"'),
        ({"url": "file:///my%20own/facemend", "dir_info": {}}, '"/my own/facemend[web]"'),
        ({"url": "file:///home/facemend", "dir_info": {"editable": True}}, '-e "/home/facemend[web]"'),
        (
            {"url": "https://example.com/facemend.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}},
            '"facemend[web] @ git+https://example.com/facemend.git@12ab"',
        ),
        (
            {"url": "https://example.com/facemend-1.0-py3-none-any.whl", "archive_info": {}},
            '"facemend[web] @ https://example.com/facemend-1.0-py3-none-any.whl"',
        ),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came_from(monkeypatch, origin, requirement):
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(origin))
    assert extras.installing("web") == f"{sys.executable} -m pip install {requirement}"


def test_a_source_that_was_not_installed_has_a_command_too(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert extras.installing("web").endswith('-m pip install "facemend[web]"')


def test_an_interpreter_whose_path_has_a_space_is_quoted(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my own/python")
    assert extras.installing("web").startswith('"/my own/python" -m pip')
