"""Restore faces in old, blurry or AI-made photos and enlarge pictures.

Importing this package does no work: torch is imported when `Pipeline` or `weights` is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from facemend.errors import Cancelled, FacemendError, InputError, MemoryLimitError, WeightsError
from facemend.records import Face, Landmarks, Settings

if TYPE_CHECKING:
    from facemend.pipeline import Pipeline
    from facemend.result import Result

    from . import weights as weights

__version__ = "0.1.0"
__all__ = [
    "Cancelled",
    "Face",
    "FacemendError",
    "InputError",
    "Landmarks",
    "MemoryLimitError",
    "Pipeline",
    "Result",
    "Settings",
    "WeightsError",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # type checkers would accept every name

    def __getattr__(name: str) -> object:
        if name == "Pipeline":
            return import_module("facemend.pipeline").Pipeline
        if name == "Result":
            return import_module("facemend.result").Result
        if name == "weights":
            return import_module("facemend.weights")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
