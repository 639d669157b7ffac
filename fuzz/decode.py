"""Coverage-guided fuzzing of `decode`. A picture that can be decoded must also survive encoding and decoding again.

    python -m fuzz.decode SECONDS [FOLDER_OF_MORE_SEEDS ...]

Fuzzing stops at the first file that raises anything but a FacemendError, takes 10 s or needs 2 GB. The file is saved as
crash-*, timeout-* or oom-*.
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

LONGEST = 20_000  # bytes of a file; longer ones only make each run slower
SMALL = Settings(scale=1, max_input_mp=1, max_output_mp=1)


def survives(data: bytes) -> None:
    """Decode a file; if that succeeds, encode the picture and decode it again."""
    try:
        picture = decode(data, SMALL)
    except FacemendError as error:
        assert "\n" not in str(error)
        return
    again = decode(encode(picture, "auto"), SMALL)
    assert again.pixels.shape == picture.pixels.shape
    assert again.pixels.dtype == picture.pixels.dtype


def main() -> None:
    """Read the command line and fuzz, starting with the files of `tests.hostile` and of the folders given."""
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
