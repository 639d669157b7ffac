import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from facemend import extras
from facemend.errors import InputError

ROOT = Path(__file__).parents[1]


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
    assert extras.install_command("web") == f"{sys.executable} -m pip install {requirement}"


def test_a_copy_of_the_source_is_installed_from_its_folder(monkeypatch, tmp_path):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert extras.install_command("web").endswith(f'-m pip install "{ROOT}[web]"')
    monkeypatch.setattr(extras, "SOURCE", tmp_path)
    assert extras.install_command("web").endswith('-m pip install "facemend[web]"')


def test_an_interpreter_whose_path_has_a_space_is_quoted(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my own/python")
    assert extras.install_command("web").startswith('"/my own/python" -m pip')


def test_an_environment_without_pip_is_one_of_uv(monkeypatch):
    monkeypatch.setattr(extras.util, "find_spec", lambda name: None)
    assert extras.install_command("web").startswith(f"uv pip install --python {sys.executable} ")


def test_the_command_may_have_braces_and_is_for_this_machine_only(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/{own}/python")
    error = InputError("it needs a package", extras.install_remedy("web"))
    assert str(error) == f"it needs a package; run {extras.install_command('web')}"
    assert error.message(lambda option: None) == "it needs a package"
