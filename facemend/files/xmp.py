"""XMP packets: what a restored picture makes false is corrected, and the rest keeps its bytes."""

import re

# XMP has a property as an attribute, prefix:Name="6", or as an element, <prefix:Name>6</prefix:Name>. The prefixes are
# those that part 2 of the XMP specification prefers; programs keep to them.
PROPERTY = rb"""((?:\s%(name)s\s*=\s*["']|<%(name)s\s*>)\s*)([^"'<>]*)"""
# The size in px of the picture that face regions are relative to. No match contains the start of another: otherwise
# the time for many elements without an end grows with the square of their number.
REGIONS_APPLY_TO = re.compile(
    rb"<(mwg-rs:AppliedToDimensions)\b(?:(?!<mwg-rs:AppliedToDimensions\b).)*?(?:/>|</\1>)", re.DOTALL
)
# A property with all that it contains, as an attribute or as an element. Again, no match contains the start of another.
WHOLE = rb"""\s(?:%(name)s)\s*=\s*(?:"[^"<]*"|'[^'<]*')|<(%(name)s)(?=[\s/>])[^<>]*(?:/>|>"""
WHOLE += rb"""(?:(?!<(?:%(name)s)[\s/>]).)*?</\1\s*>)"""
VIDEO = rb"GCamera:(?:MotionPhoto|MicroVideo)"
# What a file has besides the picture, and its result does not have
PARTS = rb"hdrgm:\w+|G?Container:Directory|" + VIDEO + rb"\w*|xmp:Thumbnails|xmpNote:HasExtendedXMP"
PART = re.compile(WHOLE % {b"name": PARTS}, re.DOTALL)
# Regions of faces: of the MWG guidelines 2.0, of Microsoft and of IPTC
REGION = re.compile(WHOLE % {b"name": rb"mwg-rs:Regions|MP:RegionInfo|Iptc4xmpExt:ImageRegion"}, re.DOTALL)
SRGB_PROFILE = b"sRGB IEC61966-2.1"


def orientation(xmp: bytes) -> int:
    """The orientation that a packet says, 1 to 8; 0 where it says none."""
    found = re.search(PROPERTY % {b"name": b"tiff:Orientation"}, xmp)
    return int(found[2]) if found and re.fullmatch(rb"\s*[1-8]\s*", found[2]) else 0


def upright(xmp: bytes) -> bytes:
    """Return a packet that says that the pixels are upright and in sRGB, and nothing of what is besides them."""
    values = {b"tiff:Orientation": b"1", b"exif:ColorSpace": b"1", b"photoshop:ICCProfile": SRGB_PROFILE}
    return _with_values(PART.sub(b"", xmp), values)


def sized(xmp: bytes, height: int, width: int) -> bytes:
    """Return a packet with this size of the picture in px, wherever it has one."""
    across, down = str(width).encode(), str(height).encode()
    values = {b"tiff:ImageWidth": across, b"tiff:ImageLength": down}
    values |= {b"exif:PixelXDimension": across, b"exif:PixelYDimension": down}
    region_values = {b"stDim:w": across, b"stDim:h": down}  # which other properties have in other units
    return REGIONS_APPLY_TO.sub(lambda found: _with_values(found[0], region_values), _with_values(xmp, values))


def _with_values(xmp: bytes, values: dict[bytes, bytes]) -> bytes:
    for name, value in values.items():
        xmp = re.sub(PROPERTY % {b"name": name}, rb"\g<1>" + value, xmp)
    return xmp


def without_regions(xmp: bytes) -> bytes:
    """Return a packet without regions of faces, whose places are relative to the picture as it was stored."""
    return REGION.sub(b"", xmp)


def has_gain_map(xmp: bytes) -> bool:
    """Whether a file has a gain map for high dynamic range (ISO 21496-1, which Adobe and Google preceded)."""
    return b"hdrgm:" in xmp


def has_video(xmp: bytes) -> bool:
    """Whether a file has a short video of the moment (Google's motion photos)."""
    found = re.search(PROPERTY % {b"name": VIDEO}, xmp)
    return found is not None and found[2].strip() == b"1"
