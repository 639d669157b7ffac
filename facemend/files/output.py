"""Files that are written: they appear whole or not at all."""

import errno
import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from facemend.errors import OutputError, OutputPathError

BESIDE = {"compare": ".jpg", "boxes": ".jpg", "mask": ".png"}  # suffixes of NAME_compare and others beside a result
MISSING = errno.ENOENT, errno.ENOTDIR, errno.ELOOP  # nothing has this name, or a link leads nowhere


def exists(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        OutputPathError: something else is there, no file can have this name, or the folder may not be searched.
    """
    try:
        # From Python 3.14 on, `Path.exists` is False for a name that is too long.
        mode = Path(os.path.realpath(path)).stat().st_mode
    except PermissionError as error:
        raise OutputPathError(path, "in a folder that may be written to") from error
    except OSError as error:
        if error.errno in MISSING:
            return False
        raise OutputPathError(path, f"a name a file can have ({error.strerror})") from error
    except ValueError as error:  # such as a NUL in the name
        raise OutputPathError(path, f"a name a file can have ({error})") from error
    if not stat.S_ISREG(mode):
        raise OutputPathError(path, "a file; a folder or something else has this name")
    return True


def write(path: str | Path, data: bytes, modified: int | None = None) -> None:
    """Write a file whole or not at all: under a hidden name in the same folder, then renamed.

    A file that is there keeps its permissions, and a link its place: the file that it leads to is written.

    Args:
        path: the file.
        data: its content.
        modified: its time of modification, in ns since 1970; by default now.

    Raises:
        OutputError: it cannot be written; nothing is left behind.
    """
    path = Path(path)
    target = Path(os.path.realpath(path)) if os.path.islink(path) else path
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            with suppress(OSError):  # there is no file yet, or the file system has no permissions
                shutil.copymode(target, part)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if modified is not None:
            os.utime(part, ns=(modified, modified))
        part.replace(target)
    except (OSError, ValueError) as error:  # a ValueError for a name that no file can have
        raise OutputError(path, getattr(error, "strerror", None) or str(error)) from error
    finally:
        with suppress(OSError, ValueError):  # the error above says what is wrong
            part.unlink()
