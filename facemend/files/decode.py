"""Files, bytes, Pillow images and arrays to `Picture`."""

import contextlib
import io
import pkgutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from facemend.errors import DecodeError, MemoryLimitError, OpenError
from facemend.extras import install_remedy
from facemend.files import bigtiff, colour, deep, formats, hdr, headers, jpeg, metadata, spaces, tiff, tiff_samples, xmp
from facemend.files.decoders import decoding, quiet
from facemend.files.directories import NEW_SUBFILE, REDUCED, Reader
from facemend.files.samples import Samples
from facemend.records import DEFAULT_SETTINGS, ONLY_FIRST, Picture, Pixels, Settings, converted

Source = str | Path | bytes | bytearray | memoryview | Image.Image | Pixels

# Pillow's mode of the samples in a file -> what loading multiplies them by
STEPS: dict[object, int] = {"L;2": 85, "L;4": 17}
FILES_SAY_MORE = (PngImagePlugin.PngImageFile, TiffImagePlugin.TiffImageFile)  # than Pillow hands on
CHANNELS = {"RGB": 3, "RGBA": 3, "CMYK": 4, "L": 1, "LA": 1}  # Pillow mode -> channels without alpha
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")


def decode(source: Source, settings: Settings = DEFAULT_SETTINGS, name: str = "") -> Picture:
    """Read a picture, upright and in sRGB.

    The format is recognised by the file's content. Of an animated or multi-page file only the first picture is read.

    Args:
        source: a file, its bytes, a Pillow image, or an (H, W), (H, W, 3) RGB or (H, W, 4) RGBA array of
            uint8 or uint16. Pillow reduces 16-bit colours to 8 bits when it loads them, and does not hand on all that
            a PNG says. So a Pillow image keeps 16 bits, and a PNG its texts and its cICP colours, only where it has not
            been loaded yet.
        settings: its limits on the input and on the output it would get are checked before any pixel is decoded.
        name: what error messages call the source, instead of its path.

    Raises:
        DecodeError: not a picture, a damaged one, or a kind that is not supported.
        TooLargeError: more pixels than a limit.
        MemoryLimitError: not enough memory to decode it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, settings)
    if not isinstance(source, (str, Path, bytes, bytearray, memoryview, Image.Image)):
        raise DecodeError(
            f"cannot read an object of type {type(source).__name__}", "give a path, bytes, a Pillow image or an array"
        )
    if not name:
        name = (str(source) or "''") if isinstance(source, (str, Path)) else "the picture"
    try:
        if isinstance(source, Image.Image):
            return _from_image(source, settings)
        if isinstance(source, (str, Path)):
            return _from_path(Path(source), settings)
        return _from_stream(io.BytesIO(source), settings)
    except DecodeError as error:
        raise error.about(name) from error
    except MemoryError as error:
        problem = f"not enough memory to read {name}"
        raise MemoryLimitError(problem, "close other programs", "use a smaller picture") from error
    except OSError as error:
        raise OpenError.of(name, error) from error
    except UnicodeEncodeError as error:  # a path
        raise DecodeError("no file can have this name", "check the path").about(ascii(name)) from error


def _from_path(path: Path, settings: Settings) -> Picture:
    if "\0" in str(path):
        raise DecodeError("no file can have this name", "check the path")
    if path.is_fifo():  # it may never end, and cannot be read twice
        raise DecodeError("it is a pipe", "save its content as a file first")
    with path.open("rb") as stream:
        return _from_stream(stream, settings, path.suffix.lower())


def _from_image(image: Image.Image, settings: Settings) -> Picture:
    file = image.fp if isinstance(image, ImageFile.ImageFile) and image.tile else None  # until it is loaded
    if file and (deep.layout(image) or isinstance(image, FILES_SAY_MORE)) and _is_read_of_its_file(image):
        position = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(position)
        return _from_stream(io.BytesIO(data), settings)
    return _picture(image, settings, formats.FORMATS.get((image.format or "").lower()))


def _is_read_of_its_file(image: Image.Image) -> bool:
    """Whether the same picture is read of the image's file: the first one, if it is not a reduced copy of another."""
    kind = image.tag_v2.get(NEW_SUBFILE) if isinstance(image, TiffImagePlugin.TiffImageFile) else 0
    return image.tell() == 0 and not (isinstance(kind, int) and kind & REDUCED)


