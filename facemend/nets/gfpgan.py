"""GFPGAN, "clean" architecture of versions 1.2, 1.3 and 1.4: a U-Net controls a StyleGAN2 face generator.

Paper: Wang, Li, Zhang, Shan, "Towards Real-World Blind Face Restoration with Generative Facial Prior", 2021,
arXiv:2101.04061. The generator is StyleGAN2: Karras et al., 2019, arXiv:1912.04958.
Source: https://github.com/TencentARC/GFPGAN, Apache-2.0 with exceptions for third-party parts (see its LICENSE).

Input and output: (N, 3, 512, 512) RGB in [-1, 1]; the output is not clamped.

Attribute names are those of the official checkpoint. Differences from the source:

- Inference only, one configuration, which the three official versions share.
- Unless noise maps are given, the noise stored in the checkpoint is used, so the same input gives the same output.
- Modulation scales the input of a convolution and demodulation its output. The result is the same as with the source's
  separate kernel for each sample, but a batch needs only one ordinary convolution.
- Upsampling and the convolution after it are one operation (`upconv`).
- Layers used only in training (`toRGB`, `style_mlp`) have their parameters but are not run.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.upconv import bilinear_conv

STYLE = 512  # length of a style vector
# Channels of the generator at 8, 16, ... 512 px; at 4 px it has 512. The U-Net has half as many at each size.
CHANNELS = (512, 512, 512, 512, 256, 128, 64)
SLOPE = 0.2  # of every leaky ReLU


class DownBlock(nn.Module):
    """Residual block that halves height and width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.leaky_relu_(self.conv1(x), SLOPE)
        out = F.avg_pool2d(out, 2)  # (N, I, H/2, W/2); the same as bilinear downsampling by 2
        out = F.leaky_relu_(self.conv2(out), SLOPE)
        skip: Tensor = self.skip(F.avg_pool2d(x, 2))
        return skip.add_(out)


class UpBlock(nn.Module):
    """Residual block that doubles height and width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.leaky_relu_(self.conv1(x), SLOPE)
        out = F.leaky_relu_(bilinear_conv(out, self.conv2.weight, self.conv2.bias), SLOPE)  # (N, O, 2H, 2W)
        return out.add_(_double(self.skip(x)))  # cheaper before upsampling, with the same result


class ModulatedConv2d(nn.Module):
    """The parameters of a convolution whose input channels are scaled by a style."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(STYLE, in_channels)
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel_size, kernel_size))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ModulatedConv2d":
        # `Module.to(memory_format=channels_last)` accepts four dimensions; the checkpoint's weight has five.
        super()._apply(lambda t: fn(t[0])[None] if t.ndim == 5 else fn(t), recurse)  # type: ignore[no-untyped-call]
        return self


class StyleConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU; if `upsample`, the input is upsampled by 2 first."""

    def __init__(self, in_channels: int, out_channels: int, upsample: bool) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(in_channels, out_channels, 3)
        self.weight = nn.Parameter(torch.zeros(1))  # strength of the noise
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.upsample = upsample

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        weight = self.modulated_conv.weight[0]  # (O, I, 3, 3)
        scale: Tensor = self.modulated_conv.modulation(style)  # (N, I)
        # Demodulation divides each output channel by the norm of its kernel, weight * scale; `power` is its square.
        power = scale.square() @ weight.square().sum((2, 3)).T  # (N, O)
        demodulation = torch.rsqrt(power + 1e-8) * 2**0.5  # the source multiplies the convolution by sqrt(2)
        x = x * scale[:, :, None, None]
        # (N, O, 2H, 2W) or (N, O, H, W)
        out = bilinear_conv(x, weight) if self.upsample else F.conv2d(x, weight, padding=1)
        torch.addcmul(self.bias, out, demodulation[:, :, None, None], out=out).add_(self.weight * noise)
        return F.leaky_relu_(out, SLOPE)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, without demodulation."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConv2d(in_channels, 3, 1)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        # With only three outputs, scaling the weight for each sample is less work than scaling x.
        scale: Tensor = self.modulated_conv.modulation(style)  # (N, I)
        weights = self.modulated_conv.weight * scale[:, None, :, None, None]  # (N, 3, I, 1, 1)
        # One sample at a time: a matrix product takes thirty times as long on a CPU in bfloat16.
        out = torch.cat([F.conv2d(one[None], weight) for one, weight in zip(x, weights, strict=True)])  # (N, 3, H, W)
        return out.add_(self.bias)


class ConstantInput(nn.Module):
    """The learned constant that the generator starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 512, 4, 4))


