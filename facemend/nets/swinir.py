"""SwinIR: an upscaling network of window attention and convolutions.

Liang et al. 2021, "SwinIR: Image Restoration Using Swin Transformer", arXiv:2108.10257.
Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", arXiv:2103.14030.
Source: https://github.com/JingyunLiang/SwinIR (Apache-2.0).

Input: (N, 3, H, W) RGB in [0, 1], H and W at least 8. Output: (N, 3, H * scale, W * scale) RGB, about [0, 1], not
clamped.

Attribute names are those of the official checkpoints. Differences from the source:

- Inference only, for real-world super-resolution: the configurations whose upsampling is nearest-neighbour and
  convolution.
- What the geometry determines is computed and is no part of the state dict: see `SwinIR.computed_keys`.
- Tensors keep the shape (N, H, W, C) between convolutions. Of a shifted layer, only the windows at the edge are masked.
- Upsampling and the convolution after it are one operation (`upconv`).
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemend.nets.shapes import Shapes, count
from facemend.nets.upconv import nearest_conv

WINDOW = 8  # px of a side of a window, in which each px attends to the others
SHIFT = WINDOW // 2  # px by which the windows of every second block are shifted to the right and down
EXPANSION = 2  # channels inside the MLP over those outside
UPSAMPLING = 64  # channels during upsampling
MEAN = (0.4488, 0.4371, 0.4040)  # RGB, subtracted from the input
SLOPE, SLOPE_BEFORE = 0.2, 0.01  # of leaky ReLUs, and of the one before upsampling
MASKED = -100.0  # added to the logit of a pair of px that do not attend to each other


class Linear(nn.Linear):
    """A linear layer for (N, H, W, C); on a CPU it is a 1x1 convolution.

    PyTorch computes convolutions with oneDNN and matrix products with MKL, which takes twice as long on processors of
    AMD.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x.permute(0, 3, 1, 2), self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows of 8x8 px, with a bias for each relative position.

    Args:
        channels: of the input and the output.
        heads: number of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)

    def forward(self, x: Tensor, shifted: bool) -> Tensor:
        """(N, H, W, C) -> the same shape. If `shifted`, the first 4 rows and columns were moved to the end."""
        n, height, width, channels = x.shape
        grid = (n, height // WINDOW, width // WINDOW)
        windows = x.view(n, grid[1], WINDOW, grid[2], WINDOW, channels).transpose(2, 3)
        qkv = self.qkv(windows.reshape(1, -1, WINDOW**2, channels))[0]
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (windows, heads, 64, C / heads)
        bias = self.relative_position_bias_table[_relative_positions(x.device)].permute(2, 0, 1)[None]
        out = F.scaled_dot_product_attention(q, k, v, bias)
        if shifted:
            number = torch.arange(len(q), device=x.device).view(grid)
            right, bottom, corner = number[:, :-1, -1], number[:, -1, :-1], number[:, -1, -1]
            for at_edge, mask in zip((right, bottom, corner), _edge_masks(x.device), strict=True):
                some = at_edge.flatten()
                masked_bias = bias + mask.to(bias.dtype)
                out[some] = F.scaled_dot_product_attention(q[some], k[some], v[some], masked_bias)
        out = self.proj(out.transpose(1, 2).flatten(2)[None])
        image: Tensor = out.view(*grid, WINDOW, WINDOW, channels).transpose(2, 3).reshape(x.shape)
        return image


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, EXPANSION * channels)
        self.fc2 = Linear(EXPANSION * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class SwinBlock(nn.Module):
    """Window attention and an MLP, each with a layer norm before it and a residual connection around both.

    Args:
        channels: of the input and the output.
        heads: number of heads.
        shifted: whether the windows are shifted by half of their size.
    """

    def __init__(self, channels: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape."""
        y = self.norm1(x)
        if self.shifted:
            y = self.attn(y.roll((-SHIFT, -SHIFT), (1, 2)), shifted=True).roll((SHIFT, SHIFT), (1, 2))
        else:
            y = self.attn(y, shifted=False)
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ResidualGroup(nn.Module):
    """Swin blocks; those at odd places have shifted windows."""

    def __init__(self, channels: int, heads: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(channels, heads, place % 2 == 1) for place in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class RSTB(nn.Module):
    """Residual Swin Transformer block: Swin blocks and a convolution, with a residual connection around them."""

    def __init__(self, channels: int, heads: int, depth: int, convolution: nn.Module) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(channels, heads, depth)
        self.conv = convolution

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape."""
        return x + _channels_last(self.conv(_channels_first(self.residual_group(x))))


class PatchEmbed(nn.Module):
    """A layer norm; a patch is one px."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class SwinIR(nn.Module):
    """The network for real-world super-resolution.

    Args:
        scale: 4 or 2.
        features: channels between the first convolution and upsampling: 180 (M) or 240 (L).
        heads: of each attention: 6 (M) or 8 (L).
        groups: number of RSTBs: 6 (M) or 9 (L).
        depth: Swin blocks of each RSTB.
        bottleneck: whether the convolutions between blocks are three with a quarter of the channels inside (L).
    """

    computed_keys = ("attn_mask", "relative_position_index")  # ends of names in checkpoints that are not loaded

    def __init__(
        self,
        scale: int = 4,
        features: int = 180,
        heads: int = 6,
        groups: int = 6,
        depth: int = 6,
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        convolution = _bottleneck if bottleneck else _conv3
        self.conv_first = _conv3(3, features)
        self.patch_embed = PatchEmbed(features)
        self.layers = nn.Sequential(
            *(RSTB(features, heads, depth, convolution(features, features)) for _ in range(groups))
        )
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = convolution(features, features)
        self.conv_before_upsample = nn.Sequential(_conv3(features, UPSAMPLING))
        self.conv_up1 = _conv3(UPSAMPLING, UPSAMPLING)
        if scale == 4:
            self.conv_up2 = _conv3(UPSAMPLING, UPSAMPLING)
        self.conv_hr = _conv3(UPSAMPLING, UPSAMPLING)
        self.conv_last = _conv3(UPSAMPLING, 3)

    @staticmethod
    def arguments(shapes: Shapes) -> dict[str, int]:
        """Read the constructor's arguments from the shapes of a checkpoint; KeyError if it is of another network."""
        arguments = {
            "scale": 4 if "conv_up2.weight" in shapes else 2,
            "features": shapes["conv_first.weight"][0],
            "heads": shapes["layers.0.residual_group.blocks.0.attn.relative_position_bias_table"][1],
            "groups": count(shapes, "layers.{}.residual_group.blocks.0.norm1.weight"),
            "depth": count(shapes, "layers.0.residual_group.blocks.{}.norm1.weight"),
            "bottleneck": "conv_after_body.0.weight" in shapes,
        }
        if arguments["features"] % arguments["heads"] or arguments["groups"] * arguments["depth"] > len(shapes):
            raise KeyError("heads")
        return arguments

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % WINDOW, 0, -height % WINDOW), "reflect")
        mean = x.new_tensor(MEAN)[:, None, None]
        x = self.conv_first(x - mean)
        features = self.norm(self.layers(self.patch_embed(_channels_last(x))))
        x = x + self.conv_after_body(_channels_first(features))
        x = F.leaky_relu(self.conv_before_upsample(x), SLOPE_BEFORE, inplace=True)
        for conv in (self.conv_up1, self.conv_up2) if self.scale == 4 else (self.conv_up1,):
            x = F.leaky_relu(nearest_conv(x, conv.weight, conv.bias), SLOPE, inplace=True)
        x = self.conv_last(F.leaky_relu(self.conv_hr(x), SLOPE, inplace=True)) + mean
        return x[:, :, : height * self.scale, : width * self.scale]


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _bottleneck(inputs: int, outputs: int) -> nn.Sequential:
    inside = inputs // 4
    return nn.Sequential(
        _conv3(inputs, inside),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(inside, inside, 1),
        nn.LeakyReLU(SLOPE, inplace=True),
        _conv3(inside, outputs),
    )