def _from_stream(stream: BinaryIO, settings: Settings, suffix: str = "") -> Picture:
    head = stream.read(formats.HEAD)
    if not head:
        raise DecodeError("it is empty", "use a complete copy")
    row = formats.recognise(head, suffix)
    if row is None:
        raise DecodeError(formats.describe_unknown(head), f"give a {formats.READABLE} file")
    if row.name == "tiff":
        stream = bigtiff.classic(stream)
        if tiff.is_raw(Reader(stream)):
            row = formats.FORMATS["raw"]
    if not row.installed:
        problem = f"{row.title} needs the package {row.package} (the extra {row.extra} of facemend)"
        raise DecodeError(problem, install_remedy(row.extra))
    if size := headers.announced_size(head, row.name):
        settings.check_size(*size)
    limited = partial(_check_size, settings=settings)
    besides = None
    if row.name == "tiff":
        directories = Reader(stream)
        page = directories.first_page()
        tiff.check(directories, page)
        if tiff_samples.reads(directories, page):
            return _of_samples(tiff_samples.read(stream, limited), row)
        besides = tiff.besides(directories, page)
    stream.seek(0)
    # The one reader of this format. Image.open would also try every other plugin, and warn about large pictures.
    reader = pkgutil.resolve_name(row.reader)
    if not isinstance(reader, type):
        return _of_samples(reader(stream, limited), row)
    with quiet(), decoding():
        image = reader(stream)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff.seek_picture(image, stream)
    return _picture(image, settings, row, stream, besides)


def _of_samples(samples: Samples, row: formats.Format) -> Picture:
    colours, lost = samples.colours, list(samples.lost)
    grey = colours.ndim == 2
    if colours.dtype == np.float32:
        if colours.max(initial=0) > 1:
            lost.append("high dynamic range (it is tone-mapped to sRGB)")
        colours = hdr.of_scene(np.repeat(colours[..., None], 3, axis=2) if grey else colours)
    elif colours.dtype == np.uint16:
        colours = colour.deep_to_srgb(colours, samples.profile, lost)
    else:
        mode = "L" if colours.ndim == 2 else {3: "RGB", 4: "CMYK"}[colours.shape[2]]
        image = Image.fromarray(np.ascontiguousarray(colours), mode)
        colours = np.asarray(colour.to_srgb(image, samples.profile, lost))
    alpha = None if samples.alpha is None else converted(samples.alpha, colours.dtype)
    picture = _assemble(colours, alpha, grey, samples.orientation)
    described = metadata.upright(samples.metadata, samples.orientation)
    return replace(picture, metadata=described, format=row.name, lost=tuple(lost))


def _picture(
    image: Image.Image,
    settings: Settings,
    row: formats.Format | None,
    stream: BinaryIO | None = None,
    besides: list[str] | None = None,
) -> Picture:
    """Decode an image.

    Args:
        image: not loaded, except one of the caller's.
        settings: its limits.
        row: its format, if it is known.
        stream: its file, if it comes from one.
        besides: what the file has besides the picture, in words, where Pillow does not tell.
    """
    _check_size(image.height, image.width, settings)
    layout = deep.layout(image)
    grey = image.mode in GREY_MODES or layout == "LA"
    name = row.name if row else ""
    if name == "jpeg" and stream is not None:
        stream.seek(0)
        jpeg.check(stream.read())
    tiff_image = image if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    if besides is None:
        with quiet(), decoding():
            several = getattr(image, "is_animated", False) or (
                isinstance(image, JpegImagePlugin.JpegImageFile) and jpeg.has_viewpoints(image)
            )
        besides = [ONLY_FIRST] if several else []
    # Loading multiplies the grey samples, but not the one that is transparent.
    step = STEPS.get(image.tile[0].args, 1) if isinstance(image, PngImagePlugin.PngImageFile) and image.tile else 1
    if isinstance(image, ImageFile.ImageFile):
        # At least a row at once: Pillow joins blocks of a row in time that grows with the square of their number.
        image.decodermaxblock = max(image.decodermaxblock, 4 * image.width)
    with quiet() if tiff_image else contextlib.nullcontext(), decoding():
        image.load()
    if step > 1 and "transparency" in image.info:
        image.info["transparency"] *= step
    with quiet():  # after loading, which rotates a TIFF, and finds the EXIF block at the end of a PNG
        said = metadata.read(image, stream)
        space = spaces.of(image, stream, said.adobe_rgb)
    lost = [*besides, *_other_pictures(image)]
    if tiff_image:
        lost += _other_channels(tiff_image)
    if stream is not None and layout:
        with quiet():
            colours, alpha = deep.read(stream, image)
    elif image.mode.startswith("I;16"):
        colours, alpha = deep.grey(image)
    else:
        colours, alpha = _samples(image, space.profile, lost)
        if layout or (stream is None and deep.is_reduced(image)):
            lost.append("8 of 16 bits (Pillow has reduced this image)")
    if tiff_image and not tiff.has_alpha(_extra_samples(tiff_image)):
        alpha = None
    if colours.dtype == np.uint16:
        colours = colour.deep_to_srgb(colours, space.profile, lost)
    picture = _assemble(colours, alpha, grey, said.orientation)
    if space.to_srgb is not None:
        picture = replace(picture, pixels=hdr.to_sdr(picture.pixels, space.hdr, space.to_srgb))
        lost.append(f"high dynamic range ({space.hdr}; it is tone-mapped to sRGB)")
    if name == "avif" and stream is not None and (bits := headers.avif_bits(stream)) > 8:
        lost.append(f"8 of {bits} bits (Pillow reads no more)")
    lossless = name == "webp" and stream is not None and headers.is_lossless(stream)
    return replace(picture, metadata=said.metadata, format=name, lossless=lossless, lost=tuple(lost))


