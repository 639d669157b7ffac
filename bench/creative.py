"""Seams and noise of ways to redraw a picture in tiles, on small networks: `python -m bench.creative`.

The networks are of the architecture of Stable Diffusion 1.5, with a few channels, and are trained here for a minute or
two. They show how tiles meet, and nothing about what the real weights draw. `--full` measures memory and time of one
step of networks of the real size, with random weights.
"""

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facemend.creative import Creative
from facemend.files.decode import decode
from facemend.machine.device import choose
from facemend.records import DEFAULT_SETTINGS, Pixels
from facemend.stages.diffusion import CELL, Diffusion
from facemend.stages.redraw import Run
from facemend.stages.seams import Seams
from facemend.stages.tiles import Span
from facemend.stages.upscale import lanczos
from facemend.stages.windows import weighted, windows
from tests.diffusion import save_base, save_control

SIDE, TILE, OVERLAP = 1024, 256, 64  # px of the result, of a tile, and that feathered tiles share
CREATIVE = Creative(creativity=0.4, steps=4, guidance=1, sampler="ddim", tile=TILE)
VAE_STEPS, UNET_STEPS = 700, 700
CROP, BATCH = 128, 4  # px and number of the crops that the networks are trained on


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/kodak")
    parser.add_argument("--full", action="store_true", help="measure one step of networks of the real size instead")
    parser.add_argument("--pictures", type=Path, help="folder for the results")
    options = parser.parse_args()
    if options.full:
        _full()
        return
    photos = [decode(path, DEFAULT_SETTINGS).pixels for path in sorted((options.shared / "data/kodak").iterdir())[:8]]
    networks = _trained(photos[1:])
    plain = lanczos(photos[0][:512, :512], (SIDE, SIDE))
    whole = _hard(networks, plain, SIDE)
    results = {
        "independent tiles, one seed": _hard(networks, plain, TILE),
        "feathered 64 px, one seed": _feathered(networks, plain, one_field=False),
        "feathered 64 px, one noise field": _feathered(networks, plain, one_field=True),
        "joint sampling, 64 px overlap, one noise field": Run(networks, CREATIVE, plain.shape[:2], None)(plain, 0, []),
        "moving grid without overlap, one noise field": _Moving(networks, CREATIVE, plain.shape[:2], None)(
            plain, 0, []
        ),
        "untiled": whole,
    }
    print("| method | seam | PSNR against untiled |\n| --- | --- | --- |")
    for name, result in results.items():
        print(f"| {name} | {seam(result, TILE):.2f} | {_psnr(result, whole)} |", flush=True)
    if options.pictures:
        for name, result in (results | {"plain": plain}).items():
            cv2.imwrite(str(options.pictures / f"{name}.png"), result[..., ::-1])


def seam(pixels: Pixels, tile: int) -> float:
    """Return the mean difference of px on both sides of the borders of tiles, over that at other borders of cells.

    1 is no seam. The small VAE draws cells that differ a little, which is no fault of the tiles.
    """
    values = pixels.astype(np.float32)
    across, elsewhere = [], []
    for differences in (np.abs(np.diff(values, axis=0)).mean((1, 2)), np.abs(np.diff(values, axis=1)).mean((0, 2))):
        places = np.arange(1, len(differences) + 1)
        across.append(differences[places % tile == 0].mean())
        elsewhere.append(differences[(places % CELL == 0) & (places % tile != 0)].mean())
    return float(np.mean(across) / np.mean(elsewhere))


def _hard(networks: Diffusion, plain: Pixels, tile: int) -> Pixels:
    """Redraw tiles on their own with the same seed, as Ultimate SD Upscale does, and put them side by side."""
    out = np.empty_like(plain)
    for y in range(0, SIDE, tile):
        for x in range(0, SIDE, tile):
            part = np.ascontiguousarray(plain[y : y + tile, x : x + tile])
            creative = replace(CREATIVE, tile=tile)
            out[y : y + tile, x : x + tile] = Run(networks, creative, part.shape[:2], None)(part, 0, [])
    return out


class _Cropped(Run):
    """A run on a tile whose noise is the tile's part of the noise of the whole picture."""

    place = (0, 0)

    def noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        side, (y, x) = SIDE // CELL, self.place
        field = torch.randn((*shape[:2], side, side), generator=generator)
        return field[..., y : y + shape[2], x : x + shape[3]]


