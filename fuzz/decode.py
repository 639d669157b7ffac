"""Give `decode` ever stranger files, guided by the code they reach; what it reads must be writable too.

    python -m fuzz.decode SECONDS [FOLDER_OF_MORE_SEEDS ...]

The first file that raises anything but a FacemendError, or takes 10 s or 2 GB, is left as crash-*, timeout-* or oom-*.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["facemend", "PIL", "pillow_heif"]):
    from facemend.errors import FacemendError
    from facemend.files.decode import decode
    from facemend.files.encode import encode
    from facemend.records import Settings

from tests.hostile import generated

LONGEST = 20_000  # bytes; longer files are only tried more slowly
SMALL = Settings(scale=1, max_input_mp=1, max_output_mp=1)


def survives(data: bytes) -> None:
    """Decode, and where that works write the picture and read it again."""
    try:
        picture = decode(data, SMALL)
    except FacemendError as error:
        assert "\n" not in str(error)
        return
    again = decode(encode(picture, "auto"), SMALL)
    assert again.pixels.shape == picture.pixels.shape
    assert again.pixels.dtype == picture.pixels.dtype


def main() -> None:
    """Fuzz for the seconds given as the first argument, from the files of `tests.hostile` and of the other ones."""
    seconds, *folders = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for name, data in generated().items():
            if len(data) <= LONGEST:
                (Path(corpus) / name).write_bytes(data)
        limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=2048"]
        atheris.Setup([sys.argv[0], *limits, corpus, *folders], survives)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
