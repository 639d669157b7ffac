"""Convert pixels with an embedded colour profile (ICC) to sRGB."""

import io
import struct

import numpy as np
from PIL import Image, ImageCms

from facemend.records import Pixels, Reals, to_dtype

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # ICC colour space -> Pillow mode
ROWS = 64  # converted at once, so that the float values need little memory


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB.

    Args:
        image: any mode without alpha.
        profile: the bytes of its ICC profile, or None. A damaged profile is ignored, and so is one for another
            colour space.

    Returns:
        An image of mode L if the input has that mode, else RGB.
    """
    transform = _transform_to_srgb(image.mode, profile)
    if transform is None:
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    if image.mode != "L":
        return transform.apply(image.convert(transform.input_mode))
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return image.point(list(transform.apply(ramp.convert(transform.input_mode)).getchannel("G").tobytes()))


def deep_to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Convert 16-bit pixels to sRGB.

    Pillow converts 8 bits only. This function therefore computes the profiles that consist of three primaries and
    curves, or of one grey curve. With other profiles (look-up tables), 8 of the 16 bits are lost.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey, uint16.
        profile: as for `to_srgb`.

    Returns:
        The same shape and dtype.
    """
    mode = "L" if pixels.ndim == 2 else "RGB"
    if profile is None or _transform_to_srgb(mode, profile) is None:
        return pixels
    tags = _tags(profile)
    if mode == "L" and b"kTRC" in tags:
        return to_dtype(_linear_to_srgb(_linear_values(tags[b"kTRC"])) * 65535, np.uint16)[pixels]
    if b"A2B0" in tags or b"rTRC" not in tags:
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
        return np.asarray(to_srgb(image, profile)).astype(np.uint16) * 257
    if mode == "L":
        return deep_to_srgb(np.repeat(pixels[..., None], 3, axis=2), profile)[..., 1]
    srgb = _tags(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    matrix = np.linalg.inv(_rgb_to_xyz(srgb)) @ _rgb_to_xyz(tags)
    curves = [_linear_values(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    converted = np.empty_like(pixels)
    for row in range(0, len(pixels), ROWS):
        block = pixels[row : row + ROWS]
        linear = np.stack([curve[block[..., channel]] for channel, curve in enumerate(curves)], axis=-1)
        converted[row : row + ROWS] = to_dtype(_linear_to_srgb(linear @ matrix.T) * 65535, np.uint16)
    return converted


def _transform_to_srgb(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from pixels of this mode to sRGB.

    None means that nothing is to be converted: the profile is that of sRGB, or it cannot be used for these pixels.
    """
    if mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        except OSError:  # the profile is damaged; the pixels are not
            return None
    else:
        return None
    space = MODES.get(source.profile.xcolor_space.strip())
    if space is None or not (space == mode or (space == "RGB" and mode in ("L", "YCbCr"))):
        return None
    # Optimisation makes grey curves less accurate.
    flags = ImageCms.Flags.NOOPTIMIZE if space == "L" else ImageCms.Flags.NONE
    try:
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), space, "RGB", flags=flags)
    except ImageCms.PyCMSError:
        return None
    if space == "RGB":  # a conversion from sRGB to sRGB would only add rounding errors
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        if np.abs(np.asarray(transform.apply(Image.fromarray(probe))).astype(int) - probe).max() <= 1:
            return None
    return transform


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Return the tags of an ICC profile by name (ICC.1:2022, 7.3)."""
    (count,) = struct.unpack_from(">I", profile, 128)
    rows = (struct.unpack_from(">4sII", profile, 132 + 12 * row) for row in range(count))
    return {name: profile[offset : offset + size] for name, offset, size in rows}


def _rgb_to_xyz(tags: dict[bytes, bytes]) -> Reals:
    """Return the matrix (3, 3) from linear RGB to XYZ, which consists of the profile's primaries."""
    return np.stack([np.frombuffer(tags[name], ">i4", 3, 8) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)


def _linear_values(tag: bytes) -> Reals:
    """Return the linear light, 0 to 1, of each 16-bit value: (65536,) of a curve (ICC.1:2022, 10.6 and 10.18)."""
    x = np.linspace(0, 1, 65536)
    if tag[:4] == b"para":
        numbers = np.frombuffer(tag[12:], ">i4") / 65536
        kind = int.from_bytes(tag[8:10], "big")
        g, a, b, c, d, e, f = _general_parameters(kind, [float(number) for number in numbers])
        return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    count = int.from_bytes(tag[8:12], "big")
    table = np.frombuffer(tag, ">u2", count, 12)
    if count == 0:
        return x
    if count == 1:
        return x ** (int(table[0]) / 256)
    return np.interp(x, np.linspace(0, 1, count), table / 65535)


def _general_parameters(kind: int, p: list[float]) -> tuple[float, ...]:
    """Return g, a, b, c, d, e, f of a parametric curve: (a x + b)^g + e where x >= d, else c x + f."""
    if kind == 0:
        return p[0], 1, 0, 0, 0, 0, 0
    if kind in (1, 2):
        offset = p[3] if kind == 2 else 0
        return p[0], p[1], p[2], 0, -p[2] / p[1], offset, offset
    return (*p[:5], 0, 0) if kind == 3 else tuple(p[:7])


def _linear_to_srgb(linear: Reals) -> Reals:
    """Return the sRGB values of linear light, both 0 to 1 (IEC 61966-2-1)."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