def _feathered(networks: Diffusion, plain: Pixels, one_field: bool) -> Pixels:
    """Redraw overlapping tiles on their own, and blend them."""
    spans = windows(SIDE // CELL, TILE // CELL, OVERLAP // CELL, px=CELL)
    seams, out = Seams(spans, spans, torch.device("cpu")), np.empty_like(plain)
    for y, row in enumerate(spans):
        for x, column in enumerate(spans):
            top, left = row.first * CELL, column.first * CELL
            part = np.ascontiguousarray(plain[top : top + TILE, left : left + TILE])
            run = (_Cropped if one_field else Run)(networks, CREATIVE, part.shape[:2], None)
            if isinstance(run, _Cropped):
                run.place = row.first, column.first
            values = torch.from_numpy(run(part, 0, [])).permute(2, 0, 1).float()
            complete, where = seams.add(weighted(values, row, column), y, x)
            out[where] = complete.round().clamp(0, 255).permute(1, 2, 0).byte().numpy()
    return out


class _Moving(Run):
    """A run in hard tiles whose borders move from step to step."""

    def grid(self, step: int, tile: int = 0, px: int = 1) -> tuple[list[Span], list[Span]]:
        if px > 1 or tile:  # the VAE has its usual tiles
            return super().grid(step, tile, px)
        length = TILE // CELL
        move = round(length * (step * 0.618 % 1))
        spans = []
        for start in range(-move, SIDE // CELL, length):
            first, stop = max(start, 0), min(start + length, SIDE // CELL)
            spans.append(Span(first, stop - first, first, stop, np.ones(stop - first, np.float32), 1))
        return spans, spans


def _psnr(result: Pixels, whole: Pixels) -> str:
    error = np.square(result.astype(np.float32) - whole).mean()
    return f"{10 * math.log10(255**2 / error):.1f} dB" if error else ""


def _trained(photos: list[Pixels]) -> Diffusion:
    """Train small networks, the same ones in every run."""
    with tempfile.TemporaryDirectory() as name:
        pipeline = save_base(Path(name), channels=32)
        control = save_control(Path(name), pipeline, zero=True)
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)

    def crops() -> Iterator[Tensor]:
        while True:
            chosen = []
            for _ in range(BATCH):
                photo = photos[random.integers(len(photos))]
                factor = 2 if random.random() < 0.5 else 1  # enlarged ones look as those that are redrawn
                y, x = (random.integers(length - CROP // factor) for length in photo.shape[:2])
                chosen.append(lanczos(photo[y : y + CROP // factor, x : x + CROP // factor], (CROP, CROP)))
            yield torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255

    def learn(net: nn.ModuleList, count: int, loss: Callable[[Tensor], Tensor]) -> None:
        net.train()
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, count)
        start = time.perf_counter()
        for _, images in zip(range(count), crops(), strict=False):
            optimizer.zero_grad()
            value = loss(images)
            value.backward()
            optimizer.step()
            schedule.step()
        print(f"trained: loss {value.item():.4f} after {time.perf_counter() - start:.0f} s", flush=True)
        net.eval().requires_grad_(False)

    vae = pipeline.vae

    def difference(images: Tensor) -> Tensor:
        latent = vae.encode(2 * images - 1).latent_dist.mode()
        return nn.functional.l1_loss(vae.decode(latent).sample, 2 * images - 1) + 1e-3 * latent.square().mean()

    learn(nn.ModuleList([vae]), VAE_STEPS, difference)
    with torch.inference_mode():
        latents = vae.encode(2 * next(crops()) - 1).latent_dist.mode()
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    text = pipeline.encode_prompt(CREATIVE.prompt, torch.device("cpu"), 1, False)[0].detach()

    def noise(images: Tensor) -> Tensor:
        with torch.no_grad():
            latent = vae.encode(2 * images - 1).latent_dist.mode() * vae.config.scaling_factor
        drawn = torch.randn(latent.shape, generator=generator)
        t = torch.randint(0, 500, (BATCH,), generator=generator)
        x = pipeline.scheduler.add_noise(latent, drawn, t)
        texts = text.expand(BATCH, -1, -1)
        hint = nn.functional.avg_pool2d(images, 3, 1, 1)
        down, middle = control(x, t, texts, hint, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return nn.functional.mse_loss(pipeline.unet(x, t, texts, **residuals).sample, drawn)

    learn(nn.ModuleList([pipeline.unet, control]), UNET_STEPS, noise)
    return Diffusion("small", pipeline, control, choose("cpu", "fp32", "fp32"))


def _full() -> None:
    """Measure one step of one tile of networks of the real size on a CPU."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.set_num_threads(1)
    device = choose("cpu", "fp32", "fp32")
    with tempfile.TemporaryDirectory() as name:
        pipeline = save_base(Path(name))
        pipeline.unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
        networks = Diffusion("real size", pipeline, ControlNetModel.from_unet(pipeline.unet), device)
    x, hint, texts = torch.zeros(1, 4, 64, 64), torch.zeros(1, 3, 512, 512), torch.zeros(2, 77, 768)
    for name, prompts, guidance in (("guidance, 2 prompts", texts, 4), ("no guidance, 1 prompt", texts[:1], 1)):
        start = time.perf_counter()
        networks.predict(x, torch.tensor(500), hint, prompts, Creative(guidance=guidance))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of kB
        print(f"| {name} | {seconds:.1f} s for a step of a tile of 512 px | {peak:.1f} GiB |", flush=True)


if __name__ == "__main__":
    main()
