"""Other programs that check what this one has written. Tests that need one are skipped where it is not installed."""

import json
import shutil
import signal
import subprocess

import pytest


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed, see docs/CONTRIBUTING.md")


def allow_ctrl_c():
    """To be called in a child process: a shell lets what it starts in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def npm_install(name, source, folder):
    """Copy a folder with package.json and its lock file, and install the package it names."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed, see docs/CONTRIBUTING.md")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    install = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    if install.returncode:
        pytest.skip(f"npm cannot fetch {name}: {install.stderr.strip()[-300:]}")
    return folder


def exiftool(*paths, options=()):
    """What exiftool reads of each file: "GROUP:TAG" -> value; without what it computes or knows of the file itself."""
    command = ["exiftool", "-json", "-a", "-G1", "-struct", "--System:all", "--Composite:all", *options]
    out = subprocess.run([*command, *map(str, paths)], capture_output=True, check=False).stdout
    ours = ("SourceFile", "ExifTool:", "File:")
    return [
        {key: value for key, value in record.items() if key == "File:Comment" or not key.startswith(ours)}
        for record in json.loads(out)
    ]
