"""Generated pictures that are broken, rare or malicious, for the tests of `decode` and of the server."""

import functools
import io
import struct
import zlib

import numpy as np
import pillow_heif
from PIL import Image

from facemend.files.encode import encode
from facemend.records import Picture

BOMB = 20_000  # px a side: 400 megapixels in files of 50 kB
FRAMES = 50_000  # of an animation of 1 MB
PAGES = 20_000  # of a TIFF of 2 MB
SCANS = 10_000  # of a JPEG of 300 kB


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def saved_heif(image, exif=None, **options):
    stream = io.BytesIO()
    file = pillow_heif.from_pillow(image)
    file[0].info["exif"] = exif  # its orientation is also stored as the rotation of the container, as phones do
    file.save(stream, **options)
    return stream.getvalue()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@functools.cache
def whole():
    """One valid picture of every kind: suffix -> bytes. Noise compresses badly, so a truncated file lacks pixels."""
    picture = Image.fromarray(noise(64, 64, 3))
    deep = Picture(noise(64, 64, 3, dtype=np.uint16))
    return {
        "jpg": saved(picture, "jpeg"),
        "progressive.jpg": saved(picture, "jpeg", progressive=True),
        "png": saved(picture, "png"),
        "deep.png": encode(deep, "png"),
        "webp": saved(picture, "webp"),
        "tiff": saved(picture, "tiff"),
        "deep.tiff": encode(deep, "tiff"),
        "deflated.tiff": saved(picture, "tiff", compression="tiff_deflate"),
        "bmp": saved(picture, "bmp"),
        "gif": saved(picture, "gif"),
        "avif": saved(picture, "avif"),
        "heic": saved_heif(picture),
    }


def generated() -> dict[str, bytes]:
    """Return every picture as name -> bytes; some can be decoded, and all others must be refused."""
    return nothing() | cut() | bombs() | odd() | badly_described() | damaged()


def nothing() -> dict[str, bytes]:
    """Files that are not pictures."""
    return {
        "empty.png": b"",
        "one-byte.png": b"\x89",
        "text.jpg": b"this is text\n",
        "page.png": b"<!doctype html><title>Not found</title>",
        "document.pdf": b"%PDF-1.4\n%%EOF\n",
        "signature-only.png": b"\x89PNG\r\n\x1a\n",
    }


