"""How many letters of a rendered page can be read after upscaling, by the OCR program tesseract."""

import difflib
import shutil
import subprocess
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Image = NDArray[np.uint8]
SIZES = (6, 7, 8, 10, 12, 14)  # px, heights of the font
# File names of fonts that the training of the bundled upscaler does not draw. None is Pillow's own font.
FONTS = (None, "DejaVuSans.ttf", "DejaVuSerif.ttf", "Lato-Regular.ttf", "LinLibertine_R.otf")
PAGE = """The quick brown fox jumps over the lazy dog near the river bank.
Pack my box with five dozen liquor jugs, said the quiet man in 1897.
Sphinx of black quartz, judge my vow before the winter of 1912 ends.
How vexingly quick daft zebras jump across the old wooden bridge!
Bright vixens jump; dozy fowl quack while 24 judges eat honey cake.
We promptly judged antique ivory buckles for the next grand prize.
Grandmother kept this photograph in a drawer for seventy years."""


def page(size: int, name: str | None = None) -> Image:
    """The page in a font of `size` px, dark on light paper, as a JPEG of quality 85 holds it: (H, W, 3) RGB.

    Args:
        size: height of the font in px.
        name: file name of an installed font, or None for Pillow's.

    Raises:
        OSError: this font is not installed.
    """
    font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    lines = PAGE.splitlines()
    width, pitch = int(max(font.getlength(line) for line in lines)) + 2 * size, round(1.5 * size)
    picture = Pillow.new("RGB", (width, pitch * len(lines) + 2 * size), (236, 232, 222))
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        draw.text((size, size + row * pitch), line, fill=(50, 46, 44), font=font)
    pixels = np.asarray(picture)
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def read(image: Image) -> str:
    """What tesseract reads."""
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    command = ["tesseract", "stdin", "stdout", "--psm", "6"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()


def share_read(image: Image) -> float:
    """The share of the page's letters that tesseract reads, in [0, 1]."""
    wanted, found = ("".join(text.split()) for text in (PAGE, read(image)))
    blocks = difflib.SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(wanted)


def tables(upscalers: dict[str, Callable[[Image, int], Image]]) -> list[str]:
    """Measure upscalers, each called with an image and a factor."""
    if shutil.which("tesseract") is None:
        return ["Text was not measured: tesseract is not installed.", ""]
    lines = ["| letters read, font | " + " | ".join(f"{name} x{k}" for k in (2, 4) for name in upscalers) + " |"]
    lines.append("| --- " * (1 + 2 * len(upscalers)) + "|")
    missing = []
    for name in FONTS:
        try:
            pages = {size: page(size, name) for size in SIZES}
        except OSError:
            missing += [f"{name} was not measured: this font is not installed.", ""]
            continue
        for size, image in pages.items():
            shares = [share_read(enlarge(image, k)) for k in (2, 4) for enlarge in upscalers.values()]
            title = f"{size} px, {name}" if name else f"{size} px"
            lines.append(f"| {title} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return [*lines, "", *missing]
