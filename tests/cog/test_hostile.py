"""Broken, odd and ill-meant pictures through Cog's own server."""

import pytest

from tests.cog.serving import data_url, failure, opened
from tests.hostile import generated

pytestmark = pytest.mark.slow


def pictures(server, files):
    """How many of the files came back as pictures; the others failed in words, and the server went on each time."""
    count = 0
    for name, data in files.items():
        url = data_url(data, "application/octet-stream")
        answer = server.predict(image=url, face_enhance=False, upscaler="lanczos", upscale=1)
        if answer["status"] == "succeeded":
            assert min(opened(answer["output"]).size) > 0, name
            count += 1
        else:
            assert failure(answer), name
            assert str(server.temp) not in answer["error"], name
        server.wait("READY", patience=10)
    return count


def test_generated_files(server):
    files = generated()
    assert 0 < pictures(server, files) < len(files)


@pytest.mark.weights
def test_shared_files(server, shared):
    files = {path.name: path.read_bytes() for path in (shared / "data" / "hostile").rglob("*") if path.is_file()}
    assert len(files) > 250
    assert 0 < pictures(server, files) < len(files)
