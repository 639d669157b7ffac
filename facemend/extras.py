"""Packages that only some uses need: the extras of pyproject.toml."""

import json
import sys
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from facemend.errors import Remedy

SOURCE = Path(__file__).parents[1]


def install_remedy(extra: str) -> Remedy:
    """What to do where an extra is missing.

    The command names folders of this machine. So it is marked as a remedy by the option `extra`, which interfaces for
    other machines do not have: they leave it out.
    """
    text = f"run {install_command(extra)}".replace("{", "{{").replace("}", "}}")  # as it is a format
    return Remedy(text, "extra")


def install_command(extra: str) -> str:
    """The command that installs an extra into the running environment.

    It installs from where facemend was installed from, for example a folder. Installers keep that in direct_url.json
    (PEP 610).
    """
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    program = f"{python} -m pip install" if util.find_spec("pip") else f"uv pip install --python {python}"
    return f"{program} {_requirement(extra)}"


def _requirement(extra: str) -> str:
    try:
        origin = json.loads(metadata.distribution("facemend").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # the source was copied, not installed
        origin = {"url": SOURCE.as_uri(), "dir_info": {}} if (SOURCE / "pyproject.toml").exists() else {}
    if "dir_info" in origin:
        option = "-e " if origin["dir_info"].get("editable") else ""
        return f'{option}"{url2pathname(urlsplit(origin["url"]).path)}[{extra}]"'
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return f'"facemend[{extra}] @ {vcs["vcs"]}+{origin["url"]}@{vcs["commit_id"]}"'
    source = f" @ {origin['url']}" if "url" in origin else ""
    return f'"facemend[{extra}]{source}"'
