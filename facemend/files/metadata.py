"""What a file says about a picture besides its pixels: read from files, and corrected for the result."""

from copy import copy
from dataclasses import replace
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

from facemend.errors import DecodeError
from facemend.files import exif, iptc, png, tiff, xmp
from facemend.files.decoders import decoding
from facemend.files.directories import Reader
from facemend.records import Metadata

EXIF_PREFIX = b"Exif\0\0"  # in most files, before what `Metadata.exif` holds
XMP_KEYWORD = b"XML:com.adobe.xmp"  # of a PNG text chunk with an XMP packet
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"  # begins a JPEG segment with the rest of a long packet
EXIF_PROFILE = f"{png.RAW_PROFILE}exif".encode()  # keyword of a PNG text chunk with an EXIF block
IPTC_PROFILE = f"{png.RAW_PROFILE}iptc".encode()  # keyword of one with IPTC records
XMP_PROFILE = f"{png.RAW_PROFILE}xmp".encode()  # keyword of one with an XMP packet, as ImageMagick writes it
COMMENT = b"Comment"  # keyword of a PNG text chunk
TEXT = (b"tEXt", b"zTXt", b"iTXt")  # PNG chunks
# EXIF orientation -> (mirror left-right first, then quarter turns counter-clockwise)
TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
TURNED = (5, 6, 7, 8)  # orientations in which rows are stored as columns


class Read(NamedTuple):
    """What a file says about a picture.

    Attributes:
        metadata: of the upright picture in sRGB.
        orientation: in which the loaded pixels are, 1 to 8.
        adobe_rgb: whether EXIF says that the stored colours are those of Adobe RGB.
    """

    metadata: Metadata
    orientation: int
    adobe_rgb: bool


def read(image: Image.Image, stream: BinaryIO | None) -> Read:
    """Read the metadata of a picture.

    Args:
        image: the picture, loaded.
        stream: its file, if it comes from one.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile) and stream is not None:
        found, stored = of_tiff(stream)
        return Read(upright(found, stored), 1, is_adobe_rgb(found))  # Pillow has turned the pixels
    if isinstance(image, PngImagePlugin.PngImageFile) and stream is not None:
        found = _of_png(image, stream)
    else:
        found = of_image(image)
    stored = orientation(found)
    turned_by = image.info.get("original_orientation") or stored  # what pillow-heif has already applied
    return Read(upright(found, turned_by), stored, is_adobe_rgb(found))


def upright(metadata: Metadata, stored: int = 1) -> Metadata:
    """Return the metadata of a picture once its pixels are upright and in sRGB.

    Args:
        metadata: of the picture as it was stored.
        stored: its orientation then.
    """
    changed = metadata
    if metadata.exif:
        block = exif.Block(metadata.exif)
        block.set_upright(turned=stored in TURNED)
        changed = replace(changed, exif=bytes(block.data))
    if metadata.xmp:
        packet = xmp.upright(metadata.xmp)
        lost = changed.lost
        if stored != 1 and (without := xmp.without_regions(packet)) != packet:
            packet, lost = without, (*lost, "face regions in XMP (the picture is turned)")
        changed = replace(changed, xmp=packet, lost=lost)
    return changed


def sized(metadata: Metadata, height: int, width: int) -> Metadata:
    """Return the metadata of a picture of this size in px."""
    changed = metadata
    if metadata.exif:
        block = exif.Block(metadata.exif)
        block.set_size(height, width)
        changed = replace(changed, exif=bytes(block.data))
    if metadata.xmp:
        changed = replace(changed, xmp=xmp.sized(metadata.xmp, height, width))
    return changed


def dpi(metadata: Metadata) -> tuple[float, float] | None:
    """Px per inch across and down, for readers that look outside EXIF; None where EXIF has no valid ones."""
    return exif.Block(metadata.exif).dpi if metadata.exif else None


def png_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG for everything but EXIF: kind and body of each."""
    chunks = list(metadata.text)
    if metadata.xmp:
        chunks.append((b"iTXt", XMP_KEYWORD + bytes(5) + metadata.xmp))
    if metadata.iptc:
        chunks.append((b"tEXt", IPTC_PROFILE + b"\0" + png.profile("iptc", iptc.resource(metadata.iptc))))
    if metadata.comment:
        chunks.append(_comment_chunk(metadata.comment))
    return chunks


def is_adobe_rgb(metadata: Metadata) -> bool:
    """Whether EXIF says that the stored colours are those of Adobe RGB."""
    return metadata.exif is not None and exif.Block(metadata.exif).is_adobe_rgb


def orientation(metadata: Metadata) -> int:
    """The orientation of the stored px that EXIF, or else XMP, says: 1 to 8."""
    told = exif.Block(metadata.exif).orientation if metadata.exif else 0
    return told or (xmp.orientation(metadata.xmp) if metadata.xmp else 0) or 1


def of_image(image: Image.Image) -> Metadata:
    """The metadata that Pillow hands on as bytes, as the file has it: before the picture is made upright."""
    lost: list[str] = []
    info = image.info
    block = usable(_exif(image).removeprefix(EXIF_PREFIX), lost)
    # Scanners write the resolution outside EXIF. In other formats `dpi` repeats EXIF, or is a default of Pillow.
    across, down = info.get("dpi", (0, 0)) if image.format in ("PNG", "BMP") or info.get("jfif_unit") else (0, 0)
    block = with_dpi(block, (across, down), first=image.format == "PNG")  # where most programs read only this one
    if any(body.startswith(EXTENDED_XMP) for _, body in getattr(image, "applist", ())):
        lost.append("the second part of the XMP packet (over 64 KB)")
    resources = info.get("photoshop")
    if isinstance(resources, dict) and any(number in iptc.PATHS for number in resources):
        lost.append("clipping paths")
    return Metadata(
        exif=block,
        xmp=info.get("xmp") or None,
        iptc=resources.get(iptc.RECORDS) if isinstance(resources, dict) else None,
        comment=_comment(image),
        lost=tuple(lost),
    )


