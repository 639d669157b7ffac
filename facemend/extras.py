"""Packages that only some uses need: the extras of pyproject.toml."""

import json
import sys
from importlib import metadata
from urllib.parse import urlsplit
from urllib.request import url2pathname


def installing(extra: str) -> str:
    """The command that installs an extra into the running environment.

    It installs from where facemend was installed from, for example a folder. Python keeps that in direct_url.json
    (PEP 610).
    """
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f"{python} -m pip install {_requirement(extra)}"


def _requirement(extra: str) -> str:
    try:
        origin = json.loads(metadata.distribution("facemend").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # the source was copied, not installed
        origin = {}
    if "dir_info" in origin:
        option = "-e " if origin["dir_info"].get("editable") else ""
        return f'{option}"{url2pathname(urlsplit(origin["url"]).path)}[{extra}]"'
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return f'"facemend[{extra}] @ {vcs["vcs"]}+{origin["url"]}@{vcs["commit_id"]}"'
    source = f" @ {origin['url']}" if "url" in origin else ""
    return f'"facemend[{extra}]{source}"'
