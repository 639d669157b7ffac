"""The table of file formats. Adding one is one row here, and a reader or writer where Pillow has none.

Readers and writers are named as "module:name" and imported when they are first used.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from facemend.errors import OptionError, listed
from facemend.records import Metadata, Picture, is_whole, peak

# What pixels may have besides 8-bit colours, and what pages and messages call it
ABILITIES = {"deep": "16 bits", "alpha": "transparency", "profile": "ICC profile", "hdr": "HDR"}
Quality = int | Literal["lossless"]
LOSSLESS: Final = "lossless"  # a quality; for a JPEG the same as 100
LOSSLESS_FROM = 95  # from this quality on, a lossless WebP stays lossless
HEAD = 64  # bytes of a file that are enough to recognise it
# The start of an ISO media file (ISO 14496-12): the header, and any brands before the one that is looked for. Brands
# have four bytes and tell pictures from videos.
BRANDS = rb"....ftyp(?:....)*?"
# Fields of `Metadata`, and what messages call them
METADATA = {"exif": "EXIF", "xmp": "XMP", "iptc": "IPTC", "comment": "comment", "text": "PNG texts"}


RAW_SUFFIXES = (
    ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr",
    ".iiq", ".erf", ".mrw", ".mef", ".mos", ".dcr", ".kdc",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Format:
    """One row: how files of a format are recognised, read and written.

    Attributes:
        name: what `Picture.format` and the options call it.
        title: what messages call it.
        suffixes: those of its files, in lower case; files we write get the first.
        signature: matches the first `HEAD` bytes of its files, from the start.
        other_signature: matches those of its files whose start is that of another format; they have this one only if
            their names have its suffixes.
        reader: the class that reads it, a `PIL.ImageFile.ImageFile`, or a function as in `facemend.files.psd`.
        package: the package that the reader needs, beside those that are always installed; "" for none.
        extra: the extra of this package that installs it.
        writer: the function that writes it, as those of `facemend.files.encode`; "" if it is not written.
        reads: the names in `ABILITIES` of what its reader reads besides 8-bit colours.
        converted_to: the format that "auto" writes for an input of this one; "" for the same.
        deep: whether it holds 16 bits per channel.
        alpha: whether it holds transparency.
        longest_side: the longest side in px that its writer can write; 0 for any.
        most_bytes: the most bytes of pixels that it can hold; 0 for any.
        holds: the fields of `Metadata` that its writer writes.
        longest: the most bytes that such a field can have, where there is a limit.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    signature: bytes
    reader: str
    other_signature: bytes = b""
    package: str = ""
    extra: str = ""
    writer: str = ""
    reads: tuple[str, ...] = ()
    converted_to: str = ""
    deep: bool = False
    alpha: bool = False
    longest_side: int = 0
    most_bytes: int = 0
    holds: tuple[str, ...] = ()
    longest: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def suffix(self) -> str:
        """The suffix that files we write get."""
        return self.suffixes[0]

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    def recognises(self, head: bytes, suffix: str = "") -> bool:
        """Whether a file that starts with these `HEAD` bytes, with a suffix in lower case, has this format."""
        if self.other_signature and suffix in self.suffixes and re.match(self.other_signature, head, re.DOTALL):
            return True
        return re.match(self.signature, head, re.DOTALL) is not None

    def lacks(self, picture: Picture, size: tuple[int, int]) -> str:
        """What this format cannot hold of a picture that becomes `size` = (height, width) px; "" if nothing."""
        if picture.pixels.dtype == np.uint16 and not self.deep:
            return "16 bits per channel"
        if not self.alpha and picture.alpha is not None and picture.alpha.min() < peak(picture.pixels):
            return "transparency"
        if self.longest_side and max(size) > self.longest_side:
            return f"a side over {self.longest_side} pixels"
        channels = 4 if self.alpha and picture.alpha is not None else 1 if picture.grey else 3
        if self.most_bytes and size[0] * size[1] * channels * picture.pixels.itemsize > self.most_bytes:
            return f"over {self.most_bytes / 1e9:.1f} GB of pixels"
        return ""

    def writes(self, ability: str) -> bool:
        """Whether its writer writes what a name in `ABILITIES` or `METADATA` stands for."""
        return {"deep": self.deep, "alpha": self.alpha}.get(ability, ability in self.holds)

    def fitted(self, metadata: Metadata) -> Metadata:
        """The metadata that a file of this format holds; the rest is named in its `lost`."""
        without, lost = {}, list(metadata.lost)
        for part, title in METADATA.items():
            value = getattr(metadata, part)
            if value and part not in self.holds:
                lost.append(f"{title} ({self.title} has no place for it)")
            elif value and len(value) > self.longest.get(part, len(value)):
                lost.append(f"{title} (too long for {self.title})")
            else:
                continue
            without[part] = getattr(Metadata(), part)
        return replace(metadata, **without, lost=tuple(lost))


