"""The parts of the trainers, and a few steps of each trainer on images of noise."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

from facemend.machine import device
from facemend.nets.lite import LiteRestorer
from facemend.nets.realesrgan import SRVGGNetCompact
from facemend.nets.retinaface import RetinaFace
from facemend.records import Face, Landmarks
from facemend.stages.resampling import Resampling
from facemend.stages.tiles import Span
from tests.training.runs import command, few, picture, recognition
from training import data, degradations, detector, loop, losses, measure, measure_text, restorer, scenes, upscaler
from training.discriminator import Adversary, shown
from training.identity import Likeness


def faces(length=4, **options):
    portraits = [data.Portrait(picture(seed), np.eye(2, 3)) for seed in range(2)]
    return data.Faces(portraits, [picture(9)], 64, 0, length, **options)


def test_levels_are_those_of_the_yardstick(shared):
    yardstick = measure.load_yardstick(shared / "data/degrade.py")
    assert tuple(yardstick.LEVELS.values()) == degradations.LEVELS


def test_a_recipe_degrades_as_the_yardstick_does_apart_from_noise(shared):
    yardstick = measure.load_yardstick(shared / "data/degrade.py")
    image = picture()
    for level, (blur, shrink, _, quality) in yardstick.LEVELS.items():
        yardstick.LEVELS[level] = (blur, shrink, 0.0, quality)
        recipe = degradations.Recipe(blur=blur, shrink=shrink, quality=quality)
        small = degradations.apply(image.astype(np.float32), recipe, np.random.default_rng(0))
        theirs = measure.degraded(yardstick, level, image, 0)
        for a, b in zip((small, degradations.enlarge(small, recipe, image.shape)), theirs, strict=True):
            assert np.abs(a - b.astype(float)).mean() < 1


@pytest.mark.parametrize("draw", [degradations.draw, degradations.draw_bad, lambda rng: upscaler.recipe(4, rng)])
def test_a_recipe_keeps_the_size_of_the_image(draw):
    image = picture(size=(96, 80)).astype(np.float32)
    for seed in range(60):
        recipe = draw(np.random.default_rng(seed))
        small = degradations.apply(image, recipe, np.random.default_rng(seed))
        enlarged = degradations.enlarge(small, recipe, image.shape)
        assert enlarged.shape == image.shape
        assert small.size <= image.size
        assert 0 <= enlarged.min() <= enlarged.max() <= 255


@pytest.mark.parametrize("effect", [{"grain": 9.0}, {"halftone": 0.3}, {"scratches": 3}, {"noise": 9.0}, {"blur": 2.0}])
def test_every_effect_of_a_recipe_changes_the_image(effect):
    image = picture(size=(96, 80)).astype(np.float32)
    plain, changed = (
        degradations.apply(image, dataclasses.replace(degradations.Recipe(), **change), np.random.default_rng(0))
        for change in ({}, effect)
    )
    assert np.abs(plain - changed).mean() > 0.2


def test_an_item_depends_on_its_index_alone():
    some, others = faces(), faces(9)
    others[1]
    for a, b in zip(some[3], others[3], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(some[3][1], some[2][1])


def test_the_part_of_a_map_is_that_of_the_crop():
    whole = torch.arange(32.0 * 32).reshape(1, 1, 32, 32)
    corners = torch.tensor([[16, 32], [0, 0]])  # x, y in px
    part = restorer.cut(whole, corners, 64, cell=16)
    assert torch.equal(part[0, 0], whole[0, 0, 2:6, 1:5])
    assert torch.equal(part[1, 0], whole[0, 0, :4, :4])


def test_losses_are_zero_for_the_truth_and_positive_for_a_blurred_image():
    truth = data.to_tensor(picture(size=(64, 64)).astype(np.float32))[None].repeat(2, 1, 1, 1)
    wrong = truth.clone()
    wrong[1] = nn.functional.avg_pool2d(truth[1], 5, stride=1, padding=2)
    for term in (losses.pixel, losses.gradient, losses.energy, losses.colour):
        right, bad = term(wrong, truth).tolist()
        assert right == 0
        assert bad > 0


def test_energy_measures_the_amount_of_detail_and_not_its_place():
    detail = data.to_tensor(picture(size=(64, 64)).astype(np.float32))[None]
    elsewhere, smooth = detail.roll(5, dims=3), torch.full_like(detail, float(detail.mean()))
    assert losses.energy(elsewhere, detail) < 0.3 * losses.energy(smooth, detail)


def test_the_spectrum_shows_a_lack_of_detail_and_a_regular_pattern():
    noise = np.random.default_rng(0).normal(120, 20, (2, 256, 256, 3)).astype(np.float32)
    truth, other = (data.to_tensor(image)[None] for image in noise)
    dotted = other.clone()
    dotted[:, :, 3::4, 1::4] += 0.3
    blurred = nn.functional.avg_pool2d(other, 3, stride=1, padding=1)
    assert losses.spectrum(truth, truth) == 0
    same, grid, soft = (float(losses.spectrum(x, truth)) for x in (other, dotted, blurred))
    assert same < 0.15
    assert grid > 1.5 * same
    assert soft > 1


def test_a_grid_is_more_detail_at_one_place_of_every_square():
    truth = data.to_tensor(picture(size=(256, 256)).astype(np.float32))[None]
    dotted = truth.clone()
    dotted[:, :, 3::16, 5::16] += 0.1
    assert losses.grid(truth, truth) == 0
    assert losses.grid(dotted, truth) > 0.3


def test_fine_detail_is_what_a_blur_takes_away():
    image = data.to_tensor(picture(size=(64, 64)).astype(np.float32))[None]
    pixels = image[0].numpy().transpose(1, 2, 0)
    blurred = cv2.GaussianBlur(np.ascontiguousarray(pixels), (13, 13), 2, borderType=cv2.BORDER_REFLECT_101)
    expected = torch.from_numpy((pixels - blurred).transpose(2, 0, 1))[None]
    torch.testing.assert_close(losses.fine(image, 2.0), expected, rtol=1e-4, atol=1e-5)


def test_the_discriminator_learns_to_tell_restored_from_real(one_thread):
    torch.manual_seed(0)
    adversary = Adversary("cpu")
    real = data.to_tensor(picture(size=(80, 80)).astype(np.float32))[None]
    given = nn.functional.avg_pool2d(real, 5, stride=1, padding=2)
    fake, real = shown(0, given, given, real, 2.0)
    assert fake.shape == real.shape == (1, 6, 64, 64)
    for _ in range(30):
        adversary.learn(2e-3, fake, real)
    matching, adversarial = zip(adversary.losses(fake, real), adversary.losses(real, real), strict=True)
    assert matching[0] > 0.01 > matching[1]
    assert adversarial[0] > adversarial[1]


def test_the_discriminator_does_not_see_what_is_larger_than_fine_detail():
    x = torch.linspace(0, 6.3, 128).sin().expand(1, 3, 128, 128)
    fake, real = shown(0, x * 0, x, x * 0, 2.0)
    assert (fake - real).abs().max() < 0.02
    assert (fake[:, 3:] != 0).any()


def test_the_landmark_error_is_in_per_cent_of_the_eye_distance():
    true = Face((0, 0, 9, 9), Landmarks((0, 0), (50, 0), (25, 20), (10, 40), (40, 40)), 1.0)
    moved = Landmarks(*((x + 3, y + 4) for x, y in true.landmarks))
    assert measure.landmark_error(dataclasses.replace(true, landmarks=moved), true) == pytest.approx(10)
    assert np.isnan(measure.landmark_error(None, true))


def test_a_framed_face_is_in_the_middle_of_an_image_of_twice_its_size():
    face = picture(size=(512, 512))
    whole = measure.framed(face)
    assert whole.shape == (1024, 1024, 3)
    assert np.array_equal(whole[256:768, 256:768], face)


def test_an_old_print_is_shrunk_and_enlarged_to_its_size():
    small, enlarged = measure.old_print(4, picture(size=(96, 80)), 0)
    assert (small.shape, enlarged.shape) == ((24, 20, 3), (96, 80, 3))


def test_the_learning_rate_rises_then_falls():
    rates = [loop.learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == rates[100] == 1
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)


def phase(tmp_path, steps):
    return loop.Phase(nn.Linear(1, 1), tmp_path / "phase.pt", steps, 1e-3)


def test_echoed_items_are_used_equally_often_and_in_other_orders(tmp_path):
    pairs = list(phase(tmp_path, 8).batches(TensorDataset(torch.arange(12), torch.arange(12)), 3, echoes=2))
    assert all(torch.equal(*pair) for pair in pairs)
    batches = [batch for batch, _ in pairs]
    assert [len(batch) for batch in batches] == [3] * 8
    first, again, *_ = torch.stack(batches).reshape(4, 6)
    assert sorted(first.tolist()) == sorted(again.tolist()) == list(range(6))
    assert not torch.equal(first, again)
    assert torch.bincount(torch.cat(batches)).tolist() == [2] * 12


@pytest.mark.parametrize("steps", [3, 5])
def test_a_run_with_echoes_ends_after_its_steps_and_continues(tmp_path, steps):
    dataset = TensorDataset(torch.arange(24.0))
    assert sum(1 for _ in phase(tmp_path, steps).batches(dataset, 3, echoes=2)) == steps
    (first,), *others = phase(tmp_path, 9).batches(dataset, 3, echoes=2)
    assert first.min() >= steps // 4 * 6
    assert len(others) == 8 - steps


def test_a_pattern_is_measured_beside_noise():
    noise = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 0.1
    weave = noise + 0.1 * torch.sin(torch.arange(128) * torch.pi / 4)
    assert (losses.pattern(weave, noise) > 0.3).all()
    assert (losses.pattern(noise, weave) == 0).all()
    slope = torch.linspace(-1, 1, 128)  # no fine detail
    torch.testing.assert_close(
        losses.pattern(weave + slope, noise + slope), losses.pattern(weave, noise), atol=0.02, rtol=0
    )
    stripes = torch.sin(torch.arange(128) * 2 * torch.pi / 7).expand(2, 3, 128, 128)  # of another period
    assert (losses.pattern(0.1 * stripes + noise, noise) < 0.1).all()


def test_a_run_killed_while_saving_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    net = nn.Linear(1, 1)
    loop.save(tmp_path / "x.pt", 5, {"net": net})
    monkeypatch.setattr(torch, "save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.save(tmp_path / "x.pt", 6, {"net": net})
    assert loop.resume(tmp_path / "x.pt", {"net": net}) == 5


def train_texture(net, items, out, *options):
    folder = out / "recognition"
    likeness = Likeness(folder if folder.exists() else recognition(folder), torch.device("cpu"))
    return restorer.train_texture(net, items, likeness, out, *options)


def train(out, trainer):
    torch.manual_seed(0)
    net = LiteRestorer((4, 4, 4, 4), (1, 1, 1, 1))
    loop.initialise(net)
    out.mkdir(exist_ok=True)
    return trainer(net, faces(2 * 4, lead_in=2), out, 4, 2, 1e-3).state_dict()


@pytest.mark.parametrize("trainer", [restorer.train_pixels, train_texture])
def test_a_resumed_run_gives_the_same_weights_as_an_uninterrupted_one(tmp_path, monkeypatch, trainer, one_thread):
    whole = train(tmp_path / "whole", trainer)
    monkeypatch.setattr(loop, "SAVED_EVERY", 2)
    rate = loop.learning_rate
    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", lambda step, *a, **b: rate(step, *a, **b) if step < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / "killed", trainer)
    assert torch.load(next((tmp_path / "killed").glob("*.pt")), weights_only=True)["step"] == 2
    resumed = train(tmp_path / "killed", trainer)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def good(net, path):
    """Whether a file has all weights of a network, and all are finite."""
    state = load_file(path)
    net.load_state_dict(state)
    return all(value.isfinite().all() for value in state.values())


def check_blend(folder, name, share):
    """Check that a file is a blend of the weights of two phases; `share` is that of the second."""
    first, second = (
        torch.load(folder / f"{name}-{phase}.pt", weights_only=True)["mean"] for phase in ("pixels", "texture")
    )
    assert any(not torch.equal(first[key], second[key]) for key in first)
    for key, value in load_file(folder / f"lite-{name}.safetensors").items():
        torch.testing.assert_close(value.float(), (1 - share) * first[key] + share * second[key], rtol=1e-3, atol=1e-6)


def test_the_restorer_command_makes_weights_that_load(shared, tmp_path, monkeypatch, one_thread):
    options = ["--detector", shared / "weights/detection_mobilenet0.25_Final.pth", "--batch", 1, "--faces", 1]
    options += ["--recognition", recognition(tmp_path / "recognition"), "--data", few(shared, tmp_path)]
    options += ["--out", tmp_path, "--steps", 2, "--texture-steps", 2]
    command(monkeypatch, restorer, *options)
    assert good(LiteRestorer(), tmp_path / "lite-restorer.safetensors")
    check_blend(tmp_path, "restorer", restorer.TEXTURED)
    mixed = load_file(tmp_path / "lite-restorer.safetensors")
    options = [*options[:10], "--out", tmp_path / "on", "--start", tmp_path / "lite-restorer.safetensors"]
    command(monkeypatch, restorer, *options, "--texture-steps", 0)
    started = load_file(tmp_path / "on/lite-restorer.safetensors")
    assert all(torch.equal(mixed[key], started[key]) for key in mixed)


def test_the_upscaler_command_makes_weights_that_load_and_continues_from_its_checkpoint(
    shared, tmp_path, monkeypatch, one_thread
):
    folder = few(shared, tmp_path)
    options = ["--data", folder, "--out", tmp_path, "--batch", 1, "--echoes", 2]
    for steps in (2, 4):
        command(monkeypatch, upscaler, *options, "--steps", 6, "--texture-steps", steps)
        assert torch.load(tmp_path / "upscaler-texture.pt", weights_only=True)["step"] == steps
    made, more = tmp_path / "lite-upscaler.safetensors", tmp_path / "on/lite-upscaler.safetensors"
    assert good(SRVGGNetCompact(num_conv=9), made)
    check_blend(tmp_path, "upscaler", upscaler.TEXTURED)
    options = ["--data", folder, "--out", tmp_path / "on", "--batch", 1, "--start", made]
    command(monkeypatch, upscaler, *options, "--texture-steps", 0)
    first, second = load_file(made), load_file(more)
    assert all(torch.equal(first[key], second[key]) for key in first)
    command(monkeypatch, upscaler, *options, "--texture-steps", 1)
    assert good(SRVGGNetCompact(num_conv=9), more)


def test_the_share_of_drawn_items_changes_from_the_first_to_the_last():
    photos = [np.zeros((200, 200, 3), np.uint8)]
    crops = upscaler.Crops(photos, photos, 1, 0, 400, (2,), (0.9, 0.1))
    from_photographs = [crops[index][2] for index in (*range(40), *range(360, 400))]
    assert 0 < np.mean(from_photographs[:40]) < 0.35
    assert 0.65 < np.mean(from_photographs[40:]) < 1


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_truth_is_sharpened_as_by_opencv(factor):
    truth = picture(size=(96, 96)).astype(np.float32)
    blurred = cv2.GaussianBlur(truth, (0, 0), 0.6 * factor)
    expected = np.clip(truth + upscaler.SHARPEN[factor] * (truth - blurred), 0, 255)
    sharpened = upscaler.sharpen(torch.from_numpy(truth / 255).permute(2, 0, 1)[None], factor)[0].permute(1, 2, 0)
    assert np.abs(sharpened.numpy() * 255 - expected).max() < 1
    assert np.abs(expected - truth).max() > 3


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_networks_are_trained_in_bfloat16_where_the_processor_has_it(monkeypatch, has_bf16, dtype):
    monkeypatch.setattr(device, "bf16_in_hardware", lambda: has_bf16)
    with loop.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_text_is_drawn_with_all_fonts_of_the_folders(tmp_path, monkeypatch):
    for name in ("one/b.otf", "one/a.ttf", "one/readme.txt", "two/c.ttf", "three/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    fonts = data.font_files([tmp_path / "two", tmp_path / "one"])
    assert [path.name for path in fonts] == ["c.ttf", "a.ttf", "b.otf"]
    with pytest.raises(FileNotFoundError, match=r"three is not a folder with \.ttf or \.otf files"):
        data.font_files([tmp_path / "one", tmp_path / "three"])
    drawn, font = [], scenes.ImageFont.load_default(30)
    monkeypatch.setattr(scenes.ImageFont, "truetype", lambda *given: (drawn.append(given), font)[1])
    photos = [np.zeros((200, 200, 3), np.uint8)]
    crops = upscaler.Crops(photos, photos, 1, 0, 40, (2,), (1, 1), fonts)
    assert max([np.ptp(crops[index][1].numpy()) for index in range(20)]) > 50
    assert {path for path, _ in drawn} == set(fonts)
    assert 2 * upscaler.SMALLEST_LETTERS <= min(size for _, size in drawn) < 2.5 * upscaler.SMALLEST_LETTERS


def test_both_phases_draw_with_the_fonts_of_the_command(shared, tmp_path, monkeypatch, one_thread):
    font, given, crops = tmp_path / "fonts/a.ttf", [], upscaler.Crops
    font.parent.mkdir()
    font.touch()
    monkeypatch.setattr(upscaler, "Crops", lambda *arguments: given.append(arguments) or crops(*arguments))
    for name in ("DRAWN", "TEXTURE_DRAWN"):
        monkeypatch.setattr(upscaler, name, (0, 0))  # as the font is no font
    options = ["--data", few(shared, tmp_path), "--out", tmp_path, "--batch", 1, "--fonts", font.parent]
    command(monkeypatch, upscaler, *options, "--steps", 1, "--texture-steps", 1)
    assert [arguments[-1] for arguments in given] == [[font], [font]]


@pytest.mark.parametrize("drawn", [0, 1])
def test_the_losses_of_the_discriminator_count_for_photographs_only(tmp_path, monkeypatch, drawn, one_thread):
    monkeypatch.setattr(upscaler, "recipe", lambda factor, rng: degradations.Recipe(shrink=factor))
    made = []
    for weight in (0.0, 100.0):
        torch.manual_seed(0)
        monkeypatch.setattr(upscaler, "MATCHING", weight)
        crops = upscaler.Crops([picture()], [picture()], 1, 0, 2, (2,), (drawn, drawn))
        folder = tmp_path / str(weight)
        folder.mkdir()
        made.append(upscaler.train_texture(SRVGGNetCompact(num_conv=1), crops, folder, 2, 1).state_dict())
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0]) == bool(drawn)


def test_a_data_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has too few of photos/\*\.png"):
        data.photos_and_portraits(tmp_path)


@pytest.mark.parametrize(("grain", "drawn", "counts"), [(0, 0, 1), (9, 0, 0), (0, 1, 0), (9, 1, 0)])
def test_the_discriminator_counts_for_photographs_without_grain(monkeypatch, grain, drawn, counts):
    monkeypatch.setattr(upscaler, "recipe", lambda factor, rng: degradations.Recipe(shrink=factor, grain=grain))
    photos = [picture()]
    crops = upscaler.Crops(photos, photos, 1, 0, 10, (2,), (drawn, drawn))
    assert {float(crops[index][2]) for index in range(10)} == {counts}


def test_a_font_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(measure_text.shutil, "which", lambda name: name)
    monkeypatch.setattr(measure_text, "read", lambda image: measure_text.PAGE)
    monkeypatch.setattr(measure_text, "FONTS", (None, "no such font.ttf"))
    monkeypatch.setattr(measure_text, "SIZES", (8,))
    lines = measure_text.tables({"same": lambda image, factor: image})
    assert lines[2:] == [
        "| 8 px | 100% | 100% |",
        "",
        "no such font.ttf was not measured: this font is not installed.",
        "",
    ]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_training_resizes_results_as_the_package_does(factor):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    span = Span(0, 8, 0, 8 * factor, np.ones(8 * factor, np.float32), factor)
    resample = Resampling(span, 4, torch.device("cpu"))
    wanted = resample(resample(image[0]).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(upscaler.at_factor(image, factor)[0], wanted, rtol=0, atol=1e-5)
    pixels = image[0].permute(1, 2, 0).numpy() * 255
    measured = measure.resized(pixels, (8 * factor, 8 * factor, 3))
    np.testing.assert_allclose(measured, wanted.permute(1, 2, 0).clip(0, 1) * 255, atol=0.51)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("turn", [0, 1])
def test_the_discriminator_sees_textures_and_plain_areas_but_no_edges(factor, turn):
    rng = np.random.default_rng(0)
    image = np.full((96, 96), 0.5, np.float32)
    image[:, 44:] = 0.9  # an edge
    image[60:, :30] += rng.normal(0, 0.1, (36, 30))  # a texture
    tensor = torch.from_numpy(np.rot90(image, turn).copy()).expand(1, 3, -1, -1)
    seen = upscaler.away_from_edges(tensor, factor)
    assert seen.shape == (1, 1, 96, 96)
    seen = np.rot90(seen[0, 0].numpy(), -turn)
    assert (seen[:, 43:45] < 0.1).all()
    assert (seen[:40, :20] > 0.98).all()
    assert seen[70:90, 6:20].mean() > 0.7


def test_the_detector_command_makes_weights_that_load(shared, tmp_path, monkeypatch, one_thread):
    options = ["--teacher", shared / "weights/detection_mobilenet0.25_Final.pth", "--steps", 4]
    command(monkeypatch, detector, "--data", few(shared, tmp_path), "--out", tmp_path, *options)
    assert good(RetinaFace("mobile0.25"), tmp_path / "lite-detector.safetensors")


def test_the_letters_of_a_page_are_counted(monkeypatch):
    monkeypatch.setattr(measure_text, "read", lambda image: measure_text.PAGE[: len(measure_text.PAGE) // 2])
    assert measure_text.share_read(measure_text.page(10)) == pytest.approx(0.5, abs=0.02)
    monkeypatch.setattr(measure_text, "read", lambda image: "")
    assert measure_text.share_read(measure_text.page(10)) == 0


def test_a_page_has_dark_text_on_light_paper():
    small, large = (measure_text.page(size) for size in (8, 14))
    assert large.shape[1] > 1.5 * small.shape[1]
    assert small.min() < 90
    assert np.median(small) > 220


def test_a_grid_is_found_whether_its_dots_are_light_or_dark():
    face = picture(size=(512, 512))
    dots = np.zeros((16, 16))
    dots[3:5, 3:5] = 20
    signs = np.random.default_rng(0).choice([-1, 1], (32, 32)).repeat(16, 0).repeat(16, 1)
    gridded = np.clip(face + (np.tile(dots, (32, 32)) * signs)[..., None], 0, 255).astype(np.uint8)
    assert measure.grid(face) < 0.1
    assert measure.grid(gridded) > 3 * measure.grid(face)
