"""The picture of a call: what the input `image` may be."""

import base64
from pathlib import Path

import cog

from facemend.errors import InputError
from facemend.files.formats import HEAD, recognise

ALLOWED = "give an http(s) or data URL, or base64"
SCHEMES = ("http", "https", "data")


def source(image: Path | str, uploads: Path) -> Path | bytes:
    """Return the picture as a file or its bytes.

    Cog downloads a URL and passes the path of the file. Every other text it passes as it is, and would open it as a
    path of the server.

    Args:
        image: a path from Cog; or a text, which may be base64, or a URL that Cog did not recognise because its scheme
            is in capitals or it has spaces around it.
        uploads: the folder where Cog saves the files of a call. No file outside it is read.

    Raises:
        InputError: it is empty, or neither a file of this call nor a URL nor base64.
    """
    if isinstance(image, Path):
        if image not in uploads.iterdir():
            raise InputError(f"image is not a file that came with this call; {ALLOWED}")
        return image
    text = image.strip()
    if not text:
        raise InputError(f"image is empty; {ALLOWED}")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in SCHEMES:
        try:
            path: Path = cog.Path.validate(f"{scheme.lower()}:{rest}").convert()
        except Exception as error:  # Cog raises what its decoders and HTTP client raise
            raise InputError(f"image cannot be fetched: {error}", "check the URL") from error
        return path
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        data = b""
    if not recognise(data[:HEAD]):
        raise InputError(f"image is neither a URL nor the whole base64 of a picture; {ALLOWED}")
    return data
