"""Inputs of other models on Replicate and fal, in terms of the inputs of predict.py and predict_creative.py.

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
Meanings = Mapping[str, Callable[[Any], Inputs]]  # input of another model: what its value means here
VERSIONS = {  # of tencentarc/gfpgan: the model here
    "v1.2": "gfpgan-v1.2",
    "v1.3": "gfpgan-v1.3",
    "v1.4": "gfpgan-v1.4",
    "RestoreFormer": "restoreformer",
}
OLD: Meanings = {
    "scale": lambda factor: {"upscale": factor},  # tencentarc/gfpgan, nightmareai/real-esrgan
    "upscaling": lambda factor: {"upscale": factor},  # fal-ai/codeformer
    "version": lambda name: {"model": VERSIONS[name]},  # tencentarc/gfpgan
    "codeformer_fidelity": lambda share: {"model": "codeformer", "fidelity": share},  # sczhou/codeformer
    "background_enhance": lambda wanted: {"upscaler": AUTO if wanted else LANCZOS},  # sczhou/codeformer
}

SAMPLERS = {  # of batouresearch/high-resolution-controlnet-tile: the sampler here
    "DDIM": "ddim",
    "DPMSolverMultistep": "dpm++-2m",
    "K_EULER": "euler",
    "K_EULER_ANCESTRAL": "euler-a",
}
UPSCALERS = {"RealESRGAN_x4plus": "realesrgan-x4plus", "RealESRGAN_x4plus_anime_6B": "realesrgan-x4plus-anime-6b"}
SAMPLER_NAMES = {"euler": "euler", "euler_ancestral": "euler-a", "dpmpp_2m": "dpm++-2m", "ddim": "ddim"}  # of ComfyUI
NOT_USED = (  # there is one grid for all tiles and no seam to repair; and no LoRA
    "tile_size",
    "tile_width",
    "tile_height",
    "tile_padding",
    "mask_blur",
    "mode_type",
    "seam_fix_mode",
    "seam_fix_denoise",
    "seam_fix_width",
    "seam_fix_mask_blur",
    "seam_fix_padding",
    "force_uniform_tiles",
    "lora_sharpness_strength",
    "lora_details_strength",
)


def _ultimate(**meaning: Any) -> Inputs:
    return {"preset": "ultimate", **meaning}


OLD_CREATIVE: Meanings = {  # inputs of fewjative/ultimate-sd-upscale
    "positive_prompt": lambda text: _ultimate(prompt=text),
    "denoise": lambda share: _ultimate(creativity=share),
    "cfg": lambda scale: _ultimate(guidance_scale=scale),
    "controlnet_strength": lambda strength: _ultimate(resemblance=strength),
    "use_controlnet_tile": lambda used: _ultimate() if used else _ultimate(resemblance=0),
    **{name: lambda value: {} for name in NOT_USED},
}
SWITCHES = {"use_controlnet_tile": "controlnet_strength"}  # where the first is false, the second means nothing


def sampler(scheduler: str | None, name: str | None) -> str | None:
    """Return the sampler for the inputs `scheduler` and `sampler_name`, which mean different things to the two models.

    Raises:
        InputError: the two do not go together.
    """
    if name is None:
        if scheduler in ("normal", "karras"):
            raise InputError(f"scheduler is {scheduler!r}, which needs a sampler_name")
        return SAMPLERS[scheduler] if scheduler else None
    if scheduler in SAMPLERS:
        raise InputError(f"scheduler is {scheduler!r}, but must be left out where sampler_name is {name!r}")
    if scheduler == "karras":
        if name not in ("euler", "dpmpp_2m"):
            raise InputError(f"scheduler is 'karras', but must be 'normal' where sampler_name is {name!r}")
        return f"{SAMPLER_NAMES[name]}-karras"
    return SAMPLER_NAMES[name]


def translated(given: Inputs, meanings: Meanings = OLD) -> dict[str, Any]:
    """Return the inputs of a call with each old name replaced by what it means.

    Args:
        given: the inputs that the call has. Defaults must not be among them, because they never contradict an old name.
        meanings: the old names.

    Raises:
        InputError: an old name and another input of the call ask for different things.
    """
    inputs = {name: value for name, value in given.items() if name not in meanings}
    switched_off = {name for switch, name in SWITCHES.items() if given.get(switch) is False}
    for old in meanings:
        if given.get(old) is None or old in switched_off:
            continue
        for name, value in meanings[old](given[old]).items():
            if inputs.setdefault(name, value) != value:
                raise InputError(f"{old} is {given[old]!r}, but must be left out where {name} is {inputs[name]!r}")
    return inputs


def with_old_names(run: Callable[..., Any], meanings: Meanings = OLD) -> Callable[..., Any]:
    """Decorate the `run` of a predictor: it gets current inputs in place of old ones, and its own defaults."""
    defaults = {
        name: parameter.default.default
        for name, parameter in inspect.signature(run).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }

    @wraps(run)
    def call(self: Any, **given: Any) -> Any:
        return run(self, **defaults | translated(given, meanings))

    return call
