"""Broken, rare and malicious pictures sent to Cog's own server."""

import warnings

import pytest

from tests.cog.serving import data_url, failure, opened
from tests.hostile import generated

pytestmark = pytest.mark.slow


def pictures(server, files):
    """The number of files that were restored; all others must fail with one line and leave the server ready."""
    count = 0
    for name, data in files.items():
        url = data_url(data, "application/octet-stream")
        answer = server.predict(image=url, face_enhance=False, upscaler="lanczos", upscale=1)
        if answer["status"] == "succeeded":
            with warnings.catch_warnings(action="ignore"):  # damaged EXIF is kept as it is
                assert min(opened(answer["output"]).size) > 0, name
            count += 1
        else:
            assert failure(answer), name
            assert str(server.temp) not in answer["error"], name
        server.wait("READY")
    return count


def test_generated_files_are_restored_or_refused(lite):
    files = generated()
    assert 0 < pictures(lite, files) < len(files)


@pytest.mark.weights
def test_real_broken_files_are_restored_or_refused(lite, shared):
    files = {path.name: path.read_bytes() for path in (shared / "data" / "hostile").rglob("*") if path.is_file()}
    assert len(files) > 250
    assert 0 < pictures(lite, files) < len(files)
