"""Read Photoshop files, by psd-tools: the picture of all layers that Photoshop has put into the file."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from facemend.errors import DecodeError
from facemend.files import metadata
from facemend.files.decoders import decoding, quiet
from facemend.files.samples import MOST_CHANNELS, CheckSize, Samples
from facemend.records import Metadata, to_dtype

COLOURS = {"GRAYSCALE": 1, "DUOTONE": 1, "RGB": 3, "CMYK": 4}  # mode -> channels without alpha


def read(stream: BinaryIO, check_size: CheckSize) -> Samples:
    """Read the picture.

    Raises:
        DecodeError: it is damaged, or has no such picture.
    """
    from psd_tools import PSDImage
    from psd_tools.api.layers import Group
    from psd_tools.api.utils import has_transparency
    from psd_tools.constants import Resource

    with quiet(), decoding(), _damage_is_an_error():
        file = PSDImage.open(stream)
    check_size(file.height, file.width)
    count = COLOURS.get(file.color_mode.name)
    if count is None or file.depth not in (8, 16):
        raise DecodeError(
            f"it is a PSD of mode {file.color_mode.name} with {file.depth} bits", "save it as RGB of 8 or 16 bits"
        )
    if file.channels > MOST_CHANNELS:  # psd-tools computes all of them in float32
        raise DecodeError(f"it has {file.channels} channels", f"save it with at most {MOST_CHANNELS}")
    if not file.has_preview():
        raise DecodeError("it has only layers", "save it with maximized compatibility")
    with quiet(), decoding(), _damage_is_an_error():
        _check_length(file)
        values = np.asarray(file.numpy())  # (H, W, C), 0 to 1
        profile = _resource(file, Resource.ICC_PROFILE)
        exif, xmp = _resource(file, Resource.EXIF_DATA_1), _resource(file, Resource.XMP_METADATA)
        iptc = _resource(file, Resource.IPTC_NAA)
        said = file.image_resources.get_data(Resource.RESOLUTION_INFO)
        dpi = (said.horizontal / 65536, said.vertical / 65536) if said else (0, 0)  # whatever unit Photoshop shows
        is_transparent = values.shape[2] > count and has_transparency(file)
        # Two levels tell whether there are several. To list all, psd-tools calls itself for each level of groups, and
        # a file may have more levels than Python allows.
        layers = len(file) + sum(len(layer) for layer in file if isinstance(layer, Group))
    unusable: list[str] = []
    block = metadata.with_dpi(metadata.usable(exif or b"", unusable), dpi)
    described = Metadata(block, xmp, iptc, lost=tuple(unusable))
    if file.color_mode.name == "CMYK":
        values[..., :4] = 1 - values[..., :4]  # the file has the share of paper, not of ink
    dtype = np.uint16 if file.depth == 16 else np.uint8
    pixels = to_dtype(values * np.iinfo(dtype).max, dtype)
    colours = pixels[..., :count] if count > 1 else pixels[..., 0]
    lost = ["layers"] if layers > 1 else []
    if others := pixels.shape[2] - count - is_transparent:
        lost.append(f"{others} of its channels (neither colours nor transparency)")
    return Samples(colours, pixels[..., count] if is_transparent else None, profile, described, tuple(lost))


def _check_length(file: Any) -> None:
    """Refuse a picture compressed by rows (RLE) that is cut short: psd-tools takes the missing bytes as zeros."""
    from psd_tools.constants import Compression

    picture = file._record.image_data
    if picture.compression != Compression.RLE:
        return
    count, size = file.height * file.channels, 4 if file.version == 2 else 2  # of the table of the rows' lengths
    lengths = np.frombuffer(picture.data[: count * size], f">u{size}")
    if len(picture.data) < count * size + int(lengths.sum()):
        raise DecodeError("it is cut short", "use a complete copy")


@contextlib.contextmanager
def _damage_is_an_error() -> Iterator[None]:
    """Raise what psd-tools warns about and logs: it replaces damaged pixels by black ones."""
    from psd_tools.compression import PSDDecompressionWarning

    log = logging.getLogger("psd_tools")
    level = log.level
    log.setLevel(logging.CRITICAL)
    warnings.simplefilter("error", PSDDecompressionWarning)  # `quiet` restores the filters
    try:
        yield
    finally:
        log.setLevel(level)


def _resource(file: Any, number: Any) -> bytes | None:
    return bytes(file.image_resources.get_data(number) or b"") or None
