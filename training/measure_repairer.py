"""Tables of the lite repairer: how much of the damage it finds and mends, and what it does to undamaged pictures."""

from collections.abc import Sequence
from types import ModuleType

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from facemend.stages.repair import NetRepairer

Image = NDArray[np.uint8]
SIDE = 512  # px, the largest side of a crop
LINES = {SIDE: (3, 5, 8, 14, 20), 200: (2, 4, 6)}  # px: side of the pictures, and widths of lines
BRIGHT, DARK = 235, 25  # grey levels of lines
UNCHANGED_DB = 100.0  # the highest PSNR that is counted; that of equal pictures is infinite


def middle(image: Image) -> Image:
    """The middle of a picture, at most 512 px wide and high."""
    y, x = ((n - min(n, SIDE)) // 2 for n in image.shape[:2])
    return np.ascontiguousarray(image[y : y + SIDE, x : x + SIDE])


def tables(repair: NetRepairer, yardstick: ModuleType, sets: dict[str, Sequence[Image]]) -> list[str]:
    """Measure on pictures by name of their set.

    Args:
        repair: the repairer.
        yardstick: `damage.py` of the data folder.
        sets: pictures without damage, RGB.
    """
    lines = [
        "| pictures | damage | error inside before | after | PSNR before | after | precision | recall |",
        "| --- " * 8 + "|",
    ]
    clean = ["| undamaged pictures | mean PSNR of the result | worst | pixels changed |", "| --- " * 4 + "|"]
    for name, images in sets.items():
        for level in yardstick.LEVELS:
            rows = [
                _row(repair, yardstick, image, level, seed)
                for seed, image in enumerate(tqdm(images, desc=f"{name} {level}"))
            ]
            before, after, psnr, repaired, precision, recall = np.nanmean(rows, axis=0)
            lines.append(
                f"| {name} | {level} | {before:.1f} | {after:.1f} | {psnr:.2f} dB | {repaired:.2f} dB "
                f"| {precision:.2f} | {recall:.2f} |"
            )
        results = [repair(image) for image in images]
        values = [_psnr(result, image) for (result, _), image in zip(results, images, strict=True)]
        changed = np.mean([np.mean(mask > 0) for _, mask in results])
        clean.append(f"| {name} | {np.mean(values):.1f} dB | {min(values):.1f} dB | {changed:.3%} |")
    return [*lines, "", *clean, ""]


def lines_found(repair: NetRepairer, images: Sequence[Image]) -> list[str]:
    """Draw one line at a time across pictures, and measure the share of it that is found.

    Args:
        repair: the repairer.
        images: (512, 512, 3) RGB, without damage.
    """
    kinds = [(tone, upright) for tone in (BRIGHT, DARK) for upright in (True, False)]
    heads = [
        f"{'bright' if tone == BRIGHT else 'dark'}, {'vertical' if upright else 'horizontal'}"
        for tone, upright in kinds
    ]
    table = [f"| side of the picture, width of the line | {' | '.join(heads)} |", "| --- " * 5 + "|"]
    for side, widths in LINES.items():
        small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
        for width in widths:
            shares = [
                np.mean([_share_of_line(repair, image, i, width, *kind) for i, image in enumerate(small)])
                for kind in kinds
            ]
            table.append(f"| {side} px, {width} px | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return [*table, ""]


def _share_of_line(repair: NetRepairer, image: Image, place: int, width: int, tone: int, upright: bool) -> float:
    """The share that is found of a line that leans by 1/34 of its length; another number `place`, another place."""
    side = len(image)
    start = side // 4 + 37 * place % (side // 3)
    ends = [(start, -5), (start + side // 34, side + 8)]
    cover = np.zeros((side, side), np.float32)
    cv2.line(cover, *(end if upright else end[::-1] for end in ends), 1, width, cv2.LINE_AA)
    damaged = image + cover[..., None] * (tone - image.astype(np.float32))
    return float(repair(np.rint(damaged).astype(np.uint8))[1][cover > 0.5].mean())


def _row(repair: NetRepairer, yardstick: ModuleType, image: Image, level: str, seed: int) -> tuple[float, ...]:
    damaged, mask = yardstick.damage(image, level, seed)
    result, share = repair(damaged)
    found = share >= 0.5
    both = (found & mask).sum()
    errors = [np.abs(picture.astype(int) - image)[mask].mean() for picture in (damaged, result)]
    precision = both / found.sum() if found.any() else np.nan
    return (*errors, _psnr(damaged, image), _psnr(result, image), precision, both / mask.sum())


def _psnr(a: Image, b: Image) -> float:
    return min(cv2.PSNR(a, b), UNCHANGED_DB)
