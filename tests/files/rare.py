"""Pictures in formats that need an extra package, written by that package, and a raw file as a camera writes it."""

import io
import struct

import cv2
import numpy as np

from facemend.files.encode import encode
from facemend.files.exif import LONG, RATIONAL, SHORT, Block
from facemend.records import Picture


def nef(width=64, height=48, small=(16, 12)):
    """A raw file as Nikon's cameras write it: a small RGB picture, and a directory below that has the mosaic."""
    data = bytearray(b"II*\0" + bytes(4))

    def put(value):
        data.extend(value)
        return len(data) - len(value)

    def directory(*fields):
        """Each field is its tag, its type, and its numbers or its bytes."""
        rows = b""
        for tag, kind, *numbers in sorted(fields):
            values = (
                numbers[0] if kind == 2 else struct.pack(f"<{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)
            )
            count = len(values) // {2: 1, SHORT: 2, LONG: 4}[kind]
            place = struct.pack("<I", put(values)) if len(values) > 4 else values.ljust(4, b"\0")
            rows += struct.pack("<HHI", tag, kind, count) + place
        return put(struct.pack("<H", len(fields)) + rows + bytes(4))

    def of(size, samples, photometric, *fields):
        return directory(
            (256, LONG, size[0]), (257, LONG, size[1]), (259, SHORT, 1), (262, SHORT, photometric),
            (273, LONG, put(samples)), (278, LONG, size[1]), (279, LONG, len(samples)), *fields,
        )  # fmt: skip

    mosaic = np.full((height, width), 8000, np.uint16).tobytes()
    below = of((width, height), mosaic, 32803, (254, LONG, 0), (258, SHORT, 16), (277, SHORT, 1),
               (33421, SHORT, 2, 2), (33422, LONG, 0, 1, 1, 2))  # fmt: skip
    first = of(small, bytes(3 * small[0] * small[1]), 2, (254, LONG, 1), (258, SHORT, 8, 8, 8), (277, SHORT, 3),
               (271, 2, b"NIKON CORPORATION\0"), (272, 2, b"NIKON D3\0"), (330, LONG, below))  # fmt: skip
    data[4:8] = struct.pack("<I", first)
    return bytes(data)


def dng(width=64, height=48, colour=(30000, 20000, 10000), filters=True):
    """A raw file of one colour, as linear light behind the filters red, green, green, blue, or without filters."""
    mosaic = np.empty((height, width), np.uint16)
    red, green, blue = colour
    mosaic[::2, ::2], mosaic[::2, 1::2], mosaic[1::2, ::2], mosaic[1::2, 1::2] = red, green, green, blue
    block = Block(encode(Picture(np.repeat(mosaic[..., None], 3, axis=2), grey=True), "tiff"))
    entries = block.main_entries()

    def add(tag, kind, *numbers):
        code = {1: "B", 2: "B", SHORT: "H", LONG: "I", RATIONAL: "I", 10: "i"}[kind]
        count = len(numbers) // 2 if kind in (RATIONAL, 10) else len(numbers)
        entries[tag] = block.entry(kind, count, struct.pack(f"<{len(numbers)}{code}", *numbers))

    add(254, LONG, 0)
    add(262, SHORT, 32803 if filters else 34892)  # a mosaic of colours, or linear light
    add(271, 2, *b"Camera\0")
    add(272, 2, *b"Model 1\0")
    add(274, SHORT, 1)
    if filters:
        add(33421, SHORT, 2, 2)
        add(33422, 1, 0, 1, 1, 2)
    add(50706, 1, 1, 4, 0, 0)
    add(50708, 2, *b"Camera Model 1\0")
    add(50717, LONG, 65535)
    if filters:
        add(50721, 10, *[number for row in XYZ_TO_SRGB for value in row for number in (round(value * 10000), 10000)])
        add(50728, RATIONAL, 1, 1, 1, 1, 1, 1)
    add(50778, SHORT, 21)  # D65
    block.replace_main(entries)
    return bytes(block.data)


XYZ_TO_SRGB = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))


def psd(image):
    from psd_tools import PSDImage

    stream = io.BytesIO()
    PSDImage.frompil(image).save(stream)
    return stream.getvalue()


def exr(values, **header):
    """An OpenEXR file of (H, W, 1, 3 or 4) float32."""
    import OpenEXR

    stream = io.BytesIO()
    name = {1: "Y", 3: "RGB", 4: "RGBA"}[values.shape[2]]
    values = values[..., 0] if name == "Y" else values
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    OpenEXR.File(header, {name: np.ascontiguousarray(values)}).write(stream)
    return stream.getvalue()


def radiance(values):
    return cv2.imencode(".hdr", np.ascontiguousarray(values[..., ::-1]))[1].tobytes()


def jxl(image, **options):
    import pillow_jxl  # noqa: F401 - registers the format

    stream = io.BytesIO()
    image.save(stream, "JXL", **options)
    return stream.getvalue()


def psd_of(samples, resources):
    """A PSD of (H, W, 3 or 4) uint8 or uint16 as Photoshop writes it, with image resources: number -> bytes."""
    height, width, channels = samples.shape
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, 8 * samples.itemsize, 3)
    blocks = b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
        for number, data in resources.items()
    )
    planes = np.moveaxis(samples, 2, 0).astype(samples.dtype.newbyteorder(">")).tobytes()
    return header + bytes(4) + struct.pack(">I", len(blocks)) + blocks + bytes(4) + bytes(2) + planes