FORMATS: Mapping[str, Format] = {
    row.name: row
    for row in (
        Format(  # before TIFF and HEIC, as many have their structure
            name="raw",
            title="camera raw",
            suffixes=RAW_SUFFIXES,
            signature=rb"II\*\0\x10\0\0\0CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|....ftypcrx |\0MRM",
            other_signature=rb"II\*\0|MM\0\*",
            reader="facemend.files.raw:read",
            reads=("deep", "exif"),
            package="rawpy",
            extra="raw",
            converted_to="png",
        ),
        Format(
            name="jpeg",
            title="JPEG",
            suffixes=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
            signature=rb"\xff\xd8\xff",
            reader="PIL.JpegImagePlugin:JpegImageFile",
            reads=("profile", "exif", "xmp", "iptc", "comment"),
            writer="facemend.files.encode:write_jpeg",
            longest_side=65500,  # of libjpeg
            holds=("exif", "xmp", "iptc", "comment"),
            longest={"exif": 65527, "xmp": 65502, "iptc": 65506, "comment": 65533},  # of a segment, without its headers
        ),
        Format(
            name="png",
            title="PNG",
            suffixes=(".png",),
            signature=rb"\x89PNG\r\n\x1a\n",
            reader="PIL.PngImagePlugin:PngImageFile",
            reads=("deep", "alpha", "profile", "hdr", "exif", "xmp", "iptc", "comment", "text"),
            writer="facemend.files.encode:write_png",
            deep=True,
            alpha=True,
            holds=tuple(METADATA),
        ),
        Format(
            name="webp",
            title="WebP",
            suffixes=(".webp",),
            signature=rb"RIFF....WEBP",
            reader="PIL.WebPImagePlugin:WebPImageFile",
            reads=("alpha", "profile", "exif", "xmp"),
            writer="facemend.files.encode:write_webp",
            alpha=True,
            longest_side=16383,  # of libwebp
            holds=("exif", "xmp"),
        ),
        Format(
            name="tiff",
            title="TIFF",
            suffixes=(".tiff", ".tif"),
            signature=rb"II[*+]\0|MM\0[*+]",
            reader="PIL.TiffImagePlugin:TiffImageFile",
            reads=("deep", "alpha", "profile", "exif", "xmp", "iptc"),
            writer="facemend.files.encode:write_tiff",
            deep=True,
            alpha=True,
            most_bytes=2**32 - 2**26,  # as its offsets have 32 bits; the rest is for metadata
            holds=("exif", "xmp", "iptc"),
        ),
        Format(
            name="bmp",
            title="BMP",
            suffixes=(".bmp",),
            signature=rb"BM",
            reader="PIL.BmpImagePlugin:BmpImageFile",
            converted_to="png",
        ),
        Format(
            name="gif",
            title="GIF",
            suffixes=(".gif",),
            signature=rb"GIF8",
            reader="PIL.GifImagePlugin:GifImageFile",
            reads=("alpha", "comment"),
            converted_to="png",
        ),
        Format(  # before HEIC, which is told by the same first bytes
            name="avif",
            title="AVIF",
            suffixes=(".avif",),
            signature=BRANDS + rb"avi[fs]",
            reader="PIL.AvifImagePlugin:AvifImageFile",
            reads=("alpha", "profile", "hdr", "exif", "xmp"),
            converted_to="jpeg",
        ),
        Format(
            name="heif",
            title="HEIC",
            suffixes=(".heic", ".heif", ".hif"),
            signature=BRANDS + rb"(he[iv][cmsx]|mif1|msf1)",
            reader="pillow_heif:HeifImageFile",
            reads=("deep", "alpha", "profile", "hdr", "exif", "xmp"),
            converted_to="jpeg",
        ),
        Format(
            name="jxl",
            title="JPEG XL",
            suffixes=(".jxl",),
            signature=rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
            reader="facemend.files.jxl:read",
            reads=("alpha", "profile", "exif"),
            package="pillow_jxl",
            extra="jxl",
            converted_to="jpeg",
        ),
        Format(
            name="psd",
            title="PSD",
            suffixes=(".psd", ".psb"),
            signature=rb"8BPS",
            reader="facemend.files.psd:read",
            reads=("deep", "alpha", "profile", "exif", "xmp", "iptc"),
            package="psd_tools",
            extra="psd",
            converted_to="png",
        ),
        Format(
            name="exr",
            title="OpenEXR",
            suffixes=(".exr",),
            signature=rb"v/1\x01",
            reader="facemend.files.exr:read",
            reads=("deep", "alpha", "hdr"),
            package="OpenEXR",
            extra="exr",
            converted_to="png",
        ),
        Format(
            name="radiance",
            title="Radiance HDR",
            suffixes=(".hdr",),
            signature=rb"#\?(RADIANCE|RGBE)",
            reader="facemend.files.radiance:read",
            reads=("deep", "hdr"),
            converted_to="png",
        ),
        Format(  # last, as its files have no signature: the ranges of seven numbers tell
            name="tga",
            title="TGA",
            suffixes=(".tga",),
            signature=rb".[\0\1][\1-\3\x09-\x0b].{5}.{4}.{4}[\x08\x0f\x10\x18\x20][\0-\x3f]",
            reader="PIL.TgaImagePlugin:TgaImageFile",
            reads=("alpha",),
            converted_to="png",
        ),
    )
}
WRITABLE = tuple(row for row in FORMATS.values() if row.writer)
BY_SUFFIX: Mapping[str, Format] = {suffix: row for row in FORMATS.values() for suffix in row.suffixes}
CHOICES = ("auto", *(row.suffix[1:] for row in WRITABLE))  # of the option `format`
READABLE = listed([row.title for row in FORMATS.values() if not row.extra])  # without more packages


def recognise(head: bytes, suffix: str = "") -> Format | None:
    """The format of a file that starts with these `HEAD` bytes; None if it is not in the table.

    Args:
        head: the first `HEAD` bytes.
        suffix: of the file's name, in lower case, where it has one.
    """
    return next((row for row in FORMATS.values() if row.recognises(head, suffix)), None)


def describe_unknown(head: bytes) -> str:
    """What an error says of a file that starts with these bytes and is not in the table."""
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("latin-1").strip()
        return f"it is a video, or a picture of a kind that is not read (brand {brand!a})"
    return f"its format is unknown (it starts with {head[:8].decode('latin-1')!a})"


def check_quality(quality: object) -> None:
    """Raise OptionError unless the quality of a JPEG or WebP is a whole number from 1 to 100, or "lossless"."""
    if quality != LOSSLESS and not (is_whole(quality) and quality in range(1, 101)):
        raise OptionError("quality", quality, "a whole number from 1 to 100, or lossless")
