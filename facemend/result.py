"""The result of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facemend.files import choice, metadata
from facemend.files.encode import encode
from facemend.files.formats import Quality
from facemend.files.output import write
from facemend.records import Face, Floats, Metadata, Picture, Pixels, converted


@dataclass(frozen=True, eq=False)
class Result:
    """One restored and enlarged picture.

    Attributes:
        picture: the output. It keeps alpha, metadata and format of the input, and stays grey if the input is.
        before: the input as it was decoded.
        faces: every face found, from left to right; each says whether it was restored, and why not.
        restorer: the restorer's name, or "none"; where each face gets one of two, as "gfpgan-v1.4 or codeformer", and
            each face says which.
        upscaler: the upscaler's name.
        seconds: wall-clock seconds by stage, and "total".
        mask: (H, W) float32 in [0, 1], how much of the repair is in each px of the input; None if it was not repaired.
    """

    picture: Picture
    before: Picture
    faces: tuple[Face, ...]
    restorer: str
    upscaler: str
    seconds: Mapping[str, float]
    mask: Floats | None = None

    @property
    def repaired(self) -> float | None:
        """The share of the input's px that were repaired, in [0, 1]; None if the picture was not to be repaired."""
        return None if self.mask is None else float(np.mean(self.mask > 0))

    @property
    def pixels(self) -> Pixels:
        """(H, W, 3) RGB, uint8, or uint16 if the input has 16 bits per channel."""
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

    def report(self) -> dict[str, Any]:
        """What JSON says of it: size, models, faces, share repaired and seconds; places in px of the input."""
        height, width = self.pixels.shape[:2]
        return {
            "size": [width, height],
            "restorer": self.restorer,
            "upscaler": self.upscaler,
            "faces": [face.report() for face in self.faces],
            "repaired": None if self.repaired is None else round(self.repaired, 6),
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
        }

    def save(
        self, path: str | Path, *, quality: Quality = 95, strip_metadata: bool = False, modified: int | None = None
    ) -> Path:
        """Write the output. The file is written whole or not at all, and replaces an existing file.

        Args:
            path: its suffix selects the format: .png, .jpg, .webp or .tiff.
            quality: 1 to 100, or "lossless", for JPEG and WebP.
            strip_metadata: whether to leave out EXIF, XMP, IPTC, comments and texts, with place, time and camera.
                Colours and orientation stay correct without them.
            modified: the file's time of modification, in ns since 1970; by default now.

        Returns:
            The path.

        Raises:
            OptionError: the suffix is unknown, or the quality is out of range.
            OutputPathError: the format cannot hold the picture (JPEG has no transparency).
            OutputError: the file cannot be written.
        """
        path = Path(path)
        data = self.encoded(choice.of_file(path, self.picture).name, quality=quality, strip_metadata=strip_metadata)
        write(path, data, modified)
        return path

    def encoded(self, format: str, *, quality: Quality = 95, strip_metadata: bool = False) -> bytes:  # noqa: A002
        """The bytes of the file that `save` writes.

        Args:
            format: the name or a suffix of a format, without the dot.
            quality: as for `save`.
            strip_metadata: as for `save`.

        Raises:
            OptionError: the format is unknown or cannot hold the picture, or the quality is out of range.
        """
        picture = replace(self.picture, metadata=Metadata()) if strip_metadata else self.picture
        return encode(picture, format, quality)

    def lost(self, path: str | Path, *, strip_metadata: bool = False) -> tuple[str, ...]:
        """What of the input is not in a file that `save` writes, in words; what was stripped is not named.

        Args:
            path: as for `save`.
            strip_metadata: as for `save`.
        """
        described = Metadata() if strip_metadata else self.picture.metadata
        sized = metadata.sized(described, *self.pixels.shape[:2])
        return (*self.picture.lost, *choice.by_suffix(Path(path)).fitted(sized).lost)
