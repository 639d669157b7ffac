"""Assign a restorer to each face: what `auto` stands for.

The likeness comes first, so most faces get the restorer that keeps it best. A restorer that invents more gets only the
faces in which there is no likeness left to keep: those with few real pixels under the crop, and those that are heavily
blurred.

The limits were chosen on the last 20 portraits of `portraits/train`, shrunk, enlarged again, blurred, noisy and after
`degrade.py`, and by looking at `old_photos`. `python -m bench.assign` prints how many of them are bad.
"""

from dataclasses import dataclass
from typing import NamedTuple

from facemend.errors import OptionError
from facemend.records import Crop
from facemend.stages import Restorer
from facemend.stages.condition import contrast_of_detail, grey_levels, real_side

# Real px along the side of the crop. GFPGAN was trained on faces shrunk up to 8 times, which is 64 px, and CodeFormer
# up to 30 times. After `degrade.py`, "medium" has at least 108, and "severe" 54 to 71.
FEWEST = 64.0
# Of the portraits blurred by 4, 5, 6 and 7 crop px (sigma), 0, 6, 15 and 20 of 20 have less, and with noise nearly as
# many. After `degrade.py` and enlarged to their old size, "medium" has at least 0.42 and "severe" at least 0.24. A
# higher limit would take old photographs of 80 px whose likeness is plain.
BLURRED = 0.24


class Assigned(NamedTuple):
    """The restorer of a face.

    Attributes:
        restorer: the restorer.
        reason: why it is this one, in words; empty if it was named.
    """

    restorer: Restorer
    reason: str = ""


@dataclass(frozen=True)
class Auto:
    """Restorers of which each face gets one.

    Attributes:
        usual: for all faces but the bad ones: the one that keeps the likeness best.
        for_bad_faces: for faces with too little detail for a likeness; None leaves them to `usual`.

    Raises:
        OptionError: the two take crops of different sizes.
    """

    usual: Restorer
    for_bad_faces: Restorer | None = None

    def __post_init__(self) -> None:
        if self.for_bad_faces and self.for_bad_faces.face_size != self.usual.face_size:
            raise OptionError("for_bad_faces", self.for_bad_faces.name, f"for crops of {self.usual.face_size} px")

    @property
    def name(self) -> str:
        """The names of all of them, as prose."""
        return " or ".join(restorer.name for restorer in self.restorers)

    @property
    def restorers(self) -> tuple[Restorer, ...]:
        """All of them."""
        return (self.usual, self.for_bad_faces) if self.for_bad_faces else (self.usual,)


def assign(crop: Crop, auto: Auto) -> Assigned:
    """Choose the restorer of a face.

    Args:
        crop: the face as it was cut out of the picture, before restoration.
        auto: the restorers.
    """
    problem = what_is_bad(crop)
    if not problem:
        return Assigned(auto.usual, "enough detail to keep the likeness")
    if auto.for_bad_faces is None:
        return Assigned(auto.usual, f"{problem}, but there is no other restorer for it")
    return Assigned(auto.for_bad_faces, problem)


def what_is_bad(crop: Crop) -> str:
    """Why a face has too little detail for a likeness, in words; empty if it has enough.

    The limits are those of 512 px crops.
    """
    real = real_side(crop)
    if real < FEWEST:
        return f"only {int(real)} real px across the crop"
    return "heavily blurred" if contrast_of_detail(grey_levels(crop.pixels)) < BLURRED else ""
