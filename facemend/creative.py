"""How the upscaler `creative` redraws a picture."""

from dataclasses import dataclass

from facemend.errors import OptionError
from facemend.records import is_number, is_whole

SAMPLERS = ("ddim", "euler", "euler-karras", "euler-a", "dpm++-2m", "dpm++-2m-karras")


@dataclass(frozen=True)
class Creative:
    """How the upscaler `creative` redraws a picture. The values are checked on creation.

    Attributes:
        creativity: how much may change, from 0 (nothing is redrawn) to 1: the share of the noise schedule that is run.
        resemblance: how strongly ControlNet keeps the redrawn picture to the enlarged one, 0 to 2.
        prompt: what is drawn, in words. Every tile is drawn with it, so it should name no subject.
        negative: what is to be avoided, in words.
        steps: number of steps that are run.
        guidance: how strongly the prompt counts, 0 to 30. Up to 1, `negative` is ignored and the time halves.
        sampler: a name of `SAMPLERS`.
        hdr: how much dark and bright parts are evened out first, 0 to 1.
        tile: side of a tile in px of the result, a multiple of 64 from 128 to 2048.
        guess_mode: whether ControlNet is applied without regard to the prompts.
        keep_faces: whether found faces are left out, so that people keep their likeness.
        max_cpu_mp: largest result in megapixels that is redrawn on a CPU, which takes minutes to hours for each.

    Raises:
        OptionError: a value is out of range.
    """

    creativity: float = 0.3
    resemblance: float = 1.0
    prompt: str = "sharp photo"
    negative: str = "blurry"
    steps: int = 20
    guidance: float = 4.0
    sampler: str = "dpm++-2m-karras"
    hdr: float = 0.0
    tile: int = 512
    guess_mode: bool = False
    keep_faces: bool = True
    max_cpu_mp: float = 4.0

    def __post_init__(self) -> None:
        for name, high in (("creativity", 1), ("resemblance", 2), ("guidance", 30), ("hdr", 1)):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= high:
                raise OptionError(name, value, f"a number from 0 to {high}")
        for name in ("prompt", "negative"):
            if not isinstance(getattr(self, name), str):
                raise OptionError(name, getattr(self, name), "a text")
        if not is_whole(self.steps) or not 1 <= self.steps <= 200:
            raise OptionError("steps", self.steps, "a whole number from 1 to 200")
        if self.sampler not in SAMPLERS:
            raise OptionError("sampler", self.sampler, SAMPLERS)
        if not is_whole(self.tile) or self.tile % 64 or not 128 <= self.tile <= 2048:
            raise OptionError("tile", self.tile, "a multiple of 64 from 128 to 2048")
        for name in ("guess_mode", "keep_faces"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(name, getattr(self, name), "True or False")
        if not is_number(self.max_cpu_mp) or not self.max_cpu_mp > 0:
            raise OptionError("max_cpu_mp", self.max_cpu_mp, "a number above 0")


DEFAULT_CREATIVE = Creative()
PRESETS = {  # the defaults of two other upscalers, by the names of their parts
    "controlnet-tile": Creative(  # batouresearch/high-resolution-controlnet-tile
        creativity=0.35,
        resemblance=0.85,
        prompt="",
        negative="teeth, tooth, open mouth, longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, "
        "fewer digits, cropped, worst quality, low quality, mutant",
        steps=8,
        guidance=0,
        sampler="ddim",
    ),
    "ultimate": Creative(  # fewjative/ultimate-sd-upscale, without its prompt, which is a greeting
        creativity=0.2, prompt="", negative="", steps=20, guidance=8, sampler="euler"
    ),
}
