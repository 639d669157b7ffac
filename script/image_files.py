"""Prints the files of the project that go into the image, each followed by a NUL: `python -m script.image_files`."""

import sys

from docker.utils import exclude_paths

from script.openapi import ROOT


def main() -> None:
    """Print them, as Docker reads .dockerignore."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    paths = exclude_paths(str(ROOT), [pattern for pattern in patterns if not pattern.startswith("#")])
    sys.stdout.write("".join(f"{path}\0" for path in sorted(paths) if (ROOT / path).is_file()))


if __name__ == "__main__":
    main()
