"""What the node shows in ComfyUI: its inputs and outputs."""

from typing import Any

from comfy_api.v0_0_2 import io

from facemend.loader import AUTO

from . import models

STORED_NOISE = -1  # the seed that leaves GFPGAN the noise stored with its weights
LARGEST_SEED = 2**53 - 1  # the largest whole number up to which JavaScript, so ComfyUI's page, has every one


def schema() -> io.Schema:
    """Describe the node, with the models that are installed now.

    Raises:
        WeightsError: a folder of facemend's cannot be searched.
    """
    return io.Schema(
        node_id="FacemendRestore",
        display_name="Restore Faces and Upscale (facemend)",
        category="image/upscaling",
        description="Restores faces in old, blurry or AI-made pictures, and enlarges the whole picture.",
        inputs=[
            io.Image.Input("image", tooltip="One picture or a batch. A fourth channel is taken for transparency."),
            io.Combo.Input(
                "model",
                options=models.choices("restorer"),
                default=AUTO,
                tooltip="The network that restores the faces. auto takes the best that is installed; none leaves faces "
                "as they are. Files are those in models/facerestore_models.",
            ),
            io.Combo.Input(
                "upscaler",
                options=models.choices("upscaler"),
                default=AUTO,
                tooltip="The network that enlarges the rest of the picture. auto takes the best for the scale that is "
                "installed; lanczos is a filter that adds no detail. Files are those in models/upscale_models.",
            ),
            io.Float.Input(
                "scale",
                default=2.0,
                min=1.0,
                max=8.0,
                step=0.25,
                round=False,  # any number, not only multiples of the step
                tooltip="How many times wider and higher the result is. 1 keeps the size.",
            ),
            _share(
                "strength", 1.0, "How strongly faces are restored: 0 keeps the enlarged original, 1 the restored face."
            ),
            _share(
                "fidelity", 0.5, "Only for codeformer: 0 gives the best-looking face, 1 the face most like the picture."
            ),
            io.String.Input(
                "faces",
                default="all",
                tooltip="Which faces to restore: all, center, largest, none, or their numbers from left to right, from "
                "0, such as 0,2.",
            ),
            io.Int.Input(
                "seed",
                default=STORED_NOISE,
                min=STORED_NOISE,
                max=LARGEST_SEED,
                control_after_generate=False,  # else ComfyUI draws another number after each execution
                tooltip="Only for GFPGAN: a number changes fine detail such as skin and hair. -1 uses the noise stored "
                "in the model.",
            ),
        ],
        outputs=[
            io.Image.Output("result", display_name="image", tooltip="The restored and enlarged pictures."),
            io.Mask.Output("face_mask", display_name="face mask", tooltip="1 on every face found, else 0."),
            io.String.Output(
                "report", display_name="JSON", tooltip="For each picture its size, models, faces and seconds."
            ),
        ],
    )


def _share(name: str, default: float, tooltip: str) -> Any:
    """An input from 0 to 1."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, round=False, tooltip=tooltip)
