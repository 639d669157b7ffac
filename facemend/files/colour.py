"""Convert pixels with an embedded colour profile (ICC) to sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms

from facemend.files import icc
from facemend.files.hdr import linear_to_srgb
from facemend.records import Pixels, Reals, converted, to_dtype

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # ICC colour space -> Pillow mode
# What reading a profile raises that is of another kind, damaged, or for LittleCMS alone
UNREADABLE = (ArithmeticError, LookupError, ValueError)
UNUSABLE = "colour profile (damaged, or for other pixels)"
TABLES = "8 of 16 bits (the colour profile consists of tables)"
ROWS = 64  # converted at once, so that the float values need little memory


def to_srgb(image: Image.Image, profile: bytes | None, lost: list[str]) -> Image.Image:
    """Convert to sRGB.

    Args:
        image: any mode without alpha.
        profile: the bytes of its ICC profile, or None. A damaged profile is not used, nor is one for another colour
            space.
        lost: gets a line where the profile is not used.

    Returns:
        An image of mode L if the input has that mode, else RGB.
    """
    transform = _transform_to_srgb(image.mode, profile, lost)
    if transform is None:
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    if image.mode != "L":
        return transform.apply(image.convert(transform.input_mode))
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return image.point(list(transform.apply(ramp.convert(transform.input_mode)).getchannel("G").tobytes()))


def deep_to_srgb(pixels: Pixels, profile: bytes | None, lost: list[str]) -> Pixels:
    """Convert 16-bit pixels to sRGB.

    Pillow converts 8 bits only. This function therefore computes the profiles that consist of three primaries and
    curves, or of one grey curve.

    Args:
        pixels: (H, W, 3) RGB, (H, W, 4) CMYK or (H, W) grey, uint16.
        profile: as for `to_srgb`.
        lost: likewise. With other profiles (look-up tables), 8 of the 16 bits are lost, which gets a line too.

    Returns:
        (H, W, 3) RGB or (H, W) grey, uint16.
    """
    mode = "L" if pixels.ndim == 2 else {3: "RGB", 4: "CMYK"}[pixels.shape[2]]
    if profile is None or _transform_to_srgb(mode, profile, lost) is None:
        return _ink_to_rgb(pixels) if mode == "CMYK" else pixels
    try:
        if mode == "L":
            return _curve_to_srgb(profile)[pixels]
        return _matrix_to_srgb(pixels, profile)
    except UNREADABLE:
        lost.append(TABLES)
        image = Image.fromarray(converted(pixels, np.uint8), mode)
        return converted(np.asarray(to_srgb(image, profile, lost)), np.uint16)


def _ink_to_rgb(pixels: Pixels) -> Pixels:
    """RGB of CMYK without a profile, as Pillow computes it: each ink and black take away their share of light."""
    light = 65535 - pixels.astype(np.uint32)
    return to_dtype(light[..., :3] * (light[..., 3:] / 65535), np.uint16)


def _curve_to_srgb(profile: bytes) -> Pixels:
    """The sRGB value of each 16-bit grey value: (65536,) uint16."""
    tags = icc.tags(profile)
    if b"A2B0" in tags:
        raise LookupError("it has look-up tables")
    if b"kTRC" not in tags:  # a profile of colours
        ramp = np.arange(65536, dtype=np.uint16)[:, None, None]
        return _matrix_to_srgb(np.repeat(ramp, 3, axis=2), profile)[:, 0, 1]
    linear = icc.linear_values(tags[b"kTRC"])
    if icc.is_lab(profile):
        linear = _luminance(linear)
    return to_dtype(linear_to_srgb(linear) * 65535, np.uint16)


def _luminance(lightness: Reals) -> Reals:
    """The luminance of CIE lightness L*, both 0 to 1."""
    root = (100 * lightness + 16) / 116
    return np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))


def _matrix_to_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    tags = icc.tags(profile)
    if b"A2B0" in tags:
        raise LookupError("it has look-up tables")
    srgb = icc.tags(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    matrix = np.linalg.inv(icc.columns(srgb)) @ icc.columns(tags)
    curves = [icc.linear_values(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    result = np.empty_like(pixels)
    for row in range(0, len(pixels), ROWS):
        block = pixels[row : row + ROWS]
        linear = np.stack([curve[block[..., channel]] for channel, curve in enumerate(curves)], axis=-1)
        result[row : row + ROWS] = to_dtype(linear_to_srgb(linear @ matrix.T) * 65535, np.uint16)
    return result


def _transform_to_srgb(mode: str, profile: bytes | None, lost: list[str]) -> ImageCms.ImageCmsTransform | None:
    """The transform from pixels of this mode to sRGB; None where nothing is to be converted."""
    if not profile and mode != "LAB":
        return None
    transform = _transform(mode, profile)
    if transform is None:
        lost.append(UNUSABLE)
    elif transform.input_mode == "RGB":  # a conversion from sRGB to sRGB would only add rounding errors
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        if np.abs(np.asarray(transform.apply(Image.fromarray(probe))).astype(int) - probe).max() <= 1:
            return None
    return transform


def _transform(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """The transform of a profile to sRGB; None where it cannot be used for pixels of this mode."""
    if mode == "LAB":
        source, name = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "Lab"
    else:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
            name = source.profile.xcolor_space.strip()
        except (OSError, TypeError, ValueError):  # the profile is damaged, or a number in a TIFF; the pixels are not
            return None
    space = MODES.get(name)
    if space is None or not (space == mode or (space == "RGB" and mode in ("L", "YCbCr"))):
        return None
    # Optimisation makes grey curves less accurate.
    flags = ImageCms.Flags.NOOPTIMIZE if space == "L" else ImageCms.Flags.NONE
    try:
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), space, "RGB", flags=flags)
    except ImageCms.PyCMSError:
        return None
