"""The container of the upscaler `creative`: takes the calls of ControlNet tile and of Ultimate SD Upscale.

As in predict.py, every keyword of Input() is a plain literal, because Cog reads the inputs from the text of this file.
"""
# ruff: noqa: B008, E501

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

from cog import Input, Path

import predict
from facemend.container import upload
from facemend.container.names import OLD_CREATIVE, UPSCALERS, sampler, with_old_names
from facemend.creative import PRESETS
from facemend.errors import InputError, OptionError
from facemend.files.decode import decode
from facemend.loader import NONE, Loader
from facemend.machine import process
from facemend.records import DEFAULT_SETTINGS, Settings
from facemend.stages.redraw import CreativeUpscaler
from healthy import PULSE

RENAMED = {  # options of the package whose inputs have other names here
    "guidance": "guidance_scale",
    "negative": "negative_prompt",
    "scale": "upscale_by",
    "format": "output_format",
    "quality": "output_quality",
    "models": "FACEMEND_MODELS",
}
RESOLUTION = 2560  # px of the short side, the default of ControlNet tile
LARGEST_SCALE = 8


def _spelled(option: str) -> str | None:
    """Return the name of the input for an option of the package; None, if there is none."""
    inputs = inspect.signature(Predictor.run).parameters
    return RENAMED.get(option, option if option in inputs else None)