def _channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C); no copy if it lies in memory like this."""
    return x.permute(0, 2, 3, 1).contiguous()


def _channels_first(x: Tensor) -> Tensor:
    """(N, H, W, C) -> (N, C, H, W), a view that is channels last in memory."""
    return x.permute(0, 3, 1, 2)


@functools.cache
@torch.inference_mode(False)  # a tensor made in inference mode could not be used in training
def _relative_positions(device: torch.device) -> Tensor:
    """(64, 64): for each pair of px of a window, the row of the bias table."""
    side = torch.arange(WINDOW)
    y, x = (place.flatten() for place in torch.meshgrid(side, side, indexing="ij"))
    down, across = (place[:, None] - place[None] + WINDOW - 1 for place in (y, x))
    return (down * (2 * WINDOW - 1) + across).to(device)


@functools.cache
@torch.inference_mode(False)
def _edge_masks(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(64, 64) each: what is added to the logits in windows at the right edge, at the bottom edge, and in the corner.

    After the shift, such a window has px of two opposite edges of the image, which do not attend to each other.
    """
    far = torch.arange(WINDOW) >= WINDOW - SHIFT
    y, x = (place.flatten() for place in torch.meshgrid(far, far, indexing="ij"))
    apart_down, apart_across = (place[:, None] != place[None] for place in (y, x))
    right, bottom, corner = (MASKED * apart for apart in (apart_across, apart_down, apart_across | apart_down))
    return right.to(device), bottom.to(device), corner.to(device)
