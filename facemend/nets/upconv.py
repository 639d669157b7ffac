"""Upsampling by 2 and a 3x3 convolution, as one operation.

The restorers spend most of their time on `conv3x3(upsample(x))` at the largest sizes. After nearest-neighbour
upsampling, each output pixel depends on only 2x2 different input pixels. A transposed convolution with a 4x4 kernel
gives the same result with 4 products per output pixel in place of 9. Bilinear upsampling is nearest-neighbour
upsampling followed by a [1 2 1] blur. The blur commutes with the convolution, so it can follow the transposed
convolution.

Both functions equal the plain form up to rounding, in any memory format. On a CPU, channels_last is the fastest.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

WORTHWHILE = 64  # px of input height; below it the plain form is faster (measured on a CPU with 512 channels)


def nearest_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, reflect: bool = False) -> Tensor:
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution.

    Args:
        x: (N, I, H, W).
        weight: (O, I, 3, 3), as in `conv2d`.
        bias: (O,) or None.
        reflect: whether the padding is by reflection; if not, it is with zeros.

    Returns:
        (N, O, 2H, 2W).
    """
    if reflect:  # reflecting the upsampled image by one pixel repeats the edge of `x`
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")  # (N, I, H+2, W+2)
        return F.conv_transpose2d(x, _doubling_kernel(weight), bias, stride=2, padding=3)
    if x.shape[2] < WORTHWHILE:
        return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
    return F.conv_transpose2d(x, _doubling_kernel(weight), bias, stride=2, padding=1)


def bilinear_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Bilinear upsampling by 2 (align_corners=False), then a zero-padded 3x3 convolution.

    Args:
        x: (N, I, H, W), H and W at least 2.
        weight: (O, I, 3, 3), as in `conv2d`.
        bias: (O,) or None.

    Returns:
        (N, O, 2H, 2W).
    """
    if x.shape[2] < WORTHWHILE:
        return _plain_bilinear_conv(x, weight, bias)
    out = F.conv_transpose2d(x, _doubling_kernel(weight), stride=2)  # (N, O, 2H+2, 2W+2)
    out = _blur(out, bias)  # (N, O, 2H, 2W)
    # At the border they do not commute: the upsampling repeats the edge, the convolution pads with zeros.
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
    """Blur with [1 2 1] / 4 in both directions, without padding: (N, C, H, W) -> (N, C, H - 2, W - 2)."""
    channels = x.shape[1]
    # Computed on the device: a copy from the host would wait for the GPU, and a CUDA graph cannot capture it.
    ramp = 2 - (torch.arange(3, device=x.device, dtype=x.dtype) - 1).abs()
    kernel = torch.outer(ramp, ramp) / 16
    return F.conv2d(x, kernel.expand(channels, 1, 3, 3), bias, groups=channels)
