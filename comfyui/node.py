"""The node: turns its inputs into `Settings` and a pipeline, and the results into tensors."""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from comfy import model_management
from comfy.utils import ProgressBar
from comfy_api.v0_0_2 import io
from torch import Tensor

from facemend.errors import FacemendError, OptionError
from facemend.loader import AUTO, best
from facemend.records import Progress, Settings, is_whole

from . import images, models
from .networks import NETWORKS
from .schema import LARGEST_SEED, STORED_NOISE, schema

RENAMED = {"restorer": "model"}  # options of facemend whose inputs have other names here
STAGES = ("restore", "upscale", "paste")  # that report progress, in order
STEPS = 100  # of the progress bar for each stage of each picture


class FacemendRestore(io.ComfyNode):
    """Restores the faces of pictures and enlarges them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe inputs and outputs; ComfyUI asks again whenever its page is loaded."""
        return schema()

    @classmethod
    def validate_inputs(
        cls,
        model: str | None = None,
        upscaler: str | None = None,
        scale: float | None = None,
        strength: float | None = None,
        fidelity: float | None = None,
        faces: str | None = None,
        seed: int | None = None,
    ) -> bool:
        """Refuse bad values before anything is executed.

        ComfyUI leaves the inputs named here to this method. One that comes from another node is None. ComfyUI would
        show a text that is returned once for each of them, but the message of an error only once.

        Raises:
            FacemendError: a value is not allowed.
        """
        with _own_names():
            if model is not None:
                models.check("restorer", model)
            if upscaler is not None:
                models.check("upscaler", upscaler)
            _settings(scale=scale, strength=strength, fidelity=fidelity, faces=faces, seed=seed)
        return True

    @classmethod
    def fingerprint_inputs(
        cls, model: str | None = None, upscaler: str | None = None, scale: float | None = None, **_: Any
    ) -> list[str]:
        """Return the models that would be used: one may have been installed or replaced since."""
        chosen = models.resolved("restorer", model or AUTO, scale or 0)
        enlarging = models.resolved("upscaler", upscaler or AUTO, scale or 0)
        versions = filter(None, map(models.version, (chosen, enlarging)))
        return [chosen, enlarging, *versions, best("detector"), best("parser")]

    @classmethod
    def execute(
        cls,
        image: Tensor,
        model: str,
        upscaler: str,
        scale: float,
        strength: float,
        fidelity: float,
        faces: str,
        seed: int,
    ) -> io.NodeOutput:
        """Restore and enlarge a batch.

        Args:
            image: (B, H, W, C) float, 0 to 1; C is 1 (grey), 3 (RGB) or 4 (RGBA).
            model: one of `models.choices("restorer")`.
            upscaler: one of `models.choices("upscaler")`.
            scale: output size over input size, 1 to 8.
            strength: share of the restored face, 0 to 1.
            fidelity: for CodeFormer, 0 to 1.
            faces: "all", "center", "largest", "none", or indices such as "0,2".
            seed: of GFPGAN's noise, from 0; -1 for the noise stored with its weights.

        Returns:
            IMAGE (B, H * scale, W * scale, 3 or 4) float32, 0 to 1; MASK (B, H * scale, W * scale) float32, 1 on every
            face found; and JSON, a list with one object for each picture.

        Raises:
            FacemendError: a value is not allowed, a picture is too large, or a network failed.
            InterruptProcessingException: the user has stopped the execution; there is no partial result.
        """
        with _own_names():
            models.check("restorer", model)
            models.check("upscaler", upscaler)
            settings = _settings(scale=scale, strength=strength, fidelity=fidelity, faces=faces, seed=seed)
            height, width = image.shape[1:3]
            settings.check_size(height, width)
            pipeline = NETWORKS.pipeline(
                models.resolved("restorer", model, scale), models.resolved("upscaler", upscaler, scale)
            )
            size = settings.output_size(height, width)
            pictures, masks = images.empty(image, size)
            reports = []
            for index, progress in enumerate(_progress(len(image))):
                with _own_names(f"picture {index + 1} of {len(image)}: " if len(image) > 1 else ""):
                    result = pipeline.run(images.pixels(image[index]), settings, progress)
                images.fill(pictures[index], masks[index], result)
                reports.append(result.report())
        return io.NodeOutput(pictures, masks, json.dumps(reports))


def _settings(*, faces: str | None, seed: int | None, **given: float | None) -> Settings:
    """The settings of the inputs that are given; raises OptionError."""
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if faces is not None:
        values["faces"] = faces.strip() if isinstance(faces, str) else faces
    if seed is not None and not (is_whole(seed) and STORED_NOISE <= seed <= LARGEST_SEED):
        raise OptionError("seed", seed, f"a whole number from {STORED_NOISE} to 2**53 - 1")
    if seed != STORED_NOISE:
        values["seed"] = seed
    return Settings(**values)


def _progress(count: int) -> Iterator[Progress]:
    """A callback for each of `count` pictures; they move one bar, and raise if the user has stopped the execution."""
    bar = ProgressBar(count * len(STAGES) * STEPS)

    def report(index: int, stage: str, done: int, total: int) -> None:
        model_management.throw_exception_if_processing_interrupted()
        finished = index * len(STAGES) + STAGES.index(stage)
        bar.update_absolute(finished * STEPS + done * STEPS // total)

    for index in range(count):
        model_management.throw_exception_if_processing_interrupted()
        yield partial(report, index)


@contextmanager
def _own_names(about: str = "") -> Iterator[None]:
    """Give the options in errors the names of the inputs, and leave out what to do with options that are no input.

    Args:
        about: what messages begin with.
    """
    try:
        yield
    except FacemendError as error:
        raise FacemendError(about + error.message(_spelled)) from error


def _spelled(option: str) -> str | None:
    name = RENAMED.get(option, option)
    return name if name in inspect.signature(FacemendRestore.execute).parameters else None
