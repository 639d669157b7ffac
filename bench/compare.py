"""Compare the speed of facemend with the packages it replaces and write RESULTS.md: `make bench`.

Both do the same work on the same pictures with the same weights. Each runs in a process of its own, and the two take
turns. Where the official weights are too large for the test data, deterministic random weights in the layout of the
official files replace them: the time a network takes does not depend on its weights.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch

from bench import limits, ours, spent
from bench.precision import deviations
from bench.worker import SIGN
from facemend.machine.device import choose
from facemend.weights.models import MODELS
from tests.nets import deterministic, reference

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-originals"
RESULTS = Path(__file__).with_name("RESULTS.md")
DRAWN = {  # recorded network -> model whose file is written, key that wraps the parameters in the official file
    "gfpgan_1.4": ("gfpgan-v1.4", "params_ema"),
    "codeformer": ("codeformer", "params_ema"),
    "restoreformer": ("restoreformer", "params"),
    "realesrgan_x2plus": ("realesrgan-x2plus", "params_ema"),
    "swinir_m_x4": ("swinir-m-x4", "params_ema"),
    "parsenet": ("parsenet", None),
    "retinaface_resnet50": ("retinaface-r50", None),
}


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
        name: its key in `WORKS` of both sides.
        title: its description in the table.
        goal: the intended speed relative to the original.
        runs: how many times it is timed.
    """

    name: str
    title: str
    goal: float | None = None
    runs: int = 5


WORKS = (
    Work("gfpgan", "GFPGAN, one 512 px face", 4.2),
    Work("codeformer", "CodeFormer, one face", 4.2, 3),
    Work("restoreformer", "RestoreFormer, one face", None, 3),
    Work("x4plus", "realesrgan-x4plus, 256x256 px", 4.0, 3),
    Work("x2plus", "realesrgan-x2plus, 256x256 px"),
    Work("general", "realesr-general-x4v3, 256x256 px", 2.4),
    Work("swinir", "swinir-m-x4, 128x128 px", 2.0, 3),
    Work("group", "783x1146 photo, 4 faces, GFPGAN, scale 2, no upscaler", 5.0, 3),
    Work("group-square", "the same, ours without ParseNet", 5.0, 3),
    Work("two", "700x464 photo, 2 faces, GFPGAN, x2plus, scale 2", 4.0, 3),
    Work("two-square", "the same, ours without ParseNet", 4.0, 3),
)
LARGE = Work("large", "24 MP picture, x2plus, scale 2", None, 1)
ONNX = ("gfpgan", "x4plus", "general")
PAUSE = 0.5  # seconds before each run: after a run, threads wait for more work in a busy loop (ONNX Runtime's longest)


