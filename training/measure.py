"""Measure the lite models and print the tables of their model cards as Markdown.

`python -m training.measure --data <shared data folder> --official <folder of official weights> [--lite weights]`
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from facemend import weights
from facemend.machine.device import Device
from facemend.nets.lite import LiteRestorer
from facemend.nets.realesrgan import SRVGGNetCompact
from facemend.nets.repairer import LiteRepairer
from facemend.nets.retinaface import RetinaFace
from facemend.records import Face
from facemend.stages.detect import RetinaFaceDetector
from facemend.stages.repair import NetRepairer
from facemend.weights.models import MODELS
from training import data, degradations, losses, measure_repairer, measure_text
from training.upscaler import SCALE, at_factor

Image = NDArray[np.uint8]
Degrade = Callable[[Image, int], tuple[Image, Image]]  # image, seed -> small image, and it resized to the first size
CPU = Device(torch.device("cpu"), torch.float32)
RULE = "| --- "  # one column of the line under a table's header
GRAIN = 12  # of old prints, as in `degradations.Recipe`
PART_OF_KODAK = 8  # pictures on which both upscalers are measured; the large one is slow


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--official", type=Path, required=True, help="folder of the official detector and upscaler")
    parser.add_argument("--lite", type=Path, default=Path("weights"), help="folder of the lite-*.safetensors files")
    parser.add_argument("--only", choices=("restorer", "upscaler", "detector", "repairer"), help="measure one model")
    parser.add_argument(
        "--save", type=Path, help="folder to write the faces of the restorer to, for measure_likeness.py"
    )
    args = parser.parse_args()
    yardstick = load_yardstick(args.data / "degrade.py")
    official = weights.load("retinaface-mobile0.25", args.official / "detection_mobilenet0.25_Final.pth")
    lines: list[str] = []
    if args.only in (None, "restorer"):
        net = lite(LiteRestorer(), args.lite / "lite-restorer.safetensors")
        lines += restorer(net, official, args.data / "portraits/val", yardstick, args.save)
    if args.only in (None, "upscaler"):
        net = lite(SRVGGNetCompact(num_conv=9), args.lite / "lite-upscaler.safetensors")
        files = sorted(args.official.glob("realesr-general-x4v3*.pth"))
        big = weights.load("realesr-general-x4v3", files[0])
        lines += upscaler(net, big, args.data / "kodak", yardstick)
    if args.only in (None, "detector"):
        net = lite(RetinaFace("mobile0.25"), args.lite / "lite-detector.safetensors")
        lines += detector(net, official, args.data)
    if args.only in (None, "repairer"):
        net = lite(LiteRepairer(), args.lite / "lite-repairer.safetensors")
        lines += repairer(net, args.data)
    print("\n".join(lines))  # noqa: T201


def load_yardstick(path: Path) -> ModuleType:
    """Import `degrade.py` or `damage.py` from the data folder."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lite(net: nn.Module, path: Path) -> nn.Module:
    """Load the weights of a lite model."""
    net.load_state_dict(load_file(path))  # float16 values are copied into float32 parameters
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def run(net: nn.Module, image: Image, low: float) -> NDArray[np.float32]:
    """Run a network on an RGB image.

    Args:
        net: a network with input and output in [low, 1].
        image: (H, W, 3) uint8.
        low: the value of black.

    Returns:
        (H, W, 3), in [0, 255] but not clamped.
    """
    span = 1 - low
    x = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None] / 255 * span + low)
    with torch.inference_mode():
        out = net(x.contiguous(memory_format=torch.channels_last))[0]
    return np.ascontiguousarray(((out.numpy() - low) / span * 255).transpose(1, 2, 0))


