"""Stable Diffusion with ControlNet, as diffusers builds them: https://github.com/huggingface/diffusers (Apache-2.0).

This is the only file that imports diffusers, and it does so when networks are loaded. Files are read from this machine
only, and prompts do not leave it.
"""

import importlib.util
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facemend.creative import Creative
from facemend.errors import OptionError, WeightsError
from facemend.extras import install_remedy
from facemend.machine import memory
from facemend.machine.device import Device
from facemend.machine.network import convolutions
from facemend.weights.hub import EXTRA, Places, missing_extra

log = logging.getLogger(__name__)

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {  # name: a scheduler of diffusers, and changes of its configuration
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++-2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++-2m-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
}
# Of the ways to choose the timesteps of a schedule, this one starts from pure noise with any number of steps, and has
# no step twice (Lin et al. 2023, arXiv 2305.08891).
SPACING = {"timestep_spacing": "trailing"}
SHOWN = 60  # characters of a prompt in a message
CELL = 8  # px of the picture on each side of a value of the latent


class Diffusion:
    """The networks: a VAE between pictures and latents, a text encoder, and a UNet with a ControlNet.

    Args:
        name: of the base, for messages.
        pipeline: diffusers' StableDiffusionPipeline.
        control: diffusers' ControlNetModel.
        device: where the UNet and the ControlNet run, and their precision. The VAE, which overflows in float16, and the
            text encoder run in float32.
    """

    def __init__(self, name: str, pipeline: Any, control: Any, device: Device) -> None:
        self.name = name
        self.device = device
        self._pipeline = pipeline
        self._vae = pipeline.vae.to(device.place, torch.float32).eval()
        self._unet = pipeline.unet.to(device.place, device.dtype).eval()
        self._control = control.to(device.place, device.dtype).eval()
        pipeline.text_encoder.to(device.place, torch.float32).eval()
        self._tokenizing = threading.Lock()  # held while the tokenizer works, whose options change from call to call
        self._one_at_a_time = False  # whether the two predictions of guidance are computed one after the other

    def check(self, creative: Creative) -> None:
        """Check the prompts.

        Raises:
            OptionError: one is too long; diffusers would leave out its end.
        """
        tokenizer = self._pipeline.tokenizer
        most = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        for name in ("prompt", "negative") if creative.guidance > 1 else ("prompt",):
            text = getattr(creative, name)
            with self._tokenizing:
                count = len(tokenizer.tokenize(text))
            if count > most:
                allowed = f"at most {most} tokens, which are words or parts of words; it has {count}"
                raise OptionError(name, text if len(text) <= SHOWN else f"{text[:SHOWN]}...", allowed)

    @torch.inference_mode()
    def texts(self, creative: Creative) -> Tensor:
        """Return the embeddings of the prompts, (N, L, D): the negative one first, or only one without guidance."""
        guided = creative.guidance > 1 and (creative.guess_mode or creative.prompt != creative.negative)
        with self._tokenizing:
            encoded = self._pipeline.encode_prompt(creative.prompt, self.device.place, 1, guided, creative.negative)
        return torch.cat([encoded[1], encoded[0]] if guided else [encoded[0]]).to(self.device.dtype)

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """Return the mean of the latent of a picture.

        Args:
            image: (1, 3, h, w) RGB in [0, 1], on the device; the sides are multiples of 8.

        Returns:
            (1, 4, h / 8, w / 8) float32, on the device.
        """
        config = self._vae.config
        with self._convolutions():
            mean = self._vae.encode(2 * image - 1).latent_dist.mode()
        latent: Tensor = (mean - (config.shift_factor or 0)) * config.scaling_factor
        return latent

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """Return the picture of a latent, the reverse of `encode`; not clamped."""
        config = self._vae.config
        latent = latent.to(self.device.place) / config.scaling_factor + (config.shift_factor or 0)
        with self._convolutions():
            image: Tensor = self._vae.decode(latent).sample
        return image / 2 + 0.5

    @torch.inference_mode()
    def predict(self, x: Tensor, t: Tensor, hint: Tensor, texts: Tensor, creative: Creative) -> Tensor:
        """Return what the networks predict, which is the noise in a latent for most bases.

        Args:
            x: (1, 4, h, w), the latent with noise, scaled as the sampler wants it.
            t: the timestep.
            hint: (1, 3, 8 * h, 8 * w) RGB in [0, 1], what the picture shall look like.
            texts: of `texts`.
            creative: `resemblance`, `guidance` and `guess_mode` count.

        Returns:
            (1, 4, h, w) float32, on the device.
        """
        x, hint = (tensor.to(self.device.place, self.device.dtype) for tensor in (x, hint))
        with self._convolutions():
            if len(texts) == 1:
                return self._predicted(x, t, hint, texts, creative).float()
            if not self._one_at_a_time:
                try:
                    both = self._predicted(x, t, hint, texts, creative)
                    return _guided(both[:1], both[1:], creative.guidance)
                except Exception as error:
                    if not memory.exhausted(error):
                        raise
                    self._one_at_a_time = True
                    log.warning("%s ran out of memory; guidance is computed one prompt after the other", self.name)
            freely = None if creative.guess_mode else hint
            without = self._predicted(x, t, freely, texts[:1], creative)
            return _guided(without, self._predicted(x, t, hint, texts[1:], creative), creative.guidance)

    def _predicted(self, x: Tensor, t: Tensor, hint: Tensor | None, texts: Tensor, creative: Creative) -> Tensor:
        """What the networks predict for each text, (N, 4, h, w); without a hint ControlNet is left out."""
        count = len(texts)
        down, middle = None, None
        if hint is not None and creative.resemblance:
            controlled = 1 if creative.guess_mode else count  # the others are predicted freely
            down, middle = self._control(
                torch.cat([x] * controlled),
                t,
                encoder_hidden_states=texts[count - controlled :],
                controlnet_cond=torch.cat([hint] * controlled),
                conditioning_scale=creative.resemblance,
                guess_mode=creative.guess_mode,
                return_dict=False,
            )
            if controlled < count:
                down = [torch.cat([torch.zeros_like(part), part]) for part in down]
                middle = torch.cat([torch.zeros_like(middle), middle])
        predicted: Tensor = self._unet(
            torch.cat([x] * count),
            t,
            encoder_hidden_states=texts,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return predicted

    def _convolutions(self) -> AbstractContextManager[None]:
        return convolutions(self.device.place, tf32=self.device.tf32, benchmark=False)

    def sampler(self, name: str, steps: int) -> Any:
        """Return a scheduler of diffusers with a schedule from pure noise to none in this number of steps."""
        import diffusers

        kind, changes = SAMPLERS[name]
        scheduler = getattr(diffusers, kind).from_config(self._pipeline.scheduler.config, **SPACING, **changes)
        scheduler.set_timesteps(steps)
        return scheduler


def _guided(without: Tensor, with_prompt: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598)."""
    without, with_prompt = without.float(), with_prompt.float()
    return without + guidance * (with_prompt - without)


def check_extra() -> None:
    """Raise WeightsError if the extra is not installed. Nothing is imported, which would take seconds."""
    if not all(map(importlib.util.find_spec, ("diffusers", "transformers"))):
        raise missing_extra()


def load(places: Places, device: Device) -> Diffusion:
    """Load the networks from files.

    Args:
        places: where the files are.
        device: where the networks run.

    Raises:
        WeightsError: the extra is not installed, or a file cannot be read or holds other networks.
        MemoryLimitError: the networks do not fit into the memory.
    """
    with _quiet():
        try:
            pipeline = _pipeline(places)
            name = places.base.stem if places.base.is_file() else places.base.name
            return Diffusion(name, pipeline, _control(places.control, pipeline.unet, device), device)
        except Exception as error:  # a file of other networks may raise anything
            if memory.exhausted(error):
                raise memory.does_not_fit(str(places.base), device.place) from error
            reason = " ".join(str(error).split())[:200]
            problem = f"cannot load {places.base} with {places.control} ({type(error).__name__}: {reason})"
            raise WeightsError(problem, "give files of Stable Diffusion 1.5 and a ControlNet for it") from error


def _pipeline(places: Places) -> Any:
    from diffusers import StableDiffusionPipeline

    # Not yet in the precision of the device, which would round the parts that stay in float32.
    options = {"dtype": torch.float32, "local_files_only": True, "safety_checker": None, "feature_extractor": None}
    options["requires_safety_checker"] = False
    if places.base.is_file():
        return StableDiffusionPipeline.from_single_file(str(places.base), config=str(places.texts), **options)
    half = any(places.base.glob("unet/*.fp16.safetensors"))
    return StableDiffusionPipeline.from_pretrained(
        places.base, use_safetensors=True, variant="fp16" if half else None, **options
    )


def _control(control: Path, unet: Any, device: Device) -> Any:
    from diffusers import ControlNetModel

    options = {"dtype": device.dtype, "local_files_only": True}
    if control.is_dir():
        return ControlNetModel.from_pretrained(control, use_safetensors=True, **options)
    with tempfile.TemporaryDirectory() as folder:  # without a configuration, diffusers would go online
        ControlNetModel.from_unet(unet, load_weights_from_unet=False).save_config(folder)
        return ControlNetModel.from_single_file(str(control), config=folder, **options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Import the packages and read files without their progress bars and warnings, which go to stderr."""
    try:
        import transformers.utils.logging as first

        verbosity = first.get_verbosity()
        first.set_verbosity_error()  # before diffusers imports the parts that warn
        import diffusers.utils.logging as second
    except ModuleNotFoundError as error:
        raise missing_extra() from error
    except Exception as error:  # such as packages whose versions do not fit each other
        problem = f"diffusers cannot be imported ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        raise WeightsError(problem, install_remedy(EXTRA)) from error
    before = (first, verbosity, first.is_progress_bar_enabled()), (
        second, second.get_verbosity(), second.is_progress_bar_enabled(),
    )  # fmt: skip
    second.set_verbosity_error()
    for package, _, _ in before:
        package.disable_progress_bar()
    try:
        yield
    finally:
        for package, level, bars in before:
            package.set_verbosity(level)
            if bars:
                package.enable_progress_bar()
