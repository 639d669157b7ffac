"""Files of network weights: which models there are, where their files lie, how they are fetched and read.

`MODELS` is the table. `load` and `blend` need torch, which is imported when one of them is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from facemend.weights.models import MODELS

if TYPE_CHECKING:
    from facemend.weights.checkpoint import blend, load

__all__ = ["MODELS", "blend", "load"]


def __getattr__(name: str) -> object:
    if name in ("blend", "load"):
        return getattr(import_module("facemend.weights.checkpoint"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
