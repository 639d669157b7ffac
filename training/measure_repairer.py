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
