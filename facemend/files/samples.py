"""What readers of formats that Pillow does not read return."""

from collections.abc import Callable
from typing import NamedTuple

from facemend.records import Metadata, Pixels

MOST_CHANNELS = 8  # of a file; each one besides colours and transparency takes as much memory as a colour
CheckSize = Callable[[int, int], None]  # height and width in px; raises TooLargeError


class Samples(NamedTuple):
    """A picture as its file has it.

    Attributes:
        colours: (H, W, 3) RGB, (H, W, 4) CMYK or (H, W) grey, uint8 or uint16; or (H, W, 3) RGB or (H, W) grey, float32
            of linear light with the primaries of sRGB, where 1 is the white of paper and lights may be brighter.
        alpha: (H, W) of the same dtype, or None.
        profile: its ICC profile, or None.
        metadata: what the file says besides; EXIF may say another orientation.
        lost: what could not be read, in words.
        orientation: of the pixels, 1 to 8 as in EXIF.
    """

    colours: Pixels
    alpha: Pixels | None = None
    profile: bytes | None = None
    metadata: Metadata = Metadata()
    lost: tuple[str, ...] = ()
    orientation: int = 1
