"""Inputs of other restoration models on Replicate and fal, in terms of the inputs of predict.py.

Cog ignores inputs that it does not know. A call written for another model would then succeed with another result.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from facemend.collection import LANCZOS
from facemend.errors import InputError
from facemend.loader import AUTO

Inputs = Mapping[str, Any]
VERSIONS = {  # of tencentarc/gfpgan: the model here
    "v1.2": "gfpgan-v1.2",
    "v1.3": "gfpgan-v1.3",
    "v1.4": "gfpgan-v1.4",
    "RestoreFormer": "restoreformer",
}
OLD: Mapping[str, Callable[[Any], Inputs]] = {  # input of another model: what its value means here
    "scale": lambda factor: {"upscale": factor},  # tencentarc/gfpgan, nightmareai/real-esrgan
    "upscaling": lambda factor: {"upscale": factor},  # fal-ai/codeformer
    "version": lambda name: {"model": VERSIONS[name]},  # tencentarc/gfpgan
    "codeformer_fidelity": lambda share: {"model": "codeformer", "fidelity": share},  # sczhou/codeformer
    "background_enhance": lambda wanted: {"upscaler": AUTO if wanted else LANCZOS},  # sczhou/codeformer
}


def translated(given: Inputs) -> dict[str, Any]:
    """Return the inputs of a call with each old name replaced by what it means.

    Args:
        given: the inputs that the call has. Defaults must not be among them, because they never contradict an old name.

    Raises:
        InputError: an old name and another input of the call ask for different things.
    """
    inputs = {name: value for name, value in given.items() if name not in OLD}
    for old in OLD:
        if given.get(old) is None:
            continue
        for name, value in OLD[old](given[old]).items():
            if inputs.setdefault(name, value) != value:
                raise InputError(f"{old} is {given[old]!r}, but must be left out where {name} is {inputs[name]!r}")
    return inputs


def with_old_names(run: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the `run` of a predictor: it gets current inputs in place of old ones, and its own defaults."""
    defaults = {
        name: parameter.default.default
        for name, parameter in inspect.signature(run).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }

    @wraps(run)
    def call(self: Any, **given: Any) -> Any:
        return run(self, **defaults | translated(given))

    return call