class Side:
    """A process that repeats one work on request."""

    def __init__(self, python: Path | str, module: str, work: str, folder: Path) -> None:
        command = [python, "-m", "bench.worker", module, work, folder]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.peak = 0
        self.answer()  # wait until it is ready

    def answer(self) -> float:
        """Wait for the answer to the last request; return its seconds."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(SIGN):
                values = json.loads(line[len(SIGN) :])
                self.peak = values["peak"]
                return float(values["seconds"])
        self.errors.seek(0)
        raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}:\n{self.errors.read()}")

    def __call__(self) -> float:
        """Do the work once; return its seconds."""
        assert self.process.stdin
        time.sleep(PAUSE)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def compared(work: Work, folder: Path, others: Sequence[tuple[Path | str, str]]) -> list[tuple[float, int]]:
    """Time all sides in turn: facemend, then `others` as (python, module). Return median seconds and peak bytes."""
    sides = [Side(python, module, work.name, folder) for python, module in ((sys.executable, "ours"), *others)]
    if work.runs > 1:
        for side in sides * 2:  # on a GPU, a network is recorded as a CUDA graph at its second run
            side()
    times = [[side() for side in sides] for _ in range(work.runs)]
    for side in sides:
        side.close()
    return [
        (statistics.median(column), side.peak) for column, side in zip(zip(*times, strict=True), sides, strict=True)
    ]


def prepare(folder: Path, shared: Path) -> None:
    """Write the weights and pictures that both sides read into a folder."""
    for record, (model, wrapper) in DRAWN.items():
        state = {key: value.contiguous() for key, value in reference.load(record).state_dict().items()}
        torch.save({wrapper: state} if wrapper else state, folder / MODELS[model].file)
    official = shared / "weights"
    for model in ("realesrgan-x4plus", "realesrgan-x4plus-anime-6b"):
        tensors = safetensors.torch.load_file(official / f"{model}.fp16.safetensors")
        torch.save({"params_ema": {key: value.float() for key, value in tensors.items()}}, folder / MODELS[model].file)
    shutil.copy(official / MODELS["retinaface-mobile0.25"].file, folder)
    shutil.copy(next(official.glob("realesr-general-x4v3*.pth")), folder / MODELS["realesr-general-x4v3"].file)
    shutil.copy(next(official.glob("realesr-general-wdn-x4v3*")), folder / MODELS["realesr-general-wdn-x4v3"].file)
    shutil.copy(official / MODELS["realesr-animevideov3"].file, folder)
    shutil.copy(shared / "data/group_photos/10045.png", folder / "group.png")
    shutil.copy(shared / "data/group_photos/Blake_Lively.jpg", folder / "two.jpg")
    face = (deterministic.smooth((1, 3, 512, 512), reference.SEED)[0].permute(1, 2, 0).numpy() * 255).round()
    np.save(folder / "face.npy", face.astype(np.uint8))
    photo = cv2.imread(str(shared / "data/group_photos/10045.png"))
    cv2.imwrite(str(folder / "large.png"), cv2.resize(photo, (6000, 4000), interpolation=cv2.INTER_CUBIC))


def started(folder: Path, *options: str) -> float:
    """Return the median seconds of a complete `facemend restore` of a small photo; its files are in the disk cache."""
    program = Path(sys.executable).with_name("facemend")
    command = [program, "restore", ROOT / "examples/old.jpg", "-o", folder / "started.png", "--force", *options]
    times = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def loading(folder: Path) -> str:
    """Return the row for loading three large models; the goal depends on the time for reading their files."""
    paths = ours.weights(folder, *ours.LOADED).values()
    reading = statistics.median(limits.median(lambda: [path.read_bytes() for path in paths], 1) for _ in range(3))
    side = Side(sys.executable, "ours", "load", folder)
    times = [side() for _ in range(4)]
    side.close()
    goal = 1.5 * reading + 1
    return f"| `Pipeline.load` of {', '.join(ours.LOADED)} | {statistics.median(times[1:]):.2f} s | {goal:.2f} s |"


def machine() -> str:
    """Describe the machine, the precision and the versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy"))
    return (
        f"{cpu}, {os.cpu_count()} processors, precision {choose('cpu', 'auto', 'bf16').dtype}, "
        f"Python {platform.python_version()}, {versions}"
    )


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with the small real weights/ and data/")
    parser.add_argument(
        "--originals", type=Path, default=ENVIRONMENT, help="environment of the originals (%(default)s)"
    )
    parser.add_argument("--large", action="store_true", help="also measure the 24 MP picture (twenty minutes)")
    parser.add_argument("--only", nargs="*", help="measure only these works, and do not write RESULTS.md")
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # `bench.gpu` measures GPUs
    python = options.originals / "bin/python"
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.date.today()}: {machine()}.",
        "The original programs run in float32 on PyTorch 2.12, as their users run them. Each program runs in its own",
        "process, and the two take turns. The times are medians; the memory is the peak of the process. The originals",
        "run ParseNet on every face of a photo. facemend runs it if it is installed. Otherwise, for example after",
        "`facemend download gfpgan-v1.4`, it pastes an oval with soft edges: the rows without ParseNet.",
        "",
        "| work | original | facemend | ratio | goal | original's memory | facemend's |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.shared)
        seconds = {}
        for work in (*WORKS, LARGE) if options.large else WORKS:
            if options.only and work.name not in options.only:
                continue
            (mine, my_peak), (theirs, their_peak) = compared(work, folder, [(python, "originals")])
            seconds[work.name] = mine
            goal = f"{work.goal:g}x, {'met' if theirs / mine >= work.goal else 'NOT met'}" if work.goal else ""
            lines.append(
                f"| {work.title} | {theirs:.2f} s | {mine:.3f} s | {theirs / mine:.2f}x | {goal} "
                f"| {their_peak / 1e9:.2f} GB | {my_peak / 1e9:.2f} GB |"
            )
            print(lines[-1], flush=True)
        if options.only:
            return
        lines += ["", "| net | ONNX Runtime, float32 | facemend | ratio (goal 2x) |", "| --- | --- | --- | --- |"]
        for work in WORKS:
            if work.name in ONNX:
                (mine, _), (theirs, _) = compared(work, folder, [(python, "onnx_runtime")])
                lines.append(f"| {work.title} | {theirs:.2f} s | {mine:.3f} s | {theirs / mine:.2f}x |")
                print(lines[-1], flush=True)
        gfpgan = f"gfpgan-v1.4={folder / MODELS['gfpgan-v1.4'].file}"
        lines += [
            "",
            "| whole process, small photo | seconds | goal |",
            "| --- | --- | --- |",
            f"| `facemend restore`, lite | {started(folder):.2f} s | 2 s |",
            f"| `facemend restore`, GFPGAN | {started(folder, '--weights', gfpgan):.2f} s | 3 s |",
            loading(folder),
            "",
            *limits.achieved(seconds),
            "",
            *limits.rates(),
            "",
            *spent.kinds(folder),
            "",
            *spent.stages(folder),
            "",
            *deviations(folder),
        ]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
