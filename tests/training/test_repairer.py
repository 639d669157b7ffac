"""The repairer's trainer: damage, undamaged scenes, the loss, a few steps of training, and its measurement."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from facemend.nets.repairer import LiteRepairer
from facemend.records import Tiling
from facemend.stages.repair import NetRepairer
from tests.pictures import CPU, Whites, smooth
from tests.training.runs import command, few
from training import damages, measure_repairer, repairer, scenes

GREY = np.full((128, 128, 3), 120, np.float32)
KINDS = [
    damages.bundle,
    damages.crack,
    damages.craze,
    damages.crease,
    damages.dust,
    damages.fibre,
    damages.film_line,
    damages.rub,
    damages.scratch,
    damages.tear,
]


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_damage_changes_a_part_of_the_image(kind):
    shares = []
    for seed in range(20):
        result = kind(GREY, 1.0, generator(seed))
        assert result.shape == GREY.shape
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        shares.append(np.mean(np.abs(result - GREY).max(axis=2) > repairer.VISIBLE))
    assert 0 < np.mean(shares) < 0.5
    assert np.median(shares) < 0.5


def test_damage_is_drawn_anew_for_every_seed_and_the_same_for_one():
    first, again, other = (damages.damage(GREY, generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("scene", [scenes.text, scenes.drawing, scenes.masonry])
def test_drawn_scenes_have_detail(scene):
    for seed in range(10):
        image = scene(96, generator(seed))
        assert image.shape == (96, 96, 3)
        assert image.std() > 2


@pytest.mark.parametrize("add", [scenes.add_lines, scenes.add_letters, scenes.add_border], ids=lambda add: add.__name__)
def test_something_is_drawn_into_a_photograph(add):
    photo = smooth(128, 128).astype(np.float32)
    changes = [np.abs(add(photo, generator(seed)) - photo) for seed in range(30)]
    assert all(change.shape == photo.shape and np.isfinite(change).all() for change in changes)
    assert np.mean([change.max() > 5 for change in changes]) > 0.8
    assert np.mean([change.max(axis=2) > 5 for change in changes]) < 0.5


@pytest.mark.parametrize("thing", [draw for draw, _ in scenes.THINGS], ids=lambda draw: draw.__name__)
def test_everything_that_can_be_drawn_is_a_list_of_paths(thing):
    for seed in range(5):
        paths = thing((128, 128), generator(seed))
        assert paths
        assert all(path.ndim == 2 and path.shape[1] == 2 and np.isfinite(path).all() for path in paths)


def test_an_engraving_is_dark_where_the_image_is_dark():
    image = np.repeat(np.repeat(np.linspace(0, 255, 128, dtype=np.float32)[None, :, None], 128, 0), 3, 2)
    columns = scenes.engraving(image, generator()).mean(axis=(0, 2))
    assert columns[:40].mean() < columns[-40:].mean() - 40


def items(count=60):
    return repairer.Damaged([smooth(400, 300)], [smooth(300, 400, seed=1)], 0, count)


def test_items_are_damaged_where_their_mask_is_1():
    damaged = 0
    for given, mask, weight in map(items().__getitem__, range(40)):
        assert given.shape == (3, 256, 256)
        assert mask.shape == weight.shape == (1, 256, 256)
        assert 0 < weight.min() <= weight.max() <= 0.5
        damaged += bool(mask.any())
    assert 15 < damaged < 40


def test_a_scan_changes_both_images_alike_and_says_where_damage_is():
    clean = smooth(64, 64).astype(np.float32)
    damaged = clean.copy()
    damaged[20:23] += 40
    for seed in range(10):
        given, even, change = repairer.scan(clean, damaged, generator(seed))
        assert given.shape == even.shape == clean.shape
        assert change[20:23].mean() > 10 * change[:10].mean()


def test_undamaged_px_weigh_as_much_as_a_fill_would_change_them():
    image = np.full((32, 32, 3), 100, np.float32)
    image[16] = 180
    changed = repairer.changed_by_fill(image)
    assert (changed[16] == 80).all()
    assert not changed[:15].any()


def test_an_item_depends_on_its_index_alone():
    some, others = items(), items()
    others[3]
    assert all(torch.equal(a, b) for a, b in zip(some[7], others[7], strict=True))


def test_the_loss_is_least_for_the_truth_and_counts_px_by_their_weight():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    weight = torch.full_like(mask, 0.01)
    weight[..., 0, :] = 0.4

    def loss(wrong):
        found = torch.where(wrong, 1 - mask, mask).clamp(1e-4, 1 - 1e-4)
        return float(repairer.loss_of(found, mask, weight))

    rows = torch.arange(4).reshape(4, 1).expand(1, 1, 4, 4)
    assert loss(rows < 0) < 0.01
    assert loss(rows == 0) > 10 * loss(rows == 1)
    assert loss(rows == 1) == pytest.approx(loss(rows == 2), rel=1e-3)


def test_the_planes_of_a_view_are_turned_together():
    torch.manual_seed(0)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 1, 2] = 1
    seen = set()
    for _ in range(60):
        given, turned, weight = repairer.view(mask.repeat(1, 3, 1, 1), mask, mask)
        assert torch.equal(turned, weight)
        assert torch.equal(given.amax(1, keepdim=True), turned)  # 0 and 1 keep their tone
        seen.add(int(turned[0].flatten().argmax()))
    assert len(seen) == 8


def test_a_view_changes_the_tone_of_each_input():
    given, _, _ = repairer.view(torch.full((5, 3, 2, 2), 0.5), *torch.zeros(2, 5, 1, 2, 2))
    assert len(set(given[:, 0, 0, 0].tolist())) == 5
    assert 0.35 < given.min() < given.max() < 0.65


def test_the_repairer_command_makes_weights_that_load_and_continues_from_its_checkpoint(
    shared, tmp_path, monkeypatch, one_thread
):
    folder = few(shared, tmp_path)
    for steps in (2, 3):
        options = ["--steps", steps, "--batch", 1, "--echoes", 1]
        command(monkeypatch, repairer, "--data", folder, "--out", tmp_path, *options)
        assert torch.load(tmp_path / "repairer.pt", weights_only=True)["step"] == steps
    state = load_file(tmp_path / "lite-repairer.safetensors")
    LiteRepairer().load_state_dict(state)
    assert all(value.isfinite().all() for value in state.values())


def test_the_measurement_compares_the_mask_and_the_fill_with_the_truth():
    def damage(image, level, seed):
        damaged = image.copy()
        damaged[10:14] = 255
        mask = np.zeros(image.shape[:2], bool)
        mask[10:18] = True  # half of it is not to be seen
        return damaged, mask

    yardstick = SimpleNamespace(LEVELS=("light",), damage=damage)
    image = np.full((64, 64, 3), 100, np.uint8)
    net = NetRepairer("whites", Whites(), CPU, Tiling(scale=1, step=16, bytes_per_pixel=600))
    lines = measure_repairer.tables(net, yardstick, {"grey": [image, smooth(64, 64)]})
    assert " | 1.00 | 0.50 |" in lines[2]
    assert "100.0 dB | 100.0 dB | 0.000%" in lines[-2]


class Bright(nn.Module):
    """Finds what is brighter than everything in a smooth picture."""

    def forward(self, x):
        return (x.amin(1, keepdim=True) > 0.91).float()


def test_lines_that_are_found_are_told_from_those_that_are_not(monkeypatch):
    monkeypatch.setattr(measure_repairer, "LINES", {128: (3,)})
    net = NetRepairer("bright", Bright(), CPU, Tiling(scale=1, step=16, bytes_per_pixel=600))
    *_, row, end = measure_repairer.lines_found(net, [smooth(512, 512), smooth(512, 512, seed=1)])
    size, *found, _ = (cell.strip(" %") for cell in row[1:].split("|"))
    assert size == "128 px, 3 px"
    assert min(map(int, found[:2])) > 80
    assert found[2:] == ["0", "0"]
    assert not end
