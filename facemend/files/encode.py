"""Picture -> bytes."""

import io
import pkgutil
import struct

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from facemend.files import choice, deep, formats, iptc, metadata, tiff
from facemend.files.formats import LOSSLESS, LOSSLESS_FROM, Quality
from facemend.records import Metadata, Picture, Pixels

PNG_LEVEL = 2  # a quarter of the default level's time, for photos up to an eighth larger; text is as small
FULL_COLOUR_FROM = 90  # quality of a JPEG from which colour keeps its full resolution
JPEG_RESOURCES = 0xED  # marker of the segment with the resources of Photoshop, which hold IPTC


def encode(picture: Picture, format: str, quality: Quality = 95) -> bytes:  # noqa: A002
    """Write a picture, with the metadata that the format holds.

    There is no colour profile: without one, pixels are taken as sRGB.

    Args:
        picture: what to write. A grey one gets one channel. Alpha that is opaque everywhere is left out of formats that
            do not hold it.
        format: as `requested` of `choice.choose`.
        quality: as for `formats.check_quality`. A WebP is written without loss with "lossless", and from 95 on also
            where the picture comes from a WebP without loss.

    Raises:
        OptionError: an unknown format, one that cannot hold this picture, or a bad quality.
    """
    row = choice.choose(picture, format)
    formats.check_quality(quality)
    lossless = quality == LOSSLESS or (picture.lossless and quality >= LOSSLESS_FROM)
    samples = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)[..., None] if picture.grey else picture.pixels
    if picture.alpha is not None and row.alpha:
        samples = np.dstack((samples, picture.alpha))
    fitting = row.fitted(metadata.sized(picture.metadata, *picture.pixels.shape[:2]))
    data: bytes = pkgutil.resolve_name(row.writer)(samples, fitting, LOSSLESS if lossless else int(quality))
    return data


def write_jpeg(samples: Pixels, described: Metadata, quality: Quality) -> bytes:
    """A JPEG of (H, W, 1 or 3) uint8."""
    level = 100 if quality == LOSSLESS else quality
    options: dict[str, object] = {"quality": level, "subsampling": "4:4:4" if level >= FULL_COLOUR_FROM else "4:2:0"}
    if described.iptc:
        body = iptc.PHOTOSHOP + iptc.resource(described.iptc)
        options["extra"] = struct.pack(">BBH", 0xFF, JPEG_RESOURCES, 2 + len(body)) + body
    return _by_pillow("jpeg", samples, described, comment=described.comment, xmp=described.xmp, **options)


def write_png(samples: Pixels, described: Metadata, quality: Quality) -> bytes:
    """A PNG of (H, W, 1 to 4) uint8 or uint16; it is lossless at any quality."""
    chunks = metadata.png_chunks(described)
    if samples.dtype == np.uint16:
        return deep.png(samples, described.exif, metadata.dpi(described), chunks)
    texts = PngImagePlugin.PngInfo()
    for kind, body in chunks:
        texts.add(kind, body)
    return _by_pillow("png", samples, described, compress_level=PNG_LEVEL, pnginfo=texts)


def write_webp(samples: Pixels, described: Metadata, quality: Quality) -> bytes:
    """A WebP of (H, W, 1 to 4) uint8."""
    options: dict[str, object] = {"lossless": True, "exact": True} if quality == LOSSLESS else {"quality": quality}
    return _by_pillow("webp", samples, described, xmp=described.xmp or b"", **options)


def write_tiff(samples: Pixels, described: Metadata, quality: Quality) -> bytes:
    """A TIFF of (H, W, 1 to 4) uint8 or uint16; it is lossless at any quality."""
    return tiff.encode(samples, described)


def _by_pillow(name: str, samples: Pixels, described: Metadata, **options: object) -> bytes:
    if described.exif:
        options["exif"] = metadata.EXIF_PREFIX + described.exif
    if dpi := metadata.dpi(described):
        options["dpi"] = dpi
    stream = io.BytesIO()
    Image.fromarray(np.squeeze(samples, 2) if samples.shape[2] == 1 else samples).save(stream, name, **options)
    return stream.getvalue()
