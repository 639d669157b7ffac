"""Coverage-guided fuzzing of `decode`, and of the metadata it carries.

A picture that can be decoded must also survive encoding in every format that holds it, and decoding again.

    python -m fuzz.decode SECONDS [FOLDER_OF_MORE_SEEDS ...]

Fuzzing stops at the first file that raises anything but a FacemendError, takes 10 s or needs 2 GB. The file is saved as
crash-*, timeout-* or oom-*.
"""

import sys
import tempfile
from pathlib import Path

import atheris
from PIL import Image

with atheris.instrument_imports(include=["facemend", "PIL", "pillow_heif"]):
    from facemend.errors import FacemendError
    from facemend.files import formats
    from facemend.files.decode import decode
    from facemend.files.encode import encode
    from facemend.records import Settings

from tests.files.blocks import made
from tests.hostile import generated, saved

LONGEST = 20_000  # bytes of a file; longer ones only make each run slower
CARRIED = ("xmp", "iptc")
BLOCKS = 50  # EXIF blocks among the files that fuzzing starts with
SMALL = Settings(scale=1, max_input_mp=1, max_output_mp=1)


def survives(data: bytes) -> None:
    """Decode a file; if that succeeds, encode the picture in every format and decode it again."""
    try:
        picture = decode(data, SMALL)
    except FacemendError as error:
        assert "\n" not in str(error)
        return
    for row in formats.WRITABLE:
        if row.lacks(picture, picture.pixels.shape[:2]):
            continue
        again = decode(encode(picture, row.name), SMALL)
        assert again.pixels.shape == picture.pixels.shape
        assert again.pixels.dtype == picture.pixels.dtype
        kept = row.fitted(picture.metadata)
        assert all((getattr(again.metadata, part) is None) == (getattr(kept, part) is None) for part in CARRIED)


def main() -> None:
    """Read the command line and fuzz, starting with the files of `tests.hostile` and of the folders given."""
    seconds, *folders = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for name, data in generated().items():
            if len(data) <= LONGEST:
                (Path(corpus) / name).write_bytes(data)
        for seed in range(BLOCKS):
            block = b"Exif\0\0" + made(seed).data
            for kind in ("jpeg", "png", "webp"):
                (Path(corpus) / f"{seed}.{kind}").write_bytes(saved(Image.new("RGB", (8, 8)), kind, exif=block))
        limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=2048"]
        atheris.Setup([sys.argv[0], *limits, corpus, *folders], survives)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
