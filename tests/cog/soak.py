"""A thousand predictions by Cog's own server, valid and invalid ones in turn: `python -m tests.cog.soak [CALLS]`.

It stops at the first wrong answer, and fails at the end if the memory of the server grew or it left files or open
handles. It needs the bundled weights only.
"""

import hashlib
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from predict import COG_FOLDER_AGE, COG_FOLDERS
from tests.cog.serving import ROOT, data_url, opened, serving
from tests.pictures import smooth

LITE = {"model": "lite", "upscaler": "lite"}
CALLS = 1000
EVERY = 100  # calls between two measurements of the server
# Allowed ratio of resident memory at the end to that at the second measurement, when all modules are loaded. The heap
# grows in steps of about 10 MiB; a leak of one face for each call would add 1 GiB.
GROWTH = 1.1
CELLS = 8  # px a side of the thumbnails that are compared
CLOSE = 24  # allowed difference in levels to the thumbnail of the input; two different pictures differ by over 100


@dataclass(frozen=True)
class Good:
    """A picture as a data URL, the other inputs, and the expected size and thumbnail of the result."""

    image: str
    inputs: dict
    size: tuple[int, int]
    thumbnail: np.ndarray


def good(image, scale, kind="png", **inputs):
    size = round(image.width * scale), round(image.height * scale)
    return Good(encoded(image, kind), {**LITE, "upscale": scale, **inputs}, size, thumbnail(image))


def encoded(image, kind="png"):
    stream = BytesIO()
    image.save(stream, kind)
    return data_url(stream.getvalue(), f"image/{kind}")


def thumbnail(image):
    return np.asarray(image.convert("RGB").resize((CELLS, CELLS), Image.Resampling.BOX), int)


def drawn(height, width, seed):
    return Image.fromarray(smooth(height, width, seed=seed))


def good_calls():
    """Valid calls with mixed sizes, formats and settings."""
    face = Image.open(ROOT / "examples" / "old.jpg")
    head = face.crop((70, 0, 200, 130))
    return [
        good(face, 2, "jpeg"),
        good(face.resize((160, 160)), 4, output_format="webp"),
        good(face.crop((20, 20, 300, 300)), 1.5, only_center_face=True, strength=0.5),
        good(head.resize((96, 96)), 2, aligned=True),
        good(head.resize((200, 200)), 1, aligned=True, model="auto", output_format="jpg"),
        good(drawn(64, 80, 3), 8, "webp", face_enhance=False),
        good(drawn(600, 900, 4), 1, "jpeg", face_enhance=False, upscaler="lanczos"),
        good(drawn(400, 300, 5), 2, "tiff", face_enhance=False, upscaler="lanczos"),
        good(drawn(33, 57, 6), 3.3, sensitivity=0),
        good(drawn(300, 500, 7), 1.7, face_enhance=False, output_quality=60, output_format="jpg"),
        good(drawn(128, 128, 8).convert("L"), 2, face_enhance=False),
    ]


def bad_calls():
    """Invalid calls: inputs, and a part of the expected message."""
    picture = encoded(drawn(64, 80, 9), "jpeg")
    return [
        ({"image": data_url(b"no picture")}, "format is unknown"),
        ({"image": picture[: len(picture) // 2]}, "damaged"),
        ({"image": "data:image/png;base64,"}, "empty"),
        ({"image": "/etc/passwd"}, "neither a URL"),
        ({"image": "http://127.0.0.1:9/x.png"}, "refused"),
        ({"image": picture, "model": "codeformer"}, "one this server has"),
        ({"image": picture, "upscale": 9}, "greater than the maximum"),
        ({"image": picture, "aligned": True}, "is square"),
    ]


def check_good(server, turn, case, seen):
    answer = server.call({"id": f"{server.port}-{turn}"}, image=case.image, **case.inputs).json()
    assert answer["status"] == "succeeded", (turn, case.inputs, answer)
    picture = opened(answer["output"])
    assert picture.size == case.size, (turn, case.inputs, picture.size)
    difference = abs(thumbnail(picture) - case.thumbnail).max()
    assert difference <= CLOSE, (turn, case.inputs, difference)
    digest = hashlib.sha256(answer["output"].encode()).digest()
    assert seen.setdefault(id(case), digest) == digest, (turn, case.inputs, "differs from the first result")


def check_bad(server, turn, inputs, word):
    text = server.call({"id": f"{server.port}-{turn}"}, **{**LITE, **inputs}).text
    assert word in text, (turn, inputs, text)
    assert "Traceback" not in text, (turn, inputs, text)


@dataclass(frozen=True)
class Look:
    """What a server uses: resident memory (MiB) and open handles of all its processes, files, old folders of Cog."""

    calls: int
    resident: float
    handles: int
    files: int
    folders: int

    def __str__(self):
        return (
            f"{self.calls:5} calls: {self.resident:.0f} MiB, {self.handles} open handles, {self.files} files, "
            f"{self.folders} folders of calls long past"
        )


def look(server, calls):
    server.wait("READY")
    parent = psutil.Process(server.process.pid)
    tree = [parent, *parent.children(recursive=True)]
    past = time.time() - 2 * COG_FOLDER_AGE
    return Look(
        calls,
        sum(process.memory_info().rss for process in tree) / 2**20,
        sum(process.num_fds() for process in tree),
        len(server.files()),
        sum(folder.stat().st_mtime < past for folder in COG_FOLDERS.glob(f"{server.port}-*")),
    )


def soak(server, calls):
    """Make the calls; yield a measurement after every hundred and after the last."""
    goods, bads = itertools.cycle(good_calls()), itertools.cycle(bad_calls())
    seen = {}
    for turn in range(1, calls + 1):
        if turn % 2:
            check_good(server, turn, next(goods), seen)
        else:
            check_bad(server, turn, *next(bads))
        if turn % EVERY == 0 or turn == calls:
            yield look(server, turn)


def main(calls):
    start = time.monotonic()
    looks = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), FACEMEND_MODELS="lite") as server:
        for now in soak(server, calls):
            looks.append(now)
            sys.stdout.write(f"{time.monotonic() - start:5.0f} s, {now}\n")
            sys.stdout.flush()
        server.stop()
        assert server.files() == [], f"left after the end: {server.files()}"
    settled, last = looks[min(1, len(looks) - 1)], looks[-1]
    assert last.resident <= GROWTH * settled.resident, f"grew by {last.resident / settled.resident - 1:.1%}"
    assert last.handles <= settled.handles, f"{last.handles} open handles instead of {settled.handles}"
    assert max(now.files for now in looks) <= 1, "more than the last output was left"
    assert max(now.folders for now in looks) == 0, "folders of past calls were left"
    sys.stdout.write(f"{calls} calls as they should be; memory grew by {last.resident / settled.resident - 1:.1%}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)
