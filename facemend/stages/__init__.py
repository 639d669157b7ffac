"""The stages of the pipeline, and what each of them is to the pipeline.

A stage is any object with the attributes and the call of its Protocol here. Calls do not affect each other's results,
and one stage may be called from several threads at once.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from facemend.records import Face, Floats, Pixels, Settings, Size, StageProgress


class Repairer(Protocol):
    """Finds and fills scratches, dust, creases and cracks."""

    @property
    def name(self) -> str:
        """The model's name."""

    def __call__(self, pixels: Pixels, progress: StageProgress | None = None) -> tuple[Pixels, Floats]:
        """Repair a picture.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16; it is not written to.
            progress: called with the number of tiles done, and of all.

        Returns:
            The repaired picture, in new memory, and (H, W) how much of the repair is in each px, in [0, 1]. Where that
            is 0, the picture is unchanged.

        Raises:
            NonFiniteError: the network computed NaN or infinity.
            MemoryLimitError: the smallest tile does not fit into the device's memory.
        """


class Detector(Protocol):
    """Finds faces."""

    @property
    def name(self) -> str:
        """The model's name."""

    def __call__(self, pixels: Pixels, settings: Settings = ...) -> list[Face]:
        """Find the faces of a picture.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16.
            settings: `sensitivity` and `min_face` say which faces count.

        Returns:
            The faces from left to right (then top to bottom), boxes and landmarks in px of `pixels`.
        """


class Restorer(Protocol):
    """Restores aligned faces."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def face_size(self) -> int:
        """Side of the crops it takes and gives, in px."""

    def __call__(
        self, crops: Sequence[Pixels], settings: Settings = ..., progress: StageProgress | None = None
    ) -> list[Pixels]:
        """Restore faces.

        Args:
            crops: (S, S, 3) RGB each, uint8 or uint16, S being `face_size`.
            settings: `fidelity` and `seed` are for the networks that know them.
            progress: called with the number of faces done, and of all.

        Returns:
            As many faces, of the same size and dtype.

        Raises:
            NonFiniteError: the network computed NaN or infinity.
            MemoryLimitError: one face does not fit into the device's memory.
            FacemendError: a function of the caller's returned something else than faces.
        """


class Upscaler(Protocol):
    """Enlarges pictures."""

    @property
    def name(self) -> str:
        """The model's name."""

    def __call__(
        self, pixels: Pixels, size: Size, settings: Settings = ..., progress: StageProgress | None = None
    ) -> Pixels:
        """Enlarge a picture.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16; it is not written to.
            size: (height, width) of the result in px, any.
            settings: `denoise` is for the networks that know it.
            progress: called with the number of tiles done, and of all.

        Returns:
            (*size, 3) RGB of the dtype of `pixels`, in new memory.

        Raises:
            NonFiniteError: the network computed NaN or infinity.
            MemoryLimitError: the smallest tile does not fit into the device's memory.
            FacemendError: a function of the caller's returned something else than an enlarged picture.
        """


class Parser(Protocol):
    """Tells the face from the rest of a crop."""

    @property
    def name(self) -> str:
        """The model's name."""

    def __call__(self, faces: Sequence[Pixels]) -> Iterable[Floats]:
        """Mask faces.

        Args:
            faces: (512, 512, 3) RGB each, uint8 or uint16.

        Returns:
            For each face, (512, 512) float32 in [0, 1] with soft edges, 1 where the face is. It may be an iterator that
            computes the masks as they are needed.
        """
