"""The options of the upscaler `creative`."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from facemend.cli.options import model, not_empty, number, whole
from facemend.creative import DEFAULT_CREATIVE, PRESETS, SAMPLERS, Creative
from facemend.errors import OptionError
from facemend.extras import install_command
from facemend.weights import hub

CREATIVE = "creative"
NETWORKS = ("first", "base", "control")  # arguments of `Pipeline.load`


def add_creative_options(parser: argparse.ArgumentParser) -> None:
    """Add all of them; only those that are given become attributes of the parsed options."""
    group = parser.add_argument_group(
        f"redrawing (--upscaler {CREATIVE})",
        "Stable Diffusion invents detail, guided by the enlarged picture.\n"
        "Found faces are left out. Install it with\n"
        f"  {install_command(hub.EXTRA)}\n"
        f"  facemend download {hub.names('base')[0]} {hub.names('control')[0]}",
    )

    def add(name: str, text: str, **options: Any) -> None:
        shown = text.format(getattr(DEFAULT_CREATIVE, name.removeprefix("--").replace("-", "_"), ""))
        group.add_argument(name, default=argparse.SUPPRESS, help=shown, **options)

    text = "use the settings of another upscaler for those that are not given: ControlNet tile or Ultimate SD Upscale"
    group.add_argument("--creative", dest="preset", default=argparse.SUPPRESS, choices=tuple(PRESETS), help=text)
    add("--creativity", "how much may change: 0 redraws nothing ({:g})", type=number, metavar="0..1")
    add("--resemblance", "how strongly the result is kept to the enlarged picture ({:g})", type=number, metavar="0..2")
    add("--prompt", "what is drawn, in words; every tile is drawn with it, so name no subject ({!r})", metavar="TEXT")
    add("--negative", "what is to be avoided, in words ({!r})", metavar="TEXT")
    add("--steps", "steps that are run, 1 to 200 ({})", type=whole, metavar="N")
    add(
        "--guidance",
        "how strongly the prompt counts; up to 1, it takes half the time ({:g})",
        type=number,
        metavar="0..30",
    )
    add("--sampler", "({})", choices=SAMPLERS)
    add("--hdr", "how much dark and bright parts are evened out first ({:g})", type=number, metavar="0..1")
    add("--tile", "side of a tile of the result, a multiple of 64 from 128 to 2048 ({})", type=whole, metavar="PX")
    add("--guess-mode", "apply ControlNet without regard to the prompt", action="store_true")
    add("--keep-faces", "found faces are restored and not redrawn (default: on)", action=argparse.BooleanOptionalAction)
    add("--max-cpu-mp", "refuse larger results on a CPU, in megapixels ({:g})", type=number, metavar="MP")
    add(
        "--first",
        "the upscaler whose result is redrawn, as --upscaler (auto)",
        metavar="NAME|FILE",
        type=model("upscaler", "lanczos"),
    )
    add(
        "--base",
        f"Stable Diffusion: {', '.join(hub.names('base'))}, or your own",
        metavar="NAME|PATH",
        type=_name_or_path,
    )
    add(
        "--control",
        f"ControlNet: {', '.join(hub.names('control'))}, or your own",
        metavar="NAME|PATH",
        type=_name_or_path,
    )


def _name_or_path(text: str) -> str:
    """A name as it is, and the path of what exists as an absolute one, as a batch may use it elsewhere."""
    is_path = os.path.exists(not_empty(text)) and text not in hub.REPOSITORIES
    return str(Path(text).absolute()) if is_path else text


def creative_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `Pipeline.load` for them; none for another upscaler.

    Raises:
        OptionError: a value is out of range, or there are such options for another upscaler.
    """
    settings = {name: getattr(options, name) for name in Creative.__dataclass_fields__ if hasattr(options, name)}
    networks = {name: getattr(options, name) for name in NETWORKS if hasattr(options, name)}
    preset = getattr(options, "preset", None)
    if options.upscaler == CREATIVE:
        return networks | {"creative": replace(PRESETS[preset] if preset else DEFAULT_CREATIVE, **settings)}
    if settings or networks or preset:
        name = next(iter((*settings, *networks)), CREATIVE)
        raise OptionError("upscaler", options.upscaler, f"{CREATIVE} where --{name.replace('_', '-')} is given")
    return {}
