"""Time of a network by kind of operation, and of a photo by stage."""

from collections import Counter
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from bench import ours

FACES = ("gfpgan", "codeformer", "restoreformer")  # works of `bench.ours`
KINDS = {  # part of the name of a PyTorch operation -> its kind; the first match counts
    "convolution": "convolutions",
    "mm": "matrices, attention",
    "attention": "matrices, attention",
    "norm": "norms",
    "copy_": "copies, casts",
    "cat": "copies, casts",
}
OTHER = "the rest"
STAGES = ("decode", "detect", "align", "restore", "upscale", "paste")


def kinds(folder: Path) -> list[str]:
    """Return a table of seconds by kind of operation."""
    columns = list(dict.fromkeys((*KINDS.values(), OTHER)))
    lines = [f"| one face | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name in FACES:
        call = ours.WORKS[name](folder)
        call()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            call()
        seconds: Counter[str] = Counter()
        for operation in seen.key_averages():
            kind = next((kind for word, kind in KINDS.items() if word in operation.key), OTHER)
            seconds[kind] += operation.self_cpu_time_total / 1e6
        lines.append(f"| {name} | {' | '.join(f'{seconds[column]:.2f} s' for column in columns)} |")
    return lines


def stages(folder: Path) -> list[str]:
    """Return a table of seconds by stage; pasting includes ParseNet."""
    lines = [f"| photo | {' | '.join(STAGES)} |", "| --- " * (len(STAGES) + 1) + "|"]
    for title, run in (
        ("4 faces, GFPGAN, no upscaler", ours.picture(folder, "group.png", "lanczos")),
        ("2 faces, GFPGAN, x2plus", ours.picture(folder, "two.jpg", "realesrgan-x2plus")),
    ):
        run()
        seconds = run().seconds
        lines.append(f"| {title} | {' | '.join(f'{seconds[stage]:.2f} s' for stage in STAGES)} |")
    return lines