def rounded(image: NDArray[np.float32]) -> Image:
    """Round and clamp to uint8."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def degraded(yardstick: ModuleType, level: str, image: Image, seed: int) -> tuple[Image, Image]:
    """Degrade an RGB image with the yardstick, which takes BGR: the small image, and it enlarged again."""
    small, enlarged = yardstick.degrade(np.ascontiguousarray(image[..., ::-1]), level, seed)
    return np.ascontiguousarray(small[..., ::-1]), np.ascontiguousarray(enlarged[..., ::-1])


def old_print(factor: int, image: Image, seed: int) -> tuple[Image, Image]:
    """Degrade an image to a scan of a small old print with paper grain: the small image, and it enlarged again."""
    recipe = degradations.Recipe(blur=0.3 * factor, shrink=factor, grain=GRAIN, noise=2, grey_noise=True, quality=88)
    small = degradations.apply(image.astype(np.float32), recipe, np.random.default_rng(seed))
    return rounded(small), rounded(degradations.enlarge(small, recipe, image.shape))


def largest(faces: list[Face]) -> Face | None:
    """The face with the widest box."""
    return max(faces, key=lambda face: face.box[2] - face.box[0], default=None)


def landmark_error(found: Face | None, true: Face | None) -> float:
    """Mean distance of landmarks in per cent of the eye distance of the true face; NaN if a face is missing."""
    if found is None or true is None:
        return float("nan")
    distance = np.linalg.norm(found.landmarks.array() - true.landmarks.array(), axis=1).mean()
    return float(100 * distance / true.landmarks.eye_distance)


def framed(face: Image) -> Image:
    """Put a face in the middle of a grey image of twice its width and height.

    If a face fills the image, the detector's landmarks are unstable: shrinking the true face is enough to move them.
    """
    margin = [len(face) // 2] * 4
    return cv2.copyMakeBorder(face, *margin, cv2.BORDER_CONSTANT, value=(128, 128, 128))


VIEWS = (np.asarray, framed)  # the images of a face in which landmarks are detected


def restorer(
    net: nn.Module, official: nn.Module, folder: Path, yardstick: ModuleType, save: Path | None = None
) -> list[str]:
    """Tables of the restorer and of bicubic on aligned portraits it was not trained on: image quality and landmarks."""
    detect = RetinaFaceDetector("official", official, CPU)
    faces = [data.aligned(portrait) for portrait in data.portraits(folder, official)]
    truths = [[largest(detect(view(face))) for view in VIEWS] for face in faces]
    near = [
        f"| {len(faces)} portraits, 512 px | bicubic PSNR | sharpness | grid "
        "| lite PSNR | sharpness | grid | gain | grid of the truth |",
        RULE * 9 + "|",
    ]
    landmarks = [
        "| landmarks off, % of eye distance | bicubic | lite | of the truth, only shrunk "
        "| framed: bicubic | lite | of the truth, only shrunk |",
        RULE * 7 + "|",
    ]
    for level, (_, factor, *_) in yardstick.LEVELS.items():
        qualities, errors = [], []
        for index, truth in enumerate(tqdm(faces, desc=level)):
            given = degraded(yardstick, level, truth, index)[1]
            result = rounded(run(net, given, -1.0))
            pair = given, result
            measured = [value for x in pair for value in (*quality(yardstick, x, truth), grid(x))]
            qualities.append([*measured, grid(truth)])
            if save:
                write(save, f"{level}-{index:02d}", {"given": given, "result": result, "truth": truth})
            images = given, result, shrunk(truth, factor)
            looks = zip(VIEWS, truths[index], strict=True)
            errors.append([landmark_error(largest(detect(view(i))), true) for view, true in looks for i in images])
        a, b, c, d, e, f, g = np.mean(qualities, axis=0)
        near.append(
            f"| {level} | {a:.2f} dB | {b:.2f} | {c:.3f} | {d:.2f} dB | {e:.2f} | {f:.3f} | {d - a:+.2f} dB | {g:.3f} |"
        )
        missed = int(np.isnan(errors).any(axis=1).sum())
        cells = "".join(f" {value:.1f} |" for value in np.nanmean(errors, axis=0))
        landmarks.append(f"| {level}{f', {missed} not always found' if missed else ''} |{cells}")
    return [*near, "", *landmarks, ""]


def write(folder: Path, name: str, images: dict[str, Image]) -> None:
    """Write RGB images as NAME-KIND.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, image in images.items():
        cv2.imwrite(str(folder / f"{name}-{kind}.png"), image[..., ::-1])


def shrunk(image: Image, factor: int) -> Image:
    """Shrink and enlarge without other degradation: the best that an image of the small size can hold."""
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def quality(yardstick: ModuleType, image: Image, truth: Image) -> tuple[float, float]:
    """PSNR in dB and sharpness."""
    return yardstick.psnr(image, truth), yardstick.sharpness(image, truth)


def grid(image: Image, period: int = 16) -> float:
    """`losses.unevenness` of an image, for a grid that a network may draw; about 0.04 in photographs."""
    return float(losses.unevenness(data.to_tensor(image.astype(np.float32))[None], period))


def upscaler(net: nn.Module, big: nn.Module, folder: Path, yardstick: ModuleType) -> list[str]:
    """Tables of the lite upscaler, of bicubic and of the large compact network `big` on the Kodak images."""
    images = [data.read(path) for path in sorted(folder.glob("*.png"))]
    both, part = {"lite": net, "general-x4v3": big}, images[:PART_OF_KODAK]
    grey = [np.dstack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3) for image in part]
    levels: dict[str, Degrade] = {level: partial(degraded, yardstick, level) for level in yardstick.LEVELS}
    prints: dict[str, Degrade] = {f"shrunk {factor} times": partial(old_print, factor) for factor in (2, 4)}
    lines = []
    for title, nets, truths, degrades in (
        (f"Kodak, {len(images)} pictures", {"lite": net}, images, levels),
        (f"of these the first {PART_OF_KODAK}", both, part, levels),
        (f"the first {PART_OF_KODAK} as old prints: grey, with paper grain", both, grey, prints),
    ):
        names = "".join(f" {name} PSNR | sharpness | gain |" for name in nets)
        lines += [f"| {title} | bicubic PSNR | sharpness |{names}", RULE * (3 + 3 * len(nets)) + "|"]
        for level, degrade in degrades.items():
            rows = []
            for index, truth in enumerate(tqdm(truths, desc=f"{title}, {level}")):
                small, bicubic = degrade(truth, index)
                results = [quality(yardstick, resized(run(n, small, 0.0), truth.shape), truth) for n in nets.values()]
                rows.append((*quality(yardstick, bicubic, truth), *(value for pair in results for value in pair)))
            a, b, *rest = np.mean(rows, axis=0)
            cells = [f" {c:.2f} dB | {d:.2f} | {c - a:+.2f} dB |" for c, d in zip(rest[::2], rest[1::2], strict=True)]
            lines.append(f"| {level} | {a:.2f} dB | {b:.2f} |" + "".join(cells))
        lines.append("")
    lines += measure_text.tables(
        {
            "bicubic": lambda image, k: cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_CUBIC),
            **{name: partial(enlarged, n) for name, n in both.items()},
        }
    )
    tile = images[0][:256, :256]
    seconds = [best_time(lambda n=n: run(n, tile, 0.0)) for n in (net, big)]
    ratio = seconds[1] / seconds[0]
    return [
        *lines,
        f"One 256 px tile, float32: lite {seconds[0]:.3f} s, general-x4v3 {seconds[1]:.3f} s ({ratio:.1f} times).",
        "",
    ]


