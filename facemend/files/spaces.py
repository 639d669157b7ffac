"""The colour space of a file: said by an ICC profile, by code points (CICP), by numbers in a PNG, or by EXIF."""

import re
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from facemend.errors import DecodeError
from facemend.files import icc, png
from facemend.files.icc import D65, Chromaticity
from facemend.records import Reals

# Code points of ITU-T H.273. What is not here is taken as sRGB: encoders write such codes without meaning them.
PRIMARIES: dict[int, tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]] = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),  # BT.2020
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # DCI-P3
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
}
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}  # transfer characteristics; the others are taken as the curve of sRGB
HDR = {16: "PQ", 18: "HLG"}
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65)
ADOBE_GAMMA = 563 / 256
NCLX = re.compile(rb"colrnclx(..)(..)", re.DOTALL)  # a box of an AVIF file
NCLX_WITHIN = 1 << 20  # bytes from the start of a file
PNG_SRGB_GAMMA, PNG_TOLERANCE = 0.45455, 0.005  # older programs write this gamma for sRGB
LEAST_GAMMA = 0.1  # of a PNG; others are damage


class Space(NamedTuple):
    """A colour space.

    Attributes:
        profile: its ICC profile; None for sRGB.
        hdr: "PQ" or "HLG" where it has high dynamic range; the profile is None then.
        to_srgb: (3, 3), from its linear RGB to that of sRGB, where it has high dynamic range.
    """

    profile: bytes | None
    hdr: str = ""
    to_srgb: Reals | None = None


def of(image: Image.Image, stream: BinaryIO | None, adobe_rgb: bool) -> Space:
    """The colour space of a picture.

    Args:
        image: the picture.
        stream: its file, if it comes from one.
        adobe_rgb: whether EXIF says that it is Adobe RGB.
    """
    profile = image.info.get("icc_profile") or None
    codes = _code_points(image, stream)
    if codes and (codes[1] in HDR or not profile or isinstance(image, PngImagePlugin.PngImageFile)):
        return _of_codes(*codes)
    if profile or "srgb" in image.info:
        return Space(profile)
    if isinstance(image, PngImagePlugin.PngImageFile) and ("gamma" in image.info or "chromaticity" in image.info):
        return _of_numbers(image.info)
    return Space(of_adobe_rgb() if adobe_rgb else None)


def of_adobe_rgb() -> bytes:
    """An ICC profile of Adobe RGB."""
    return icc.made(*ADOBE_RGB, ADOBE_GAMMA)


def to_srgb(points: Sequence[Chromaticity]) -> Reals:
    """Return the matrix (3, 3) to the linear RGB of sRGB, from that with these primaries and white.

    Raises:
        ValueError: there is none.
    """
    red, green, blue, white = points
    matrix: Reals = np.linalg.inv(icc.rgb_to_xyz(*SRGB_PRIMARIES)) @ icc.rgb_to_xyz(red, green, blue, white)
    return matrix


def _of_codes(primaries: int, transfer: int) -> Space:
    points = PRIMARIES.get(primaries, SRGB_PRIMARIES)
    if transfer in HDR:
        return Space(None, HDR[transfer], to_srgb(points))
    if primaries not in PRIMARIES and transfer not in GAMMAS:
        return Space(None)
    return Space(icc.made(*points, GAMMAS.get(transfer, 0)))


def _code_points(image: Image.Image, stream: BinaryIO | None) -> tuple[int, int] | None:
    """The codes of primaries and transfer characteristics; None where there are none."""
    if nclx := image.info.get("nclx_profile"):  # of HEIC
        return int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    if stream is None:
        return None
    if image.format == "AVIF":
        stream.seek(0)
        found = NCLX.search(stream.read(NCLX_WITHIN))
        return (int.from_bytes(found[1], "big"), int.from_bytes(found[2], "big")) if found else None
    if isinstance(image, PngImagePlugin.PngImageFile):
        return _png_code_points(stream)
    return None


def _png_code_points(stream: BinaryIO) -> tuple[int, int] | None:
    stream.seek(0)
    try:
        for kind, body in png.chunks(stream.read()):
            if kind == b"IDAT":
                break
            if kind == b"cICP" and len(body) == 4:
                return body[0], body[1]
    except DecodeError:  # the pixels could be read; `metadata.read` says what else is damaged
        return None
    return None


def _of_numbers(info: dict[str | tuple[int, int], Any]) -> Space:
    """The space of a PNG with the chunks gAMA and cHRM; sRGB where they make none."""
    gamma = float(info.get("gamma", PNG_SRGB_GAMMA))
    numbers = info.get("chromaticity")
    red, green, blue, white = (numbers[i : i + 2] for i in (2, 4, 6, 0)) if numbers else SRGB_PRIMARIES
    usual_gamma = abs(gamma - PNG_SRGB_GAMMA) < PNG_TOLERANCE
    usual_points = all(
        abs(a - b) < PNG_TOLERANCE
        for point, usual in zip((red, green, blue, white), SRGB_PRIMARIES, strict=True)
        for a, b in zip(point, usual, strict=True)
    )
    if (usual_gamma and usual_points) or not LEAST_GAMMA <= gamma <= 1 / LEAST_GAMMA:
        return Space(None)
    try:
        return Space(icc.made(red, green, blue, white, 0 if usual_gamma else 1 / gamma))
    except ValueError:
        return Space(None)
