"""What is done to each face of a picture."""

from dataclasses import dataclass

from facemend.records import Crop, Face, Pixels, Settings
from facemend.stages import adapt
from facemend.stages.assign import Assigned


@dataclass(frozen=True, eq=False)
class Treatment:
    """How a face is restored.

    Attributes:
        face: as it was found.
        crop: its px before restoration.
        assigned: its restorer.
        share: of the restored face in the output, above 0 to 1.
    """

    face: Face
    crop: Crop
    assigned: Assigned
    share: float

    @property
    def outcome(self) -> Face:
        """The face, marked as restored."""
        return self.face.done(self.assigned.restorer.name, self.share, self.assigned.reason)


def share(crop: Crop, pixels: Pixels, settings: Settings) -> float:
    """How much of a restored face to use, 0 to 1; `pixels` are those of the picture."""
    return settings.strength * (adapt.share(crop, pixels) if settings.adaptive and settings.strength else 1.0)