def enlarged(net: nn.Module, image: Image, factor: int) -> Image:
    """Enlarge an image by a factor, with a network that enlarges four times."""
    height, width = image.shape[:2]
    return resized(run(net, image, 0.0), (height * factor, width * factor, 3))


def resized(image: NDArray[np.float32], shape: tuple[int, ...]) -> Image:
    """Resize the result of a network, four times the input's size, to `shape`, as in training; uint8."""
    factor = SCALE * shape[0] // image.shape[0]
    result = at_factor(torch.from_numpy(image).permute(2, 0, 1)[None], factor)
    return rounded(result[0].permute(1, 2, 0).numpy())


def best_time(call: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of `times` calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def detector(net: nn.Module, official: nn.Module, folder: Path) -> list[str]:
    """Table of the lite detector and the official one, which was its teacher."""
    ours, theirs = RetinaFaceDetector("lite", net, CPU), RetinaFaceDetector("official", official, CPU)
    lines = ["| pictures | official finds | lite finds of these | lite finds besides | landmarks off |", RULE * 5 + "|"]
    for name in ("portraits/val", "group_photos", "old_photos", "photos", "kodak"):
        official_count, both, besides, alone, errors = 0, 0, 0, 0, []
        for path in tqdm(sorted((folder / name).glob("*.[jp][pn]g")), desc=name):
            image = data.read(path)
            wanted, found = theirs(image), ours(image)
            pairs = [(best_match(face, found), face) for face in wanted]
            matched = [match for match, _ in pairs if match is not None]
            official_count, both = official_count + len(wanted), both + len(matched)
            besides += len(found) - len({id(match) for match in matched})
            alone += len(found) if not wanted else 0
            errors += [landmark_error(match, face) for match, face in pairs if match is not None]
        error = f"{np.mean(errors):.1f} % of eye distance, {np.max(errors):.1f} at most" if errors else "-"
        lines.append(f"| `{name}` | {official_count} | {both} | {besides} ({alone} where it finds none) | {error} |")
    return [*lines, ""]


def repairer(net: nn.Module, folder: Path) -> list[str]:
    """Tables of the repairer on portraits and photographs that it was not trained on, in colour and in grey."""
    tiling = MODELS["lite-repairer"].tiling
    assert tiling is not None  # for the type checker
    repair = NetRepairer("lite", net, CPU, tiling)
    portraits = [data.read(path) for path in sorted((folder / "portraits/val").glob("*.jpg"))]
    kodak = [measure_repairer.middle(data.read(path)) for path in sorted((folder / "kodak").glob("*.png"))]
    grey = [np.dstack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)] * 3) for image in (*portraits[:10], *kodak[:10])]
    sets = {"portraits": portraits, "Kodak": kodak, "10 of each in grey": grey}
    yardstick = load_yardstick(folder / "damage.py")
    lines = measure_repairer.tables(repair, yardstick, sets)
    scan, _ = yardstick.damage(cv2.resize(portraits[0], (1250, 1600), interpolation=cv2.INTER_CUBIC), "medium", 0)
    squares = [measure_repairer.middle(image) for image in (*portraits[:4], *kodak[:4])]
    return [
        *lines,
        *measure_repairer.lines_found(repair, squares),
        f"A portrait enlarged to 2 MP, with medium damage, float32: {best_time(lambda: repair(scan), 3):.2f} s.",
        "",
    ]


def best_match(face: Face, others: list[Face]) -> Face | None:
    """The face with the highest intersection over union with `face`, if that is above 1/3."""

    def overlap(other: Face) -> float:
        x0, y0, x1, y1 = (f(a, b) for f, a, b in zip((max, max, min, min), face.box, other.box, strict=True))
        shared = max(x1 - x0, 0) * max(y1 - y0, 0)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (face.box, other.box)]
        return shared / (sum(areas) - shared)

    best = max(others, key=overlap, default=None)
    return best if best is not None and overlap(best) > 1 / 3 else None


if __name__ == "__main__":
    main()
