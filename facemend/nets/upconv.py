"""Doubling the size and a 3x3 convolution, as one operation.

The restorers spend most of their time on `conv3x3(enlarge(x))` at the largest sizes. Enlarging repeats values, so most
of those products are computed more than once. With nearest neighbours, each output pixel sees only 2x2 different input
pixels, and a transposed convolution with a 4x4 kernel gives the same numbers from 4 products per pixel in place of 9.
Bilinear doubling is nearest doubling followed by a [1 2 1] blur, and a blur commutes with a convolution, so it costs
the same plus the blur.

Both functions equal the plain form up to rounding, in any memory format; channels_last is the fast one on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

WORTHWHILE = 64  # px of input height; below it the plain form is faster, measured on a CPU with 512 channels


def nearest_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, reflect: bool = False) -> Tensor:
    """Nearest-neighbour doubling, then a 3x3 convolution.

    Args:
        x: (N, I, H, W).
        weight: (O, I, 3, 3), as a plain convolution has it.
        bias: (O,) or None.
        reflect: whether the convolution is padded by reflection, else with zeros.

    Returns:
        (N, O, 2H, 2W).
    """
    if reflect:  # of the doubled image by one pixel, which is a pixel of the image itself: its edge, repeated
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")  # (N, I, H+2, W+2)
        return F.conv_transpose2d(x, _doubling_kernel(weight), bias, stride=2, padding=3)
    if x.shape[2] < WORTHWHILE:
        return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
    return F.conv_transpose2d(x, _doubling_kernel(weight), bias, stride=2, padding=1)


def bilinear_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Bilinear doubling (align_corners=False), then a zero-padded 3x3 convolution.

    Args:
        x: (N, I, H, W), H and W at least 2.
        weight: (O, I, 3, 3), as a plain convolution has it.
        bias: (O,) or None.

    Returns:
        (N, O, 2H, 2W).
    """
    if x.shape[2] < WORTHWHILE:
        return _plain_bilinear_conv(x, weight, bias)
    out = F.conv_transpose2d(x, _doubling_kernel(weight), stride=2)  # (N, O, 2H+2, 2W+2)
    out = _blur(out, bias)  # (N, O, 2H, 2W)
    # Blur and convolution do not commute at the border, where one repeats the edge and the other pads with zeros.
    out[:, :, :2] = _plain_bilinear_conv(x[:, :, :2], weight, bias)[:, :, :2]
    out[:, :, -2:] = _plain_bilinear_conv(x[:, :, -2:], weight, bias)[:, :, -2:]
    out[:, :, :, :2] = _plain_bilinear_conv(x[:, :, :, :2], weight, bias)[:, :, :, :2]
    out[:, :, :, -2:] = _plain_bilinear_conv(x[:, :, :, -2:], weight, bias)[:, :, :, -2:]
    return out


def _plain_bilinear_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return F.conv2d(x, weight, bias, padding=1)


def _doubling_kernel(weight: Tensor) -> Tensor:
    """The (I, O, 4, 4) kernel of the transposed convolution: `weight` flipped and convolved with a 2x2 box."""
    top, middle, bottom = weight.unbind(2)
    rows = torch.stack((bottom, middle + bottom, top + middle, top), dim=2)
    left, middle, right = rows.unbind(3)
    kernel = torch.stack((right, middle + right, left + middle, left), dim=3)
    return kernel.transpose(0, 1)


def _blur(x: Tensor, bias: Tensor | None) -> Tensor:
    """[1 2 1] / 4 in both directions, without padding: two pixels smaller each way."""
    channels = x.shape[1]
    # Computed on the device: copying a constant there would stall a GPU's queue and cannot be captured in a graph.
    ramp = 2 - (torch.arange(3, device=x.device, dtype=x.dtype) - 1).abs()
    kernel = torch.outer(ramp, ramp) / 16
    return F.conv2d(x, kernel.expand(channels, 1, 3, 3), bias, groups=channels)
