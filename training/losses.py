"""Losses. Images are (N, 3, H, W), in the range that the trainer uses; every loss is (N,), one value per item."""

import torch
from torch import Tensor
from torch.nn import functional

LEAST_POWER = 3e-5  # about that of noise of half a grey level, with images in [-1, 1]


def per_item(x: Tensor) -> Tensor:
    """Mean over all but the first dimension."""
    return x.flatten(1).mean(1)


def pixel(result: Tensor, truth: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean absolute difference of the pixels, weighted by `weight` (N, 1, H, W)."""
    return per_item((result - truth).abs() * weight)


def colour(result: Tensor, truth: Tensor, patch: int = 16) -> Tensor:
    """Mean absolute difference of the means of patches of `patch` px: errors of colour over larger areas."""
    return per_item(functional.avg_pool2d(result - truth, patch).abs())


def gradient(result: Tensor, truth: Tensor, weight: Tensor | float = 1.0, scales: int = 3) -> Tensor:
    """Mean absolute difference of the gradients (differences of neighbours), at `scales` sizes, each half the last."""
    difference = (result - truth) * (weight**0.5)
    total = result.new_zeros(len(result))
    for scale in range(scales):
        if scale:
            difference = functional.avg_pool2d(difference, 2)
        total = total + per_item(difference.diff(dim=2).abs()) + per_item(difference.diff(dim=3).abs())
    return total


def energy(result: Tensor, truth: Tensor, patch: int = 16) -> Tensor:
    """Mean absolute difference of the amount of detail in patches; where in the patch the detail is does not matter.

    The amount of detail is the mean absolute gradient of the grey image. Losses on pixels reward blur where the place
    of detail cannot be known; this loss does not. Gradients are of means of 2x2 px. Otherwise a network can reduce the
    loss with a fine checkerboard pattern, which no photograph has.
    """
    grey = [functional.avg_pool2d(x.mean(1, keepdim=True), 2, stride=1) for x in (result, truth)]
    total = result.new_zeros(len(result))
    for dimension in (2, 3):
        amounts = [functional.avg_pool2d(x.diff(dim=dimension).abs(), patch, ceil_mode=True) for x in grey]
        total = total + per_item((amounts[0] - amounts[1]).abs())
    return total


def spectrum(result: Tensor, truth: Tensor, patch: int = 32, longest: float = 8.0) -> Tensor:
    """Mean absolute difference of the logarithms of the power spectra, for periods of at most `longest` px.

    Spectra are means over overlapping patches of `patch` px. A blurred result has too little power. One with a regular
    pattern, such as a grid of the network's own, has too much at the periods of the pattern.
    """
    logs = [(power(x, patch) + LEAST_POWER).log() for x in (result, truth)]
    y, x = torch.meshgrid(torch.fft.fftfreq(patch), torch.fft.rfftfreq(patch), indexing="ij")
    high = (torch.hypot(y, x) >= 1 / longest).to(result.device)
    return per_item((logs[0] - logs[1])[..., high].abs())


def power(x: Tensor, patch: int) -> Tensor:
    """The power spectra of images, (N, 3, patch, patch // 2 + 1), means over overlapping patches."""
    window = torch.hann_window(patch, device=x.device)
    window = window[:, None] * window
    patches = x.unfold(2, patch, patch // 2).unfold(3, patch, patch // 2) * (window / window.square().sum().sqrt())
    return torch.fft.rfft2(patches).abs().square().mean((2, 3))


def grid(result: Tensor, truth: Tensor, period: int = 16) -> Tensor:
    """How much less evenly than in the truths fine detail lies over the positions in squares of `period` px.

    Networks that work at a lower resolution may draw dots at the same position of every square, light here and dark
    there. All items get the same value, as the amounts of detail are means over the batch.
    """
    excess = unevenness(result, period) - unevenness(truth, period).detach()
    return excess.clamp(min=0).expand(len(result))


def unevenness(x: Tensor, period: int) -> Tensor:
    """Standard deviation over mean of the amount of fine detail at the positions in squares of `period` px."""
    detail = (x - functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)).abs().mean(0)
    channels, height, width = detail.shape
    squares = detail.reshape(channels, height // period, period, width // period, period).mean((1, 3)).flatten(1)
    return (squares.std(1) / (squares.mean(1) + 1e-4)).mean()


def pattern(result: Tensor, truth: Tensor, period: int = 8, window: int = 64) -> Tensor:
    """How much larger than in the truths the share of fine detail is that repeats every `period` px.

    Networks that work at a lower resolution may draw a regular pattern where they cannot know the detail. The sides of
    the images must be multiples of `window`, in px, and `window` a multiple of `period`.
    """
    return (repeated(result, period, window) - repeated(truth, period, window)).clamp(min=0)


def repeated(x: Tensor, period: int, window: int) -> Tensor:
    """(N,) the amplitude of the detail that is the same in all squares of a window, divided by that of all detail.

    The value is a mean over the windows. The small constants keep it near 0, with finite gradients, in plain windows.
    """
    detail = fine(x, 2.0)
    count, channels, height, width = detail.shape
    inside = window // period
    squares = detail.reshape(count, channels, height // window, inside, period, width // window, inside, period)
    same = squares.mean((3, 6)).square().mean((1, 3, 5))
    return ((same + 1e-8).sqrt() / (squares.square().mean((1, 3, 4, 6, 7)) + 1e-4).sqrt()).flatten(1).mean(1)


def fine(x: Tensor, sigma: float) -> Tensor:
    """The fine detail: what a Gaussian blur of `sigma` px takes away."""
    return x - blurred(x, sigma)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of `sigma` px."""
    reach = round(3 * sigma)
    kernel = torch.exp(-torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    rows = functional.conv2d(padded, kernel, groups=x.shape[1])
    return functional.conv2d(rows, kernel.transpose(2, 3), groups=x.shape[1])
