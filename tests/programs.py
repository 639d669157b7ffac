"""Other programs that check what this one has written. Tests that need one are skipped where it is not installed."""

import json
import shutil
import subprocess

import pytest


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed, see docs/CONTRIBUTING.md")


def exiftool(*paths, options=()):
    """What exiftool reads of each file: "GROUP:TAG" -> value; without what it computes or knows of the file itself."""
    command = ["exiftool", "-json", "-a", "-G1", "-struct", "--System:all", "--Composite:all", *options]
    out = subprocess.run([*command, *map(str, paths)], capture_output=True, check=False).stdout
    ours = ("SourceFile", "ExifTool:", "File:")
    return [
        {key: value for key, value in record.items() if key == "File:Comment" or not key.startswith(ours)}
        for record in json.loads(out)
    ]
