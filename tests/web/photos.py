"""Photos for the page."""

import io
from functools import cache

import numpy as np
import pillow_heif
from PIL import Image

from tests.test_readme import ROOT

OLD = ROOT / "examples" / "old.jpg"


def jpeg(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", **options)
    return stream.getvalue()


@cache
def phone():
    """A phone's photo: HEIC, 1200 x 900 px before it is turned by its EXIF."""
    image = Image.open(OLD).convert("RGB").resize((900, 1200)).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Phone"
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=40, exif=exif.tobytes())
    return stream.getvalue()


def two_faces():
    old = np.asarray(Image.open(OLD).convert("RGB").resize((200, 200)))
    return jpeg(np.hstack((old, old[:, ::-1])), quality=90)
