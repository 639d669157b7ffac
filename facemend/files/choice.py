"""The format of a result: named, asked for by the name of a file, or that of the input."""

from pathlib import Path

from facemend.errors import OptionError, OutputPathError
from facemend.files import formats
from facemend.records import Picture


def choose(picture: Picture, requested: str = "auto", size: tuple[int, int] | None = None) -> formats.Format:
    """The format to write.

    Args:
        picture: the result, or the input it will be made of.
        requested: "auto", or the name or a suffix of a format, without the dot. "auto" is the format of the input, or
            the one it is converted to; PNG where that cannot hold the result.
        size: (height, width) of the result in px, where `picture` has another.

    Raises:
        OptionError: a format that is not written, or one that cannot hold the result.
    """
    size = size or (picture.pixels.shape[0], picture.pixels.shape[1])
    if requested == "auto":
        given = formats.FORMATS.get(picture.format, formats.FORMATS["png"])
        row = formats.FORMATS[given.converted_to or given.name]
        return formats.FORMATS["png"] if row.lacks(picture, size) else row
    named = formats.FORMATS.get(requested) or formats.BY_SUFFIX.get(f".{requested}")
    if named is None or not named.writer:
        raise OptionError("format", requested, formats.CHOICES)
    if reason := named.lacks(picture, size):
        raise OptionError("format", requested, f"png, or another format that holds a picture with {reason}")
    return named


def of_file(path: Path, picture: Picture, size: tuple[int, int] | None = None) -> formats.Format:
    """The format that a file name asks for, where it can hold a result.

    Args:
        path: the file.
        picture: as for `choose`.
        size: as for `choose`.

    Raises:
        OptionError: its suffix is not that of a format we write.
        OutputPathError: the format cannot hold the result.
    """
    row = by_suffix(path)
    try:
        return choose(picture, row.name, size)
    except OptionError as error:
        raise OutputPathError(path, error.allowed) from error


def likely(path: Path) -> formats.Format | None:
    """The format that "auto" usually chooses for the result of a file, which is not decoded.

    None for an unknown file, and for what is no file: a pipe may never end.
    """
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        row = formats.recognise(stream.read(formats.HEAD), path.suffix.lower())
    return formats.FORMATS[row.converted_to or row.name] if row else None


def by_suffix(path: Path, *remedies: str) -> formats.Format:
    """The format that a file name asks for.

    Args:
        path: the file.
        remedies: what else may be done where its suffix is unknown.

    Raises:
        OptionError: its suffix is not that of a format we write.
    """
    row = formats.BY_SUFFIX.get(path.suffix.lower())
    if row is None or not row.writer:
        suffixes = tuple(s for row in formats.WRITABLE for s in row.suffixes)
        raise OptionError("the output's suffix", path.suffix, suffixes, *remedies)
    return row
