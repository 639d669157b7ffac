import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facemend.creative import DEFAULT_CREATIVE, PRESETS, SAMPLERS, Creative
from facemend.errors import Cancelled, MemoryLimitError, NonFiniteError, OptionError, TooLargeError
from facemend.machine.device import Device
from facemend.pipeline import Pipeline
from facemend.records import Settings
from facemend.stages.recolour import exposed
from facemend.stages.redraw import CreativeUpscaler, Run, steps
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import LanczosUpscaler, lanczos
from tests.diffusion import WORDS, Doubles, blurring, loaded, save_base, save_control
from tests.pictures import detector, face_at, similarity, smooth

diffusers = pytest.importorskip("diffusers", reason="the extra creative is not installed")
ROOT = Path(__file__).parents[2]
SMALL = replace(DEFAULT_CREATIVE, tile=128, steps=2)
OLD_NUMPY = "ignore:__array__ implementation:DeprecationWarning"  # of diffusers' Euler samplers
pytestmark = pytest.mark.filterwarnings(OLD_NUMPY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    save_control(folder, save_base(folder))
    return folder


@pytest.fixture(scope="module")
def networks(folder):
    """Small random networks."""
    return loaded(folder)


@pytest.fixture(scope="module")
def doubles():
    return Doubles(blurring)


def upscaler(networks, **options):
    return CreativeUpscaler(networks, LanczosUpscaler(), replace(SMALL, **options))


def sampled(networks, creative, plain, seed=0):
    """The latent after the last step."""
    run = Run(networks, creative, plain.shape[:2], None)
    latent = run.encoded(plain)
    generator = torch.Generator().manual_seed(seed)
    return run.sampled(plain, latent, torch.randn(latent.shape, generator=generator), generator)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpm++-2m-karras"])
def test_one_tile_is_what_the_pipeline_of_diffusers_makes(networks, sampler):
    creative = replace(SMALL, sampler=sampler, steps=3, creativity=0.5, resemblance=0.8)
    plain = smooth(128, 128)
    ours = sampled(networks, creative, plain, seed=5)
    run = Run(networks, creative, (128, 128), None)
    latent = run.encoded(plain)
    schedule = networks.sampler(sampler, 6)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
    parts = {name: getattr(networks._pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    theirs = diffusers.StableDiffusionControlNetImg2ImgPipeline(
        **parts, controlnet=networks._control, scheduler=networks.sampler(sampler, 6), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    image = torch.from_numpy(plain).permute(2, 0, 1)[None] / 255
    made = theirs(
        creative.prompt, image, image, strength=0.5, num_inference_steps=6, guidance_scale=creative.guidance,
        negative_prompt=creative.negative, controlnet_conditioning_scale=0.8, output_type="latent",
        latents=schedule.add_noise(latent, noise, schedule.timesteps[3:4]),
    )  # fmt: skip
    assert (ours - made.images).abs().max() == 0
    assert (ours - latent).abs().mean() > 0.1


@pytest.mark.parametrize("negative", [DEFAULT_CREATIVE.negative, DEFAULT_CREATIVE.prompt])
@pytest.mark.parametrize("guess_mode", [False, True])
def test_guess_mode_is_that_of_diffusers(networks, guess_mode, negative):
    creative = replace(SMALL, sampler="ddim", steps=2, creativity=0.5, guess_mode=guess_mode, negative=negative)
    plain = smooth(128, 128)
    parts = {name: getattr(networks._pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    schedule = networks.sampler("ddim", 4)
    theirs = diffusers.StableDiffusionControlNetImg2ImgPipeline(
        **parts, controlnet=networks._control, scheduler=networks.sampler("ddim", 4), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    latent = Run(networks, creative, (128, 128), None).encoded(plain)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    image = torch.from_numpy(plain).permute(2, 0, 1)[None] / 255
    made = theirs(
        creative.prompt, image, image, strength=0.5, num_inference_steps=4, guidance_scale=creative.guidance,
        negative_prompt=creative.negative, controlnet_conditioning_scale=1.0, output_type="latent",
        latents=schedule.add_noise(latent, noise, schedule.timesteps[2:3]), guess_mode=guess_mode,
    )  # fmt: skip
    ours = sampled(networks, creative, plain)
    assert (ours - made.images).abs().max() < 1e-5
    other = sampled(networks, replace(creative, guess_mode=not guess_mode), plain)
    assert (ours - other).abs().max() > 1e-3


def test_every_tile_is_guided_by_its_own_part_of_the_picture(doubles, monkeypatch):
    def predict(x, t, hint, texts, creative):
        return torch.nn.functional.avg_pool2d(hint, 8).mean(1, keepdim=True).expand_as(x)

    monkeypatch.setattr(doubles, "predict", predict)
    plain = smooth(500, 700)
    whole, tiled = (sampled(doubles, replace(SMALL, tile=tile, steps=2), plain) for tile in (1024, 256))
    assert (tiled - whole).abs().max() < 1e-5


def test_the_noise_is_one_field_from_the_seed(doubles, monkeypatch):
    fields = []

    def sampled(self, plain, latent, noise, generator, boxes):
        fields.append(noise)
        return latent

    monkeypatch.setattr(Run, "sampled", sampled)
    upscaler(doubles)(smooth(600, 600), (600, 600), Settings(seed=3))
    assert torch.equal(fields[0], torch.randn(1, 4, 80, 80, generator=torch.Generator().manual_seed(3)))


def test_inner_tiles_move_from_step_to_step(doubles, monkeypatch):
    grids = []

    def predicted(self, plain, x, t, texts, grid):
        grids.append(tuple(tuple(span.first for span in axis) for axis in grid))
        return torch.zeros_like(x)

    monkeypatch.setattr(Run, "_predicted", predicted)
    sampled(doubles, replace(SMALL, tile=256, steps=3), smooth(700, 700))
    assert len(set(grids)) == 3
    assert len({(axis[0], axis[-1]) for grid in grids for axis in grid}) == 1, "the outer ones stay"


def test_the_first_windows_are_not_moved(doubles):
    """The VAE reads and writes the picture in them."""
    run = Run(doubles, replace(SMALL, tile=256), (704, 704), None)
    starts = [span.first for span in run.grid(0)[0]]
    assert starts == sorted(88 - 32 - start for start in starts), "they lie alike from both ends"
    assert starts != [span.first for span in run.grid(1)[0]]


def test_a_probe_runs_every_network_but_only_one_step(doubles):
    """Whatever the settings of calls leave out."""
    seen = []
    doubles.predicting = lambda x, alpha: seen.append(x.shape) or blurring(x, alpha)
    made = Pipeline(detector=None, restorer=None, upscaler=upscaler(doubles, creativity=0, steps=20))
    made.probe()
    assert 1 <= len(seen) <= 2, "with and without the prompt"
    doubles.predicting = lambda x, alpha: pytest.fail("reached")
    with pytest.raises(pytest.fail.Exception, match="reached"):
        made.probe()
    doubles.predicting = blurring


def test_a_colourless_picture_stays_so_with_hdr(networks):
    grey = np.repeat(smooth(60, 70, np.uint16)[..., :1], 3, axis=2)

    class Tinting(LanczosUpscaler):
        def __call__(self, pixels, size, *options):
            return cv2.add(super().__call__(pixels, size), (1000, 0, 0, 0))

    upscaler = CreativeUpscaler(networks, Tinting(), replace(SMALL, creativity=0, hdr=0.5))
    machine = Pipeline(detector=None, restorer=None, upscaler=upscaler)
    pixels = machine.run(grey, Settings(faces="none")).pixels
    assert np.ptp(exposed(grey, 0.5, has_colours=False).astype(int), axis=2).max() == 1, "exposure fusion rounds"
    assert np.ptp(pixels, axis=2).max() == 0
    assert abs(pixels.mean() - grey.mean()) > 1000


def test_a_picture_that_is_a_kept_face_is_not_redrawn(doubles):
    doubles.predicting = lambda x, alpha: pytest.fail("redrawn")
    pixels = smooth(80, 80)
    pipeline = Pipeline(detector=None, restorer=None, upscaler=upscaler(doubles))
    made = pipeline.run(pixels, Settings(aligned=True)).pixels
    assert np.array_equal(made, lanczos(pixels, (160, 160)))
    doubles.predicting = blurring
    pipeline.upscaler = upscaler(doubles, keep_faces=False)
    assert not np.array_equal(pipeline.run(pixels, Settings(aligned=True)).pixels, made)


@pytest.mark.parametrize("hdr", [0, 1])
def test_hdr_is_for_the_picture_and_its_faces(networks, hdr):
    pixels = smooth(400, 420)
    wanted = exposed(pixels, hdr) if hdr else pixels
    assert (np.abs(wanted.astype(int) - pixels).mean() > 10) == (hdr == 1)
    pipeline = Pipeline(
        detector=detector(face_at(similarity(0.5, 0, 100, 60))),
        restorer=FunctionRestorer(lambda crops, fidelity: list(crops)),
        upscaler=upscaler(networks, creativity=0, hdr=hdr),
    )
    result = pipeline.run(pixels, Settings(scale=1, adaptive=False))
    assert result.faces[0].restored
    assert np.abs(result.pixels.astype(int) - wanted).mean() < 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_the_same_bytes_for_the_same_seed(networks, sampler):
    one, two, other = (
        upscaler(networks, sampler=sampler)(smooth(60, 60), (120, 120), Settings(seed=seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(networks):
    pixels, size = smooth(90, 120), (180, 240)
    made = [upscaler(networks)(pixels, size, Settings(seed=seed)) for seed in (None, 0, 1)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_creativity_0_is_the_first_upscaler(networks, dtype):
    pixels = smooth(40, 50, dtype)
    out = upscaler(networks, creativity=0)(pixels, (80, 101))
    assert np.array_equal(out, lanczos(pixels, (80, 101)))
    assert out.dtype == dtype


@settings(max_examples=15)
@given(st.integers(1, 500), st.integers(1, 300), st.sampled_from([128, 192, 256]))
def test_where_the_network_is_local_tiles_have_no_influence(doubles, height, width, tile):
    """The blur of the network has 5 cells, and a window of 16 cells has one at each end without weight."""
    doubles.predicting = lambda x, alpha: x * alpha.sqrt()
    plain = smooth(height, width)
    creative = replace(SMALL, tile=tile, steps=4, creativity=0.6)
    whole = sampled(doubles, replace(creative, tile=512), plain)
    assert (sampled(doubles, creative, plain) - whole).abs().max() < 1e-5


def test_with_an_overlap_of_its_view_a_convolution_sees_no_tiles(doubles):
    doubles.predicting = blurring  # sees 5 x 5 cells; windows of 32 cells have 2 at each end without weight
    plain = smooth(700, 900)
    whole, tiled = (sampled(doubles, replace(SMALL, tile=tile, steps=4), plain) for tile in (1024, 256))
    assert (tiled - whole).abs().max() < 1e-5


def seam(pixels, tile):
    """The mean difference of px at the borders of tiles of a square over that elsewhere."""
    values = pixels.astype(float)
    differences = np.abs(np.diff(values, axis=0)).mean((1, 2)) + np.abs(np.diff(values, axis=1)).mean((0, 2))
    borders = np.arange(1, len(differences) + 1) % tile == 0
    return differences[borders].mean() / differences[~borders].mean()


def test_there_is_no_seam_where_independent_tiles_have_one(doubles):
    doubles.predicting = blurring
    plain = np.full((1024, 1024, 3), 127, np.uint8)
    creative = replace(SMALL, tile=256, steps=4, creativity=0.7)

    def drawn(pixels):
        return CreativeUpscaler(doubles, LanczosUpscaler(), creative)(pixels, pixels.shape[:2])

    bands = [np.concatenate([drawn(tile) for tile in np.split(band, 4, axis=1)], axis=1) for band in np.split(plain, 4)]
    independent = np.concatenate(bands)
    assert seam(independent, 256) >= 1.3
    assert seam(drawn(plain), 256) <= 1.1


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("creativity", [0.001, 0.3, 1.0])
def test_every_sampler_is_finite(doubles, sampler, creativity):
    doubles.predicting = blurring
    out = upscaler(doubles, sampler=sampler, creativity=creativity)(smooth(64, 64), (128, 128))
    assert out.std() > 1


def test_more_creativity_changes_more(doubles):
    doubles.predicting = blurring
    pixels = smooth(128, 128)
    changed = [
        np.abs(upscaler(doubles, creativity=creativity)(pixels, (128, 128)).astype(float) - pixels).mean()
        for creativity in (0, 0.005, 0.1, 0.4, 0.9)
    ]
    assert changed == sorted(changed)


def test_steps_are_those_that_run():
    assert steps(Creative(steps=20, creativity=0.3)) == (20, 67)
    assert steps(Creative(steps=20, creativity=1)) == (20, 20)
    assert steps(Creative(steps=20, creativity=0.01)) == (10, 1000)
    assert steps(Creative(steps=20, creativity=1e-9)) == (1, 1000)
    assert steps(Creative(steps=20, creativity=1e-310)) == (1, 1000)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("count", [1, 8, 67, 333, 1000])
def test_a_schedule_covers_all_of_the_noise_in_steps_that_differ(doubles, sampler, count):
    times = doubles.sampler(sampler, count).timesteps
    assert len(times) == count
    assert times[0] >= 990
    if "karras" not in sampler:  # there the first ones are closer together than whole numbers
        assert len(set(times.tolist())) == count


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (63, 65)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_size(networks, size, dtype):
    out = upscaler(networks)(smooth(*size, dtype), size)
    assert out.shape == (*size, 3)
    assert out.dtype == dtype


def test_a_picture_goes_through_the_pipeline(networks):
    pixels = smooth(60, 70)
    pipeline = Pipeline(detector=None, restorer=None, upscaler=upscaler(networks))
    grey = np.ascontiguousarray(pixels[..., 0])
    made = pipeline.run(grey, Settings(faces="none")).pixels
    assert made.shape[:2] == (120, 140)
    assert (made[..., 0] == made[..., 2]).all()
    alpha = np.dstack([pixels, np.full((60, 70), 77, np.uint8)])
    result = pipeline.run(alpha, Settings(faces="none"))
    assert (result.picture.alpha == 77).all()
    assert result.upscaler == "creative"


def test_faces_are_kept_unless_that_is_turned_off(doubles):
    doubles.predicting = blurring
    pixels, face = smooth(200, 200), face_at(similarity(4, 0, -200, -200))
    x0, y0, x1, y1 = (round(2 * value) for value in face.box)
    first = lanczos(pixels, (400, 400))
    for keeps, chosen in ((True, "all"), (True, "none"), (False, "all")):
        pipeline = Pipeline(detector=detector(face), restorer=None, upscaler=upscaler(doubles, keep_faces=keeps))
        made = pipeline.run(pixels, Settings(faces=chosen)).pixels
        assert np.array_equal(made[y0 + 1 : y1, x0 + 1 : x1], first[y0 + 1 : y1, x0 + 1 : x1]) == keeps
        assert not np.array_equal(made[-50:], first[-50:])


def test_around_a_kept_face_the_latent_stays(doubles):
    doubles.predicting = blurring
    plain = smooth(256, 256)
    run = Run(doubles, replace(SMALL, creativity=0.8), (256, 256), None)
    latent = run.encoded(plain)
    generator = torch.Generator().manual_seed(0)
    out = run.sampled(plain, latent, torch.randn(latent.shape, generator=generator), generator, [(64, 64, 191, 191)])
    assert (out - latent)[..., 8:24, 8:24].abs().max() < 1e-6
    assert (out - latent)[..., :4, :].abs().mean() > 0.05


def test_large_restored_faces_are_enlarged_without_redrawing(doubles):
    doubles.predicting = blurring
    calls = []

    class First(LanczosUpscaler):
        def __call__(self, pixels, size, *options):
            calls.append(pixels.shape)
            return super().__call__(pixels, size)

    pipeline = Pipeline(
        detector=detector(face_at(similarity(2, 0, -100, -100))),
        restorer=FunctionRestorer(lambda crops, fidelity: crops),
        upscaler=CreativeUpscaler(doubles, First(), SMALL),
    )
    pipeline.run(smooth(200, 200), Settings(scale=4, adaptive=False))
    assert calls == [(200, 200, 3), (313, 313, 3)]


def test_a_callback_cancels_after_any_tile(doubles):
    doubles.predicting = blurring
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if done == 1:
            raise Cancelled

    pixels = smooth(100, 300)
    with pytest.raises(Cancelled):
        upscaler(doubles)(pixels, pixels.shape[:2], progress=stop)
    assert seen[-1][0] == 1
    seen.clear()
    upscaler(doubles)(pixels, pixels.shape[:2], progress=lambda *parts: seen.append(parts))
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}


def test_large_results_are_refused_on_a_cpu(doubles):
    with pytest.raises(TooLargeError, match=r"minutes to hours for a megapixel.*limit of 0\.01.*max_cpu_mp"):
        upscaler(doubles, max_cpu_mp=0.01)(smooth(64, 64), (128, 128))
    with pytest.raises(TooLargeError) as caught:
        upscaler(doubles, max_cpu_mp=0.01)(smooth(128, 128), (128, 128), Settings(scale=1))
    assert "lower scale" not in str(caught.value)


@pytest.mark.parametrize("method", ["predict", "decode"])
def test_nan_is_an_error(doubles, method, monkeypatch):
    compute = getattr(doubles, method)
    monkeypatch.setattr(doubles, method, lambda *arguments: compute(*arguments) * float("nan"))
    with pytest.raises(NonFiniteError, match="doubles"):
        upscaler(doubles)(smooth(64, 64), (64, 64))


def test_without_a_detector_a_picture_is_redrawn_whose_faces_are_left_alone(doubles):
    restorer = FunctionRestorer(lambda crops, fidelity: crops)
    machine = Pipeline(detector=None, restorer=restorer, upscaler=upscaler(doubles, creativity=0))
    assert machine.run(smooth(60, 70), Settings(faces="none")).faces == ()
    with pytest.raises(OptionError, match="detector is 'none', but faces are looked for"):
        machine.run(smooth(60, 70))


def test_nan_in_half_precision_is_an_error_that_names_the_other_one(doubles, monkeypatch):
    monkeypatch.setattr(doubles, "device", Device(torch.device("cpu"), torch.bfloat16))
    monkeypatch.setattr(doubles, "predict", lambda x, *others: x * float("nan"))
    with pytest.raises(NonFiniteError, match="doubles computed NaN or infinity in half precision; use precision fp32"):
        upscaler(doubles)(smooth(64, 64), (64, 64))


def test_the_vae_continues_in_smaller_windows(doubles, monkeypatch, caplog):
    doubles.predicting = blurring
    pixels = smooth(250, 250)
    whole = upscaler(doubles, tile=256)(pixels, (250, 250))
    encode, sizes, seen = Doubles.encode, [], []

    def small(self, image):
        sizes.append(image.shape[-1])
        if image.shape[-1] > 130:
            raise torch.OutOfMemoryError
        return encode(self, image)

    def report(done, total):
        seen.append((done, total))

    monkeypatch.setattr(Doubles, "encode", small)
    assert np.array_equal(upscaler(doubles, tile=256)(pixels, (250, 250), progress=report), whole)
    assert all(done < total for done, total in seen[:-1])
    assert seen[-1][0] == seen[-1][1]
    assert sizes[:2] == [256, 128]
    assert "it continues in tiles of 128 px" in caplog.text
    monkeypatch.setattr(Doubles, "encode", lambda self, image: small(self, torch.ones(1, 3, 8, 999)))
    with pytest.raises(MemoryLimitError, match=r"tiles of 128 px; close other programs$"):
        upscaler(doubles, tile=256)(pixels, (250, 250))


def test_windows_of_an_attempt_that_failed_are_no_progress(doubles, monkeypatch):
    doubles.predicting = blurring
    monkeypatch.setattr("facemend.stages.redraw.VAE_WINDOW", 1)
    encode, sizes, seen = Doubles.encode, [], []

    def second_fails(self, image):
        sizes.append(image.shape[-1])
        if len(sizes) == 2:
            raise torch.OutOfMemoryError
        return encode(self, image)

    monkeypatch.setattr(Doubles, "encode", second_fails)
    upscaler(doubles, tile=256)(smooth(250, 500), (250, 500), progress=lambda *parts: seen.append(parts))
    assert sizes[:3] == [256, 256, 128]
    assert all(done < total for done, total in seen[:-1])
    assert seen[-1][0] == seen[-1][1]


def test_guidance_continues_with_one_prompt_after_the_other(networks, folder, caplog, monkeypatch):
    pixels = smooth(64, 64)
    together = {mode: upscaler(networks, guess_mode=mode)(pixels, (128, 128)) for mode in (False, True)}
    short = loaded(folder)
    predicted = short._predicted

    def one(x, t, hint, texts, creative):
        if len(texts) > 1:
            raise torch.OutOfMemoryError
        return predicted(x, t, hint, texts, creative)

    monkeypatch.setattr(short, "_predicted", one)
    for mode, expected in together.items():
        made = upscaler(short, guess_mode=mode)(pixels, (128, 128))
        assert np.abs(made.astype(int) - expected).max() <= 1
    assert caplog.text.count("guidance is computed one prompt after the other") == 1


def test_the_same_prompts_need_no_guidance(networks):
    assert len(networks.texts(Creative())) == 2
    assert len(networks.texts(Creative(guidance=1))) == 1
    assert len(networks.texts(Creative(prompt="a", negative="a"))) == 1


@pytest.mark.parametrize("name", ["prompt", "negative"])
@pytest.mark.parametrize("between", [" ", ""])
def test_a_prompt_that_is_too_long_is_an_error_when_the_upscaler_is_made(networks, name, between):
    upscaler(networks, **{name: between.join("a" * (WORDS - 2))})
    problem = f"{name} is 'a.*', but must be at most {WORDS - 2} tokens.*; it has {WORDS - 1}"
    with pytest.raises(OptionError, match=problem):
        upscaler(networks, **{name: between.join("a" * (WORDS - 1))})


def test_a_negative_prompt_that_is_ignored_may_be_long(networks):
    made = upscaler(networks, negative="a " * WORDS, guidance=1)(smooth(64, 64), (128, 128))
    short = upscaler(networks, negative="a", guidance=1)(smooth(64, 64), (128, 128))
    assert np.array_equal(made, short)


def test_a_prompt_in_many_tiles_is_warned_of(doubles, caplog):
    doubles.predicting = blurring
    pixels = smooth(128, 300)
    upscaler(doubles, prompt="a cat", creativity=0.4)(pixels, (128, 300))
    upscaler(doubles, creativity=0.6)(pixels, (128, 300))
    upscaler(doubles, prompt="a cat", creativity=0.6)(pixels[:, :128], (128, 128))
    assert not caplog.text
    upscaler(doubles, prompt="a cat", creativity=0.6)(pixels, (128, 300))
    assert "its subject may repeat" in caplog.text


MEMORY = """
import resource
import numpy as np
from tests.diffusion import Doubles, blurring
from facemend.creative import Creative
from facemend.stages.redraw import CreativeUpscaler
from facemend.stages.upscale import LanczosUpscaler

upscaler = CreativeUpscaler(Doubles(blurring), LanczosUpscaler(), Creative(steps=1, tile=512))
for side in (512, 2000):
    pixels = np.zeros((side // 2, side // 2, 3), np.uint8)
    upscaler(pixels, (side, side))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_for_4_megapixels_is_that_of_the_pictures_and_some_bands():
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    small, large = map(int, run.stdout.split())
    assert large - small < 2 * 12e6 + 60e6  # bytes; the picture in float32 alone would take 48e6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("creativity", 1.1), ("resemblance", -1), ("guidance", 31), ("hdr", None), ("steps", 0), ("steps", 2.5),
        ("sampler", "heun"), ("tile", 500), ("tile", 64), ("prompt", None), ("keep_faces", 1), ("max_cpu_mp", 0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(OptionError, match=name):
        Creative(**{name: value})


def test_presets_are_the_defaults_of_the_originals():
    first, second = PRESETS["controlnet-tile"], PRESETS["ultimate"]
    assert (first.creativity, first.resemblance, first.hdr, first.steps, first.guidance) == (0.35, 0.85, 0, 8, 0)
    assert (second.creativity, second.resemblance, second.steps, second.guidance) == (0.2, 1, 20, 8)
    assert (first.sampler, second.sampler, second.tile) == ("ddim", "euler", 512)


def test_restored_faces_keep_their_own_tone_on_a_redrawn_picture(doubles):
    class Brighter(CreativeUpscaler):
        def __call__(self, pixels, size, *others, **options):
            return lanczos(pixels, size) + np.uint8(30)

    picture = smooth(400, 420) // 2 + 40
    pipeline = Pipeline(
        detector=detector(face_at(similarity(2, 0, -164, -144))),
        restorer=FunctionRestorer(lambda crops, fidelity: crops),
        upscaler=Brighter(doubles, LanczosUpscaler(), SMALL),
    )
    changed = pipeline.run(picture, Settings(scale=1, adaptive=False)).pixels.astype(int) - picture
    assert (changed[:20] == 30).all()
    assert abs(changed[190:230, 190:230].mean()) < 1


def test_faces_are_not_looked_for_where_they_are_neither_restored_nor_kept(doubles):
    def detect(pixels, settings):
        pytest.fail("looked for")

    pipeline = Pipeline(detector=detect, restorer=None, upscaler=upscaler(doubles, creativity=0, keep_faces=False))
    assert pipeline.run(smooth(60, 70), Settings(faces="none")).faces == ()


def test_of_a_picture_of_one_ink_saturation_is_no_reason_to_brighten_a_part(doubles):
    sepia = np.rint(smooth(200, 220)[..., :1] / 255 * (235, 215, 180)).astype(np.uint8)
    pipeline = Pipeline(detector=None, restorer=None, upscaler=upscaler(doubles, creativity=0, hdr=1))
    made = pipeline.run(sepia, Settings(scale=1, faces="none")).pixels.astype(int)
    assert np.abs(made - exposed(sepia, 1, has_colours=False)).max() <= 3
    assert np.abs(made - exposed(sepia, 1)).mean() > 5


def test_only_the_picture_is_redrawn_and_no_face_that_is_enlarged(doubles):
    redrawn = []

    class Recording(CreativeUpscaler):
        def __call__(self, pixels, *others, **options):
            redrawn.append(pixels.shape[:2])
            return super().__call__(pixels, *others, **options)

    pipeline = Pipeline(
        detector=detector(face_at(similarity(2, 0, -100, -100))),
        restorer=FunctionRestorer(lambda crops, fidelity: crops),
        upscaler=Recording(doubles, LanczosUpscaler(), replace(SMALL, creativity=0)),
    )
    pipeline.run(smooth(200, 200), Settings(scale=4, adaptive=False))
    assert redrawn == [(200, 200)]
