"""What a file says about a picture besides its pixels: EXIF, orientation, resolution."""

from PIL import ExifTags, Image

EXIF_PREFIX = b"Exif\0\0"  # in files, before what `Picture.exif` holds
RESOLUTION_TAGS = (282, 283, 296)  # px per unit across and down, and the unit
NO_UNIT, PER_INCH, PER_CENTIMETRE = 1, 2, 3
HIGHEST_DPI = 65535  # of a JPEG
# EXIF orientation -> (mirror left-right first, then quarter turns counter-clockwise)
TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
# TIFF tags that describe how the pixels are stored, or hold blocks that are not EXIF (XMP, IPTC, Photoshop, ICC)
STORAGE_TAGS = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 317, 318, 319, 320}
STORAGE_TAGS |= {322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675}


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, a key of `TURNS`, or 1 for upright."""
    value = image.getexif().get(ExifTags.Base.Orientation)
    return value if value in TURNS else 1


def read_exif(image: Image.Image) -> bytes | None:
    """The EXIF block without orientation and thumbnail, with the resolution; None if it says nothing."""
    kept = Image.Exif()
    kept.load(image.getexif().tobytes())  # a copy, so a caller's image stays as it is
    for tag in STORAGE_TAGS & kept.keys():
        del kept[tag]
    # Scanners write the resolution outside EXIF. In other formats `dpi` repeats EXIF, or is a default of Pillow.
    if RESOLUTION_TAGS[0] not in kept and (image.format in ("PNG", "BMP") or image.info.get("jfif_unit")):
        across, down = image.info.get("dpi", (0, 0))
        if across > 0 and down > 0:
            kept.update(zip(RESOLUTION_TAGS, (across, down, PER_INCH), strict=True))
    return kept.tobytes().removeprefix(EXIF_PREFIX) if len(kept) else None


def dpi(exif: bytes | None) -> tuple[float, float] | None:
    """Pixels per inch across and down, for readers that look outside EXIF; None where the block has no valid ones."""
    if not exif:
        return None
    tags = Image.Exif()
    tags.load(exif)
    across, down, unit = (tags.get(tag, 0) for tag in RESOLUTION_TAGS)
    try:
        inch = 2.54 if unit == PER_CENTIMETRE else 1
        values = float(across) * inch, float(down) * inch
    except (TypeError, ValueError):
        return None
    return values if unit != NO_UNIT and all(1 <= value <= HIGHEST_DPI for value in values) else None
