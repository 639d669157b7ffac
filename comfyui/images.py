"""IMAGE and MASK, the tensors of ComfyUI, from and to the arrays of facemend."""

import numpy as np
import torch
from torch import Tensor

from facemend.draw import draw_faces
from facemend.errors import InputError
from facemend.records import Pixels, Size
from facemend.result import Result

WHITE = 65535  # 16 bits keep every level that a float picture may have come from


def pixels(picture: Tensor) -> Pixels:
    """Convert one picture of an IMAGE.

    Args:
        picture: (H, W, C) float, 0 to 1, on any device; what lies outside that range is clamped. C is 1 (grey), 3 (RGB)
            or 4 (RGBA).

    Returns:
        (H, W) or (H, W, C) uint16.

    Raises:
        InputError: it has another number of channels, or holds NaN or infinity.
    """
    channels = picture.shape[-1]
    if channels not in (1, 3, 4):
        raise InputError(f"image has {channels} channels", "give one with 1, 3 or 4")
    values = picture.detach().to("cpu", torch.float32)
    if not values.isfinite().all():
        raise InputError("image holds NaN or infinity", "check the node that made it")
    levels = (values.clamp(0, 1) * WHITE).round_().to(torch.int32).numpy().astype(np.uint16)
    return levels[..., 0] if channels == 1 else levels


def empty(image: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Allocate the results for a batch.

    Args:
        image: (B, H, W, C).
        size: (height, width) of the results in px.

    Returns:
        An IMAGE (B, height, width, 3), or 4 channels where `image` has 4, and a MASK (B, height, width); float32, on
        the CPU, where ComfyUI keeps them.
    """
    return torch.empty(len(image), *size, max(image.shape[-1], 3)), torch.zeros(len(image), *size)


def fill(picture: Tensor, mask: Tensor, result: Result) -> None:
    """Write a result into its place in a batch: an IMAGE (H, W, 3) or (H, W, 4), and a MASK (H, W); both float32."""
    picture[..., :3].copy_(torch.from_numpy(result.pixels)).div_(WHITE)
    if result.picture.alpha is not None:
        picture[..., 3].copy_(torch.from_numpy(result.picture.alpha)).div_(WHITE)
    draw_faces(mask.numpy(), result.before, result.faces)
