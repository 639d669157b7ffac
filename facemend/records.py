"""The values that the parts of the package exchange. All classes are frozen. Only numpy is needed."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from facemend.errors import InputError, OptionError, Remedy, TooLargeError

Pixels = npt.NDArray[Any]  # (H, W, 3) RGB or (H, W), uint8 or uint16
Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]  # (2, 3), source px -> target px; whole numbers are pixel centres
Point = tuple[float, float]  # x, y in px
Size = tuple[int, int]  # height, width in px
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in px
StageProgress = Callable[[int, int], None]  # number of parts done, and of all parts
Progress = Callable[[str, int, int], None]  # stage, number of parts done, and of all parts; may raise `Cancelled`
INDEX = re.compile(r"\d{1,9}")  # of a face, as text; Python refuses to convert thousands of digits
ONLY_FIRST = "all pictures but the first"  # what `Picture.lost` says of a file with several pictures
FACE_CHOICES = ("all", "center", "largest", "none")


@dataclass(frozen=True)
class Metadata:
    """What a file says about a picture besides its pixels. Each part is None, or empty, where the file has none.

    Attributes:
        exif: the EXIF block, from its TIFF header on. It says that the picture is upright and in sRGB.
        xmp: the XMP packet; it says the same.
        iptc: the IPTC records.
        comment: the comment of a JPEG or GIF, or the text of a PNG with the keyword "Comment".
        text: the other texts of a PNG: for each chunk its kind (tEXt, zTXt or iTXt) and its body.
        lost: what could not be read, in words.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    text: tuple[tuple[bytes, bytes], ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, upright and in sRGB.

    Attributes:
        pixels: (H, W, 3) RGB, uint8 or uint16. A grey picture has three equal channels.
            A fully transparent pixel has the colour of the nearest visible one.
        alpha: (H, W) of the same dtype (0 = transparent), or None.
        grey: whether the file has one colour channel; the output then has one too.
        metadata: what the file says besides the pixels.
        format: a name of `facemend.files.formats.FORMATS`, or "" for arrays.
        lossless: whether the file is a WebP that was compressed without loss.
        lost: what of the pixels could not be kept, in words.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    metadata: Metadata = Metadata()
    format: str = ""
    lossless: bool = False
    lost: tuple[str, ...] = ()


class Landmarks(NamedTuple):
    """Five points of a face, in px. Left and right are as the viewer sees the upright face."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point

    @property
    def eye_distance(self) -> float:
        """The distance between the eyes in px."""
        return math.dist(self.left_eye, self.right_eye)

    def array(self) -> Floats:
        """Return the points as (5, 2) float32, x and y in px, in the order of the fields."""
        return np.array(self, dtype=np.float32)


@dataclass(frozen=True)
class Face:
    """A face found in a picture, and whether it was restored.

    Attributes:
        box: x0, y0, x1, y1 in px of the input picture.
        landmarks: five points in px of the input picture.
        score: the detector's confidence, 0 to 1.
        restored: whether the face is restored in the output.
        net: name of the restorer; "" if the face was not restored.
        share: of the restored face in the output, 0 to 1; the rest is the enlarged input.
        reason: why the face was not restored; "" if it was.
        net_reason: why `auto` chose this restorer; "" if the restorer was named or the face was not restored.
    """

    box: Box
    landmarks: Landmarks
    score: float
    restored: bool = False
    net: str = ""
    share: float = 0.0
    reason: str = ""
    net_reason: str = ""

    def report(self) -> dict[str, Any]:
        """Return all of it as values that JSON holds; places are rounded to hundredths of a px."""
        return {
            "box": [round(value, 2) for value in self.box],
            "landmarks": {name: [round(x, 2), round(y, 2)] for name, (x, y) in self.landmarks._asdict().items()},
            "score": round(self.score, 4),
            "restored": self.restored,
            "net": self.net,
            "share": round(self.share, 4),
            "reason": self.reason,
            "net_reason": self.net_reason,
        }

    def left_alone(self, reason: str) -> "Face":
        """Return the same face, not restored for this reason."""
        return Face(self.box, self.landmarks, self.score, reason=reason)

    def done(self, net: str, share: float, net_reason: str = "") -> "Face":
        """Return the same face, restored by this network for this reason; `share` of it is in the output."""
        return Face(self.box, self.landmarks, self.score, restored=True, net=net, share=share, net_reason=net_reason)


@dataclass(frozen=True, eq=False)
class Crop:
    """A face, cut out of a picture and rotated upright.

    Attributes:
        pixels: (S, S, 3) RGB of the picture's dtype, where S is the restorer's face size.
        matrix: (2, 3), picture px -> crop px.
    """

    pixels: Pixels
    matrix: Matrix


@dataclass(frozen=True)
class Tiling:
    """How the input of a network is divided into tiles.

    Attributes:
        scale: output size over input size.
        step: the sides of a tile and the distances between tiles are multiples of this number of input px.
        bytes_per_pixel: measured working memory per input px in float32.
        overlap: px of the input that a tile includes beyond a seam. With 24, less than the default, the result of one
            upscaler differs from that of the whole picture by two levels.
    """

    scale: int
    step: int
    bytes_per_pixel: int
    overlap: int = 28


@dataclass(frozen=True)
class Settings:
    """The options for one picture. They are checked on creation.

    Attributes:
        scale: output size over input size, 1 to 8.
        fidelity: CodeFormer's w, from 0 (looks best) to 1 (most like the input).
        strength: share of the restored face in the mixture with the original one, from 0 to 1.
        faces: which faces to restore: "all", "center", "largest", "none", or indices of the faces found, from left to
            right.
        aligned: whether the picture is one face, already cropped and upright. No faces are detected then.
        sensitivity: from 0, which finds only clear faces, to 1, which finds doubtful ones too.
        min_face: smallest side in px of a face's box; smaller faces are ignored.
        seed: seed of the noise of GFPGAN and of the upscaler `creative`. With None, GFPGAN uses the noise stored with
            its weights, and `creative` the seed 0.
        denoise: for realesr-general-x4v3, from 0 (keeps the grain) to 1 (removes it).
        max_input_mp: largest input allowed, in megapixels.
        max_output_mp: largest output allowed, in megapixels.
        adaptive: whether less of the restored face is used, down to nothing, where a face is large and sharp already.
        repair: whether scratches, dust, creases and cracks are repaired before anything else.

    Raises:
        OptionError: a value is out of range.
    """

    scale: float = 2.0
    fidelity: float = 0.5
    strength: float = 1.0
    faces: str | Sequence[int] = "all"
    aligned: bool = False
    sensitivity: float = 0.5
    min_face: int = 16
    seed: int | None = None
    denoise: float = 0.5
    max_input_mp: float = 100.0
    max_output_mp: float = 400.0
    adaptive: bool = True
    repair: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("scale", 1, 8),
            ("fidelity", 0, 1),
            ("strength", 0, 1),
            ("sensitivity", 0, 1),
            ("denoise", 0, 1),
        ):
            value = getattr(self, name)
            if not is_number(value) or not low <= value <= high:
                raise OptionError(name, value, f"a number from {low} to {high}")
            object.__setattr__(self, name, float(value))
        for name in ("max_input_mp", "max_output_mp"):
            value = getattr(self, name)
            if not is_number(value) or not value > 0:
                raise OptionError(name, value, "a number above 0")
        if not is_whole(self.min_face) or self.min_face < 1:
            raise OptionError("min_face", self.min_face, "a whole number from 1")
        for name in ("adaptive", "aligned", "repair"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(name, getattr(self, name), "True or False")
        if self.seed is not None and not (is_whole(self.seed) and 0 <= self.seed < 2**63):
            raise OptionError("seed", self.seed, "a whole number from 0 to 2**63 - 1")
        if self.seed is not None:
            object.__setattr__(self, "seed", int(self.seed))  # PyTorch takes no number of NumPy
        object.__setattr__(self, "faces", _faces(self.faces))

    def check_mask(self, mask: bool) -> None:
        """Check that a mask of the repair can be written if it is wanted; raises InputError."""
        if mask and not self.repair:
            raise InputError("a mask shows what was repaired", Remedy("add {}", "repair"))

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) in px of the output for an input of this size."""
        return round(height * self.scale), round(width * self.scale)

    def check_size(self, height: int, width: int) -> None:
        """Raise TooLargeError if an input of this size, or its output, has more pixels than allowed."""
        size = self.output_size(height, width)
        if height * width > self.max_input_mp * 1e6:
            remedy = Remedy("raise {}", "max_input_mp")
            raise TooLargeError("the input", height * width, round(self.max_input_mp * 1e6), remedy)
        if size[0] * size[1] > self.max_output_mp * 1e6:
            what = f"the output of {size[1]} x {size[0]} px"
            lower = [Remedy("lower {}", "scale")] if self.scale > 1 else []
            remedies = *lower, Remedy("raise {}", "max_output_mp")
            raise TooLargeError(what, size[0] * size[1], round(self.max_output_mp * 1e6), *remedies)


def _faces(value: object) -> str | tuple[int, ...]:
    """A choice of faces, checked; indices may also be text such as "0,2". Raises OptionError."""
    if isinstance(value, str):
        if value in FACE_CHOICES:
            return value
        parts = value.split(",")
        indices: tuple[Any, ...] = tuple(int(part) if INDEX.fullmatch(part.strip()) else part for part in parts)
    else:
        indices = tuple(value) if isinstance(value, Iterable) and not isinstance(value, bytes) else ()
    if not indices or not all(is_whole(index) and index >= 0 for index in indices):
        raise OptionError("faces", value, (*FACE_CHOICES, "numbers such as 0,2"))
    return indices


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, of Python or numpy."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is a finite number, of Python or numpy."""
    return is_whole(value) or (isinstance(value, (float, np.floating)) and math.isfinite(value))


def peak(pixels: Pixels) -> int:
    """Return the value of white: 255 for uint8, 65535 for uint16."""
    return int(np.iinfo(pixels.dtype).max)


def converted(pixels: Pixels, dtype: npt.DTypeLike) -> Pixels:
    """Convert pixels between uint8 and uint16; white stays white."""
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * 257
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_dtype(values: npt.NDArray[Any], dtype: npt.DTypeLike) -> Pixels:
    """Round float values and clamp them to the range of `dtype`, which is uint8 or uint16."""
    rounded: Pixels = np.rint(values).clip(0, np.iinfo(np.dtype(dtype)).max).astype(dtype)
    return rounded


DEFAULT_SETTINGS = Settings()
