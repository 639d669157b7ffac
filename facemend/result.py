"""What became of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from facemend.files import formats
from facemend.files.encode import encode, write
from facemend.records import Face, Picture, Pixels, converted


@dataclass(frozen=True, eq=False)
class Result:
    """One restored and enlarged picture.

    Attributes:
        picture: the output, with what it keeps of the input's file (EXIF, grey, alpha, format).
        before: the input as it was decoded.
        faces: every face found, from left to right, with what became of it.
        restorer: the restorer's name, or "none".
        upscaler: the upscaler's name.
        seconds: wall-clock seconds by stage, "total" among them.
    """

    picture: Picture
    before: Picture
    faces: tuple[Face, ...]
    restorer: str
    upscaler: str
    seconds: Mapping[str, float]

    @property
    def pixels(self) -> Pixels:
        """(H, W, 3) RGB, uint8, or uint16 where the input had 16 bits."""
        return self.picture.pixels

    @property
    def image(self) -> Image.Image:
        """The output as an 8-bit Pillow image of mode RGB, RGBA, L or LA."""
        colours = Image.fromarray(converted(self.picture.pixels, np.uint8))
        if self.picture.grey:
            colours = colours.convert("L")
        if self.picture.alpha is not None:
            colours.putalpha(Image.fromarray(converted(self.picture.alpha, np.uint8)))
        return colours

    def save(self, path: str | Path, *, quality: int = 95, strip_metadata: bool = False) -> Path:
        """Write the output; the file appears whole or not at all, and replaces one that was there.

        Args:
            path: its suffix says the format: .png, .jpg, .webp or .tiff.
            quality: 1 to 100, for JPEG and WebP.
            strip_metadata: leave out the EXIF block: place, time, camera. Colours and the upright turn need none.

        Raises:
            OptionError: the suffix is unknown, or its format cannot hold the picture (JPEG has no transparency).
            OutputError: the file cannot be written.
        """
        path = Path(path)
        picture = replace(self.picture, exif=None) if strip_metadata else self.picture
        write(path, encode(picture, formats.by_suffix(path).name, quality))
        return path