def cut() -> dict[str, bytes]:
    """Valid pictures, truncated at every tenth of their length."""
    return {
        f"cut-{tenth}.{suffix}": data[: len(data) * tenth // 10]
        for suffix, data in whole().items()
        for tenth in range(1, 10)
    }


def bombs() -> dict[str, bytes]:
    """Decompression bombs: small files that decode to a very large picture or take very long."""
    rows = zlib.compress(bytes(BOMB * (BOMB // 8 + 1)), 9)
    long_text = zlib.compress(bytes(100_000_000), 9)
    deep = whole()["deep.png"]
    frame = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0"  # one pixel
    return {
        "bomb.png": png(BOMB, BOMB, rows, bits=1),
        "bomb-text.png": png(8, 8, zlib.compress(bytes(72)), (b"zTXt", b"Comment\0\0" + long_text)),
        "bomb-profile.png": png(8, 8, zlib.compress(bytes(72)), (b"iCCP", b"icc\0\0" + long_text)),
        "bomb-of-a-length.png": deep[: deep.index(b"IDAT") - 4] + b"\xff" * 4 + deep[deep.index(b"IDAT") :],
        "bomb.tiff": tiff(BOMB, BOMB, rows),
        "bomb-in-a-small.tiff": tiff(8, 8, rows),
        "bomb.webp": webp(16383, 16383),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + frame + b";",
        "bomb-in-a-frame.gif": gif(b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0"),
        "bomb-in-a-later-frame.gif": gif(frame, b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0"),
        "bomb-of-frames.gif": gif(frame * FRAMES),
        "bomb-animated.webp": animated_webp(16383, 16383),
        "bomb.avif": resized(whole()["avif"], 60_000, 60_000),
        "bomb.heic": resized(whole()["heic"], 60_000, 60_000),
        "bomb.bmp": whole()["bmp"][:18] + struct.pack("<ii", 60_000, 60_000) + whole()["bmp"][26:],
        "bomb-of-pages.tiff": pages(*range(1, PAGES), 0),
        "ring-of-pages.tiff": pages(1, 0),
        "bomb-of-scans.jpg": scans(3000, SCANS),
        "bomb-of-markers.jpg": whole()["jpg"][:2] + b"\xff\xfe\0\2" * 250_000 + whole()["jpg"][2:],
    }


def odd() -> dict[str, bytes]:
    """Valid pictures of rare kinds."""
    colours = Image.fromarray(noise(40, 30, 3))
    cmyk = saved(Image.fromarray(noise(40, 30, 4), "CMYK"), "jpeg")
    others = [Image.fromarray(noise(40, 30, 3) // divisor) for divisor in (2, 3)]
    animated = {"save_all": True, "append_images": others}
    return {
        "1x1.png": saved(Image.new("RGB", (1, 1)), "png"),
        "1x1.jpg": saved(Image.new("L", (1, 1)), "jpeg"),
        "1x1.webp": webp(1, 1),
        "1x20000.png": saved(Image.new("RGB", (1, 20_000)), "png"),
        "20000x1.png": saved(Image.new("RGB", (20_000, 1)), "png"),
        "65500-wide.jpg": saved(Image.new("L", (65_500, 2)), "jpeg"),
        "65500-wide.png": saved(Image.new("L", (65_500, 2)), "png"),
        "cmyk.jpg": cmyk,
        "ycck.jpg": cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2"),
        "grey-16.png": saved(Image.fromarray(noise(40, 30, dtype=np.uint16)), "png"),
        "grey-16.tiff": saved(Image.fromarray(noise(40, 30, dtype=np.uint16)), "tiff"),
        "palette-transparent.png": saved(colours.quantize(), "png", transparency=3),
        "palette-transparent.gif": saved(colours.quantize(), "gif", transparency=3),
        "animated.webp": saved(colours, "webp", **animated),
        "animated.gif": saved(colours, "gif", **animated),
        "animated.png": saved(colours, "png", **animated),
        "stray-bytes.jpg": saved(colours, "jpeg")[:-2] + bytes(2) + b"\xff\xd9",
        "followed-by-others.jpg": saved(colours, "jpeg") + b"\xff\xda" * 1000,
        "really-a-png.jpg": saved(colours, "png"),
        "really-a-jpeg.png": saved(colours, "jpeg"),
        "float-nan.tiff": saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "tiff"),
        "float-infinite.tiff": saved(Image.fromarray(np.full((4, 4), np.inf, np.float32)), "tiff"),
        "float.tiff": saved(Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)), "tiff"),
        "whole-32.tiff": saved(Image.fromarray(np.full((4, 4), 2**30, np.int32)), "tiff"),
    }


def badly_described() -> dict[str, bytes]:
    """Valid pictures with an invalid EXIF block or colour profile."""
    picture = Image.fromarray(noise(40, 30, 3))
    exifs = {
        "junk": b"junk",
        "empty": b"",
        "far": b"MM\0*\xff\xff\xff\xff",
        "long": b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\xff\xff\x08\0\0\0",
        "ring": b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
    }
    profiles = {"junk": b"junk" * 50, "empty": bytes(128), "short": b"\0\0\x02\x0c" + bytes(60)}
    return {
        **{f"exif-{name}.jpg": saved(picture, "jpeg", exif=b"Exif\0\0" + block) for name, block in exifs.items()},
        **{f"exif-{name}.png": saved(picture, "png", exif=b"Exif\0\0" + block) for name, block in exifs.items()},
        **{f"icc-{name}.jpg": saved(picture, "jpeg", icc_profile=block) for name, block in profiles.items()},
        **{f"icc-{name}.png": saved(picture, "png", icc_profile=block) for name, block in profiles.items()},
        **{f"icc-{name}.tiff": saved(picture, "tiff", icc_profile=block) for name, block in profiles.items()},
    }


def damaged() -> dict[str, bytes]:
    """Pictures with missing or wrong pixels; not every format can detect that."""
    good = whole()
    middle = len(good["jpg"]) // 2
    return {
        "zero-wide.png": png(0, 8, zlib.compress(b"")),
        "zero-high.png": png(8, 0, zlib.compress(b"")),
        "zero.gif": b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\2\2D\1\0;",
        "zero.bmp": good["bmp"][:18] + bytes(8) + good["bmp"][26:],
        "zero.tiff": tiff(0, 0, zlib.compress(b"")),
        "zero.jpg": frame_size(good["jpg"], 0, 0),
        "negative.bmp": good["bmp"][:18] + struct.pack("<ii", -(2**31), -(2**31)) + good["bmp"][26:],
        "too-high.jpg": frame_size(good["jpg"], 64, 640),
        "cut-and-ended.jpg": good["jpg"][:middle] + b"\xff\xd9",
        "cut-and-ended-progressive.jpg": good["progressive.jpg"][: len(good["progressive.jpg"]) // 2] + b"\xff\xd9",
        "middle-missing.jpg": good["jpg"][:middle] + good["jpg"][middle + 500 :],
        "middle-zeroed.webp": zeroed(good["webp"]),
        "middle-zeroed.avif": zeroed(good["avif"]),
        "middle-zeroed.heic": zeroed(good["heic"]),
        "bad-checksum.png": good["png"][:-20] + b"oops" + good["png"][-16:],
        "no-pixels.png": png(8, 8, b""),
        "too-few-pixels.png": png(8, 8, zlib.compress(bytes(9))),
    }


def zeroed(data: bytes) -> bytes:
    """Overwrite a fifth of a file in its middle."""
    start = len(data) // 2
    return data[:start] + bytes(len(data) // 5) + data[start + len(data) // 5 :]


def frame_size(jpeg: bytes, width: int, height: int) -> bytes:
    """Change the size in the header of a baseline JPEG."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes, *extra: tuple[bytes, bytes], bits: int = 8) -> bytes:
    """A grey PNG; `extra` chunks go before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def tiff(width: int, height: int, data: bytes) -> bytes:
    """A TIFF of one deflated strip, one bit a pixel."""
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + page(width, height, len(data), 0)


def page(width: int, height: int, size: int, after: int) -> bytes:
    """The tags of one page of a TIFF whose strip is at byte 8, and the offset of the next page."""
    tags = {256: width, 257: height, 258: 1, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: size}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<H", len(tags)) + rows + struct.pack("<I", after)


def pages(*following: int) -> bytes:
    """A TIFF whose page i is followed by page `following[i]`; 0 leads back to the first page or ends the file."""
    rows = zlib.compress(bytes(8))
    first, length = 8 + len(rows), len(page(8, 8, 0, 0))
    tags = b"".join(page(8, 8, len(rows), first + length * after) for after in following)
    return b"II*\0" + struct.pack("<I", first) + rows + tags


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour; its pixels need no bits."""
    bits = (width - 1) | (height - 1) << 14 | 0b0001_0001_0001_0001_0001 << 35  # five codes of one symbol each
    body = b"\x2f" + bits.to_bytes(8, "little") + bytes(3)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def animated_webp(width: int, height: int) -> bytes:
    """A WebP of two frames of one pixel on a large canvas."""

    def part(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = part(b"ANMF", bytes(16) + webp(1, 1)[12:])
    body = b"WEBP" + part(b"VP8X", b"\x12\0\0\0" + canvas) + part(b"ANIM", bytes(6)) + frame * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


def resized(container: bytes, width: int, height: int) -> bytes:
    """Change the size in the header of an AVIF or HEIC file."""
    at = container.index(b"ispe") + 8
    return container[:at] + struct.pack(">II", width, height) + container[at + 8 :]


def gif(*frames: bytes) -> bytes:
    """A GIF of one pixel and two colours."""
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"".join(frames) + b";"


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG that repeats one of its scans `count` times."""
    data = saved(Image.new("L", (side, side), 128), "jpeg", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]
