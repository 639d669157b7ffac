"""The memory of the server; docs/page.md has the bound."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facemend.web.app import KEPT
from tests.cli.test_web import started
from tests.pictures import smooth
from tests.web.serving import Client

UPLOADS = 20
BOUND = 1500  # MiB, with the networks of the package and photos of 24 megapixels

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="the bound is for a CPU; CUDA takes memory of its own"),
]


def memory(process, line):
    """MiB of a line of /proc/PID/status."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{line}:\s+(\d+) kB", status)[1]) / 1024


def test_twenty_uploads_of_24_megapixels_stay_under_the_bound():
    pixels = cv2.resize(smooth(400, 600), (6000, 4000))
    noise = np.random.default_rng(0).integers(0, 40, pixels.shape, np.uint8)
    photo = cv2.imencode(".jpg", cv2.add(pixels, noise), [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    with started() as (process, address):
        client = Client(address)
        photos = [client.upload(photo) for _ in range(UPLOADS)]
        view = len(client.http.get(f"/photos/{photos[-1]['key']}/view").content)
        assert len(photo) + view > KEPT / UPLOADS
        assert client.http.get(f"/photos/{photos[0]['key']}/view").status_code == 404
        client.http.close()
        print(f"{memory(process, 'VmRSS'):.0f} MiB, at most {memory(process, 'VmHWM'):.0f} MiB")  # noqa: T201
        assert memory(process, "VmHWM") < BOUND