class StyleGAN2(nn.Module):
    """StyleGAN2 generator whose features are scaled and shifted by conditions at every size."""

    def __init__(self) -> None:
        super().__init__()
        # Not run: the U-Net computes the styles of all layers. In the checkpoint the even indices have no parameters.
        mlp = [layer for _ in range(8) for layer in (nn.Identity(), nn.Linear(STYLE, STYLE))]
        self.style_mlp = nn.Sequential(*mlp)
        self.constant_input = ConstantInput()
        self.style_conv1 = StyleConv(512, 512, upsample=False)
        self.to_rgb1 = ToRGB(512)
        self.style_convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        self.noises = nn.Module()
        self.noises.register_buffer("noise0", torch.randn(1, 1, 4, 4))
        before, size = 512, 8
        for channels in CHANNELS:
            self.style_convs.append(StyleConv(before, channels, upsample=True))
            self.style_convs.append(StyleConv(channels, channels, upsample=False))
            self.to_rgbs.append(ToRGB(channels))
            for _ in range(2):
                self.noises.register_buffer(f"noise{len(self.stored_noise())}", torch.randn(1, 1, size, size))
            before, size = channels, size * 2

    def stored_noise(self) -> list[Tensor]:
        """The checkpoint's noise maps, one (1, 1, H, W) for each style convolution."""
        return list(self.noises.buffers())

    def forward(self, styles: Tensor, conditions: Sequence[tuple[Tensor, Tensor]], noise: Sequence[Tensor]) -> Tensor:
        """Generate images.

        Args:
            styles: (N, 16, 512), one for each style convolution and one for the last `to_rgb`.
            conditions: scale and shift of the second half of the channels, at 8, 16, ... 512 px.
            noise: 15 maps, (1 or N, 1, H, W).

        Returns:
            (N, 3, 512, 512).
        """
        style = styles.unbind(1)
        x = self.constant_input.weight.expand(len(styles), -1, -1, -1)  # (N, 512, 4, 4)
        x = self.style_conv1(x, style[0], noise[0])
        image: Tensor = self.to_rgb1(x, style[1])  # (N, 3, 4, 4)
        for level, (scale, shift) in enumerate(conditions):
            first = 2 * level + 1
            x = self.style_convs[first - 1](x, style[first], noise[first])  # (N, C, 2H, 2W)
            half = x[:, x.shape[1] // 2 :]
            torch.addcmul(shift, half, scale, out=half)
            x = self.style_convs[first](x, style[first + 1], noise[first + 1])
            image = self.to_rgbs[level](x, style[first + 2]).add_(_double(image))  # (N, 3, 2H, 2W)
        return image


class GFPGAN(nn.Module):
    """GFPGAN 1.2, 1.3 and 1.4 (see the top of the file)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [channels // 2 for channels in CHANNELS]  # of the U-Net at 8, 16, ... 512 px
        self.conv_body_first = nn.Conv2d(3, widths[-1], 1)
        falling = [*reversed(widths), widths[0]]  # 512, 256, ... 8, 4 px
        self.conv_body_down = nn.ModuleList(map(DownBlock, falling[:-1], falling[1:]))
        self.final_conv = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.conv_body_up = nn.ModuleList(map(UpBlock, [widths[0], *widths[:-1]], widths))
        self.toRGB = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in widths)  # not run: a training target
        self.final_linear = nn.Linear(widths[0] * 4 * 4, 16 * STYLE)
        self.stylegan_decoder = StyleGAN2()
        self.condition_scale = nn.ModuleList(map(_condition, widths))
        self.condition_shift = nn.ModuleList(map(_condition, widths))

    def draw_noise(self, generator: torch.Generator, batch: int = 1) -> list[Tensor]:
        """Draw noise maps for `forward`. The same state of `generator` gives the same maps.

        Args:
            generator: source of random numbers. The maps are drawn on its device, so a generator on the CPU gives the
                same maps for a network on any device.
            batch: number of faces. Each gets maps of its own.

        Returns:
            15 maps (batch, 1, H, W), with the network's device and dtype.
        """
        return [
            torch.randn((batch, *like.shape[1:]), generator=generator, device=generator.device).to(like)
            for like in self.stylegan_decoder.stored_noise()
        ]

    def forward(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Restore faces.

        Args:
            x: (N, 3, 512, 512) RGB in [-1, 1].
            noise: maps from `draw_noise`, or None for those of the checkpoint.

        Returns:
            (N, 3, 512, 512) RGB, about [-1, 1].
        """
        skips = []
        x = F.leaky_relu_(self.conv_body_first(x), SLOPE)  # (N, 32, 512, 512)
        for down in self.conv_body_down:
            x = down(x)
            skips.append(x)
        x = F.leaky_relu_(self.final_conv(x), SLOPE)  # (N, 256, 4, 4)

        styles = self.final_linear(x.flatten(1)).unflatten(1, (16, STYLE))  # (N, 16, 512)

        conditions = []
        for up, scale, shift in zip(self.conv_body_up, self.condition_scale, self.condition_shift, strict=True):
            x = up(x + skips.pop())  # (N, C/2, 8, 8) ... (N, 32, 512, 512)
            conditions.append((scale(x), shift(x)))

        restored: Tensor = self.stylegan_decoder(
            styles, conditions, self.stylegan_decoder.stored_noise() if noise is None else noise
        )
        return restored


def _condition(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True), nn.Conv2d(width, width, 3, padding=1)
    )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