def with_dpi(block: bytes | None, dpi: tuple[float, float], first: bool = False) -> bytes | None:
    """An EXIF block with a resolution that the file says elsewhere, if it is valid.

    Args:
        block: the block, or None.
        dpi: px per inch across and down.
        first: whether it goes before another resolution in the block.
    """
    said = exif.Block(block) if block else None
    unsaid = not (said and exif.fields(said.main, exif.X_RESOLUTION))
    other = said is not None and first and not _agree(said.dpi, dpi)
    valid = all(1 <= value <= exif.HIGHEST_DPI for value in dpi)
    return exif.with_resolution(block, dpi) if valid and (unsaid or other) else block


def _agree(one: tuple[float, float] | None, other: tuple[float, float]) -> bool:
    """Whether two resolutions are the same."""
    return one is not None and all(abs(a - b) < 0.5 for a, b in zip(one, other, strict=True))


def _comment(image: Image.Image) -> bytes | None:
    """The comment; several comments of a JPEG in one, in lines."""
    comments = [body for name, body in getattr(image, "applist", ()) if name == "COM"]
    comment = b"\n".join(comments) if comments else image.info.get("comment")
    return comment if isinstance(comment, bytes) else None


def _exif(image: Image.Image) -> bytes:
    """The EXIF block as it is in the file; as Pillow writes it where Pillow has made the image or read it as TIFF."""
    if block := image.info.get("exif"):
        return bytes(block)
    if profile := image.info.get(png.RAW_PROFILE + "exif"):
        return png.of_profile(str(profile))
    if isinstance(image, ImageFile.ImageFile) and not isinstance(image, TiffImagePlugin.TiffImageFile):
        return b""
    fields = copy(image.getexif())
    fields.bigtiff = False  # a BigTIFF's would be written as in that file
    return fields.tobytes()


def usable(block: bytes, lost: list[str]) -> bytes | None:
    """An EXIF block, or None where it is empty or cannot be used; what is wrong with it is added to `lost`."""
    if not block or exif.is_empty(block):
        return None
    try:
        whole = exif.Block(block).whole
    except ValueError as error:
        lost.append(f"EXIF (damaged: {error})")
        return None
    if not whole:
        lost.append("a part of EXIF (the block is damaged)")
    return block


def of_tiff(stream: BinaryIO) -> tuple[Metadata, int]:
    """The metadata of the first page that is not a reduced copy, and the orientation in which it is stored, 1 to 8."""
    reader = Reader(stream)
    page = reader.first_page()
    lost: list[str] = []
    block, moved = tiff.exif(reader, page)
    block = usable(block or b"", lost)
    if moved:
        lost.append("offsets inside the MakerNote (it had to move)")
    values = {tag: value.data for tag, value in page.values.items()}
    records = values.get(tiff.IPTC) or iptc.of_resources(values.get(tiff.PHOTOSHOP, b""))
    metadata = Metadata(block, values.get(tiff.XMP) or None, records, lost=tuple(lost))
    stored = reader.first(page, exif.ORIENTATION)
    return metadata, stored if stored in TURNS else 1


def _of_png(image: PngImagePlugin.PngImageFile, stream: BinaryIO) -> Metadata:
    metadata = of_image(image)
    stream.seek(0)
    text, comment, records, packet, lost = [], None, None, metadata.xmp, list(metadata.lost)
    done = {XMP_KEYWORD, EXIF_PROFILE}  # keywords; of several texts with one of them, Pillow has the last
    try:
        with decoding():
            texts = image.text
        for kind, body in png.chunks(stream.read()):
            keyword = body.partition(b"\0")[0]
            if kind not in TEXT or keyword in done:
                continue
            if keyword in (IPTC_PROFILE, XMP_PROFILE):
                done.add(keyword)
            if keyword == IPTC_PROFILE:
                records = iptc.of_profile(png.of_profile(texts.get(keyword.decode(), "")))
                if records is None:
                    lost.append("IPTC (damaged or empty)")
            elif keyword == XMP_PROFILE:
                packet = packet or png.of_profile(texts.get(keyword.decode(), "")) or None
                if packet is None:
                    lost.append("XMP (damaged or empty)")
            else:
                text.append((kind, body))
        comments = [one for one in text if one[1].partition(b"\0")[0] == COMMENT]
        if len(comments) == 1:  # a JPEG has a place for one; several stay the texts of a PNG
            text.remove(comments[0])
            comment = texts.get("Comment", "").encode() or None
            if comment is None:
                lost.append("comment (damaged or empty)")
    except DecodeError:
        lost.append("PNG texts (damaged)")
    return replace(metadata, text=tuple(text), comment=comment, iptc=records, xmp=packet, lost=tuple(lost))


def _comment_chunk(comment: bytes) -> tuple[bytes, bytes]:
    """A JPEG does not say the encoding of its comment: UTF-8 where it is valid, else Latin-1."""
    comment = comment.replace(b"\0", b"")
    try:
        comment.decode()
    except UnicodeDecodeError:
        return b"tEXt", COMMENT + b"\0" + comment
    return b"iTXt", COMMENT + bytes(5) + comment