class Predictor(predict.Predictor):
    """Redraws one picture at a time. FACEMEND_MODELS names the other models, as for predict.py."""

    def setup(self) -> None:
        """Load every model once."""
        super().setup()
        with process.startup(temp_folder=self.uploads), predict.one_line_errors(_spelled):
            self.networks = Loader().diffusion()

    @predict.one_line_errors(_spelled)
    @partial(with_old_names, meanings=OLD_CREATIVE)
    def run(
        self,
        image: Path = Input(
            description="The photo: camera raw, JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC, JPEG XL, PSD, OpenEXR, Radiance HDR or TGA, up to 100 megapixels.",
        ),
        preset: str | None = Input(
            default=None,
            choices=["controlnet-tile", "ultimate"],
            description="Whose defaults the inputs have that are left out: those of ControlNet tile (creativity 0.35, resemblance 0.85, 8 steps, no guidance, 2560 px) or those of Ultimate SD Upscale (creativity 0.2, resemblance 1, 20 steps, guidance 8, twice as large). Without it, controlnet-tile; but positive_prompt, denoise, cfg, controlnet_strength and use_controlnet_tile select ultimate.",
        ),
        prompt: str | None = Input(
            default=None,
            description="What is drawn, in words. Every tile is drawn with it, so it should describe a style and no subject.",
        ),
        negative_prompt: str | None = Input(default=None, description="What is to be avoided, in words."),
        creativity: float | None = Input(
            default=None,
            ge=0,
            le=1,
            description="How much may change: 0 redraws nothing, 1 keeps only what ControlNet holds.",
        ),
        resemblance: float | None = Input(
            default=None, ge=0, le=2, description="How strongly the result is kept to the photo."
        ),
        resolution: int | None = Input(
            default=None,
            choices=[2048, 2560, 4096],
            description="The short side of the result in pixels. A photo is made at most eight times as wide and high, and never smaller.",
        ),
        upscale_by: float | None = Input(
            default=None,
            ge=1,
            le=8,
            description="How many times wider and higher the result is, instead of resolution.",
        ),
        hdr: float | None = Input(
            default=None, ge=0, le=1, description="How much dark and bright parts of the photo are evened out first."
        ),
        steps: int | None = Input(default=None, ge=1, le=200, description="How many steps are run. More take longer."),
        guidance_scale: float | None = Input(
            default=None, ge=0, le=30, description="How strongly the prompt counts. Up to 1, it takes half the time."
        ),
        scheduler: str | None = Input(
            default=None,
            choices=["DDIM", "DPMSolverMultistep", "K_EULER", "K_EULER_ANCESTRAL", "normal", "karras"],
            description="The sampler, as ControlNet tile names it; or, with sampler_name, its noise schedule: normal or karras.",
        ),
        sampler_name: str | None = Input(
            default=None,
            choices=["euler", "euler_ancestral", "dpmpp_2m", "ddim"],
            description="The sampler, as Ultimate SD Upscale names it.",
        ),
        guess_mode: bool = Input(
            default=False, description="Whether ControlNet is applied without regard to the prompt."
        ),
        seed: int | None = Input(
            default=None,
            ge=0,
            le=9007199254740991,
            description="A whole number that selects the noise. The same number always gives the same picture. Without a number it is 0.",
        ),
        upscaler: str = Input(
            default="auto",
            choices=[
                "auto",
                "realesrgan-x4plus",
                "realesrgan-x2plus",
                "realesrnet-x4plus",
                "realesrgan-x4plus-anime-6b",
                "swinir-l-x4",
                "swinir-m-x4",
                "swinir-m-x2",
                "realesr-animevideov3",
                "realesr-general-x4v3",
                "lite",
                "lanczos",
                "RealESRGAN_x4plus",
                "RealESRGAN_x4plus_anime_6B",
            ],
            description="The model that enlarges the photo before it is redrawn. auto is the best one that this server has.",
        ),
        keep_faces: bool = Input(
            default=True,
            description="Whether faces are left as they are in the enlarged photo, so that people keep their likeness.",
        ),
        face_enhance: bool = Input(default=True, description="Whether faces are restored and put into the result."),
        strip_metadata: bool = Input(
            default=False,
            description="Whether to leave out what the file says about the photo, such as its date, camera, place and caption (EXIF, XMP, IPTC, comments). If false, the result keeps it.",
        ),
        output_format: str = Input(
            default="auto",
            choices=["auto", "png", "jpg", "webp"],
            description="File format of the result. auto keeps JPEG, PNG, WebP and TIFF where they can hold the result. A format that cannot hold the result is an error: jpg holds no transparency and no 16 bits per channel, webp no 16 bits and no side over 16383 pixels.",
        ),
        output_quality: int = Input(default=95, ge=1, le=100, description="Quality of a JPEG or WebP result."),
        positive_prompt: str | None = Input(
            default=None, deprecated=True, description="What prompt is called by Ultimate SD Upscale."
        ),
        denoise: float | None = Input(
            default=None, ge=0, le=1, deprecated=True, description="What creativity is called by Ultimate SD Upscale."
        ),
        cfg: float | None = Input(
            default=None,
            ge=0,
            le=30,
            deprecated=True,
            description="What guidance_scale is called by Ultimate SD Upscale.",
        ),
        controlnet_strength: float | None = Input(
            default=None, ge=0, le=2, deprecated=True, description="What resemblance is called by Ultimate SD Upscale."
        ),
        use_controlnet_tile: bool | None = Input(
            default=None, deprecated=True, description="An input of Ultimate SD Upscale: false is resemblance 0."
        ),
        tile_size: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: tiles are 512 pixels."
        ),
        tile_width: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: tiles are 512 pixels."
        ),
        tile_height: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: tiles are 512 pixels."
        ),
        tile_padding: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: tiles share 128 pixels."
        ),
        mask_blur: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: tiles share one picture."
        ),
        mode_type: str | None = Input(
            default=None, deprecated=True, description="Accepted and not used: the order of tiles has no influence."
        ),
        seam_fix_mode: str | None = Input(
            default=None, deprecated=True, description="Accepted and not used: there are no seams to repair."
        ),
        seam_fix_denoise: float | None = Input(
            default=None, deprecated=True, description="Accepted and not used: there are no seams to repair."
        ),
        seam_fix_width: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: there are no seams to repair."
        ),
        seam_fix_mask_blur: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: there are no seams to repair."
        ),
        seam_fix_padding: int | None = Input(
            default=None, deprecated=True, description="Accepted and not used: there are no seams to repair."
        ),
        force_uniform_tiles: bool | None = Input(
            default=None, deprecated=True, description="Accepted and not used: all tiles have one size."
        ),
        lora_sharpness_strength: float | None = Input(
            default=None, deprecated=True, description="Accepted and not used: no LoRA is loaded."
        ),
        lora_details_strength: float | None = Input(
            default=None, deprecated=True, description="Accepted and not used: no LoRA is loaded."
        ),
    ) -> Path:
        """Enlarge one picture and redraw it."""
        PULSE.touch()
        self._tidy(image)
        name = preset or "controlnet-tile"
        given: dict[str, Any] = {
            "prompt": prompt,
            "negative": negative_prompt,
            "creativity": creativity,
            "resemblance": resemblance,
            "hdr": hdr,
            "steps": None if steps is None else int(steps),
            "guidance": guidance_scale,
            "sampler": sampler(scheduler, sampler_name),
            "guess_mode": guess_mode,
            "keep_faces": keep_faces,
        }
        creative = replace(PRESETS[name], **{option: value for option, value in given.items() if value is not None})
        if resolution and upscale_by:
            raise InputError(f"resolution is {resolution}, but must be left out where upscale_by is {upscale_by:g}")
        if creative.keep_faces and self.models.detector is None:
            raise OptionError("keep_faces", True, "false on this server, which has no detector")
        source = upload.source(image, self.uploads)
        scale = upscale_by or (2 if name == "ultimate" and not resolution else _scale(source, resolution or RESOLUTION))
        first = UPSCALERS.get(upscaler, upscaler)
        pipeline = self.models.pipeline("auto" if face_enhance else NONE, first, scale)
        pipeline.upscaler = CreativeUpscaler(self.networks, pipeline.upscaler, creative)
        settings = Settings(
            scale=scale, seed=None if seed is None else int(seed), faces="all" if face_enhance else "none"
        )
        return self.done(source, pipeline, settings, output_format, output_quality, strip_metadata)


def _scale(source: Path | bytes, resolution: int) -> float:
    """The scale with which the short side of a picture gets this number of px."""
    height, width = decode(source, DEFAULT_SETTINGS, "the image").pixels.shape[:2]
    return float(min(max(resolution / min(height, width), 1), LARGEST_SCALE))