def _other_pictures(image: Image.Image) -> list[str]:
    """What a phone adds to a picture to show it otherwise, in words."""
    other = ["depth map"] if image.info.get("depth_images") else []
    packet = image.info.get("xmp") or b""
    if xmp.has_gain_map(packet) or any("gainmap" in str(kind) for kind in image.info.get("aux", ())):
        other.append("HDR gain map")
    return other + (["video"] if xmp.has_video(packet) else [])


def _extra_samples(image: TiffImagePlugin.TiffImageFile) -> list[int]:
    return [*image.tag_v2.get(tiff.EXTRA_SAMPLES, ())]


def _other_channels(image: TiffImagePlugin.TiffImageFile) -> list[str]:
    """The channels of a TIFF that are neither colours nor transparency, in words."""
    kinds = _extra_samples(image)
    count = image.tag_v2.get(tiff.SAMPLES, 1) - CHANNELS.get(image.mode, image.tag_v2.get(tiff.SAMPLES, 1))
    return tiff.other_channels(max(count, len(kinds)) - tiff.has_alpha(kinds))


def _from_array(array: Pixels, settings: Settings) -> Picture:
    array = np.asarray(array)  # a matrix would keep two axes
    shape = array.shape
    if array.dtype not in (np.uint8, np.uint16) or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise DecodeError(
            f"cannot use an array of shape {shape} and type {array.dtype}",
            "give (height, width), (height, width, 3) RGB or (height, width, 4) RGBA of uint8 or uint16",
        )
    _check_size(*shape[:2], settings)
    if len(shape) == 2:
        return _assemble(array, None, grey=True)
    # Copied, as the caller may go on to change it
    return _assemble(array[..., :3].copy(), array[..., 3] if shape[2] == 4 else None, grey=False)


def _check_size(height: int, width: int, settings: Settings) -> None:
    if width < 1 or height < 1:
        raise DecodeError(f"a picture of {width} x {height} pixels is empty", "give another")
    settings.check_size(height, width)


def _assemble(colours: Pixels, alpha: Pixels | None, grey: bool, orientation: int = 1) -> Picture:
    """The picture of samples in sRGB, made upright."""
    colours = _upright(colours, orientation)
    if colours.ndim == 2:
        colours = np.repeat(colours[..., None], 3, axis=2)
    if alpha is not None:
        alpha = np.ascontiguousarray(_upright(alpha, orientation))
        colours = _filled(colours, alpha)
    return Picture(np.ascontiguousarray(colours), alpha, grey)


def _filled(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Give each fully transparent pixel the colour of the nearest visible one.

    What is stored there is arbitrary, mostly black, and would bleed into the visible edge when filtered or resized.
    """
    hidden = alpha == 0
    if hidden.all() or not hidden.any():
        return pixels
    _, labels = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros((labels.max() + 1, 3), pixels.dtype)  # label of a visible pixel -> its colour
    source[labels[~hidden]] = pixels[~hidden]
    filled: Pixels = pixels.copy()
    filled[hidden] = source[labels[hidden]]
    return filled


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    mirror, quarters = metadata.TURNS.get(orientation, (False, 0))
    return np.rot90(np.fliplr(pixels) if mirror else pixels, quarters)


def _samples(image: Image.Image, profile: bytes | None, lost: list[str]) -> tuple[Pixels, Pixels | None]:
    """The values of a loaded 8-bit image in sRGB: (H, W) if grey, else (H, W, 3); and alpha."""
    if image.mode in ("I", "F"):
        raise DecodeError(f"pixels of mode {image.mode} (32 bits) have no defined white", "save it with 8 or 16 bits")
    alpha = None
    with decoding():
        if image.has_transparency_data:
            if image.mode not in ("LA", "RGBA"):  # converting copies
                image = image.convert("LA" if image.mode in GREY_MODES else "RGBA")
            alpha = np.asarray(image.getchannel("A"))
            image = image.convert("L" if image.mode == "LA" else "RGB")
        elif image.mode in ("1", "P"):
            image = image.convert("L" if image.mode == "1" else "RGB")
    return np.asarray(colour.to_srgb(image, profile, lost)), alpha
