import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from facemend.errors import NonFiniteError
from facemend.nets.repairer import LiteRepairer
from facemend.records import Tiling
from facemend.stages import repair, tiled
from facemend.stages.repair import NetRepairer
from tests.pictures import CPU, Whites, smooth

TILING = Tiling(scale=1, step=16, bytes_per_pixel=300, overlap=64)


def scratched(dtype=np.uint8, size=(90, 130)):
    """A smooth picture, the same with a white line, and where the line is."""
    whole = smooth(*size, dtype)
    picture = whole.copy()
    picture[40:43] = np.iinfo(dtype).max
    return whole, picture, (picture == np.iinfo(dtype).max).all(axis=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_damage_is_filled_from_its_surroundings_and_nothing_else_changes(dtype):
    whole, picture, line = scratched(dtype)
    copy = picture.copy()
    repaired, mask = NetRepairer("whites", Whites(), CPU, TILING)(picture)
    assert repaired.dtype == dtype
    assert np.array_equal(picture, copy)
    assert np.array_equal(repaired[~line], picture[~line])
    off = np.abs(repaired.astype(float) - whole)[line] / np.iinfo(dtype).max
    assert off.mean() < 0.03
    assert (mask.dtype, mask.shape) == (np.float32, picture.shape[:2])
    assert np.array_equal(mask, line.astype(np.float32))


class Brightness(nn.Module):
    """Finds damage with a probability that is the brightness of the px."""

    def forward(self, x):
        return x[:, :1]


def stripe(probability):
    """A black picture with four columns of a brightness."""
    picture = np.zeros((40, 48, 3), np.uint8)
    picture[:, 24:28] = round(255 * probability)
    return picture


@pytest.mark.parametrize(("more", "repairs"), [(-0.1, False), (0.1, True)])
def test_doubtful_damage_is_left_alone(more, repairs):
    picture = stripe(repair.SOUND[0] + more)
    repaired, mask = NetRepairer("brightness", Brightness(), CPU, TILING)(picture)
    assert mask.any() == repairs
    assert np.array_equal(repaired, picture) != repairs


def test_an_area_too_wide_for_a_good_fill_is_left_alone():
    picture = smooth(200, 200)
    picture[20:90, :80] = 255
    picture[150:153, 20:180] = 255
    repaired, mask = NetRepairer("whites", Whites(), CPU, TILING)(picture)
    assert np.array_equal(repaired[:140], picture[:140])
    assert not mask[:140].any()
    assert (repaired[150:153, 30:170] < 250).all()


def found_on(size, *areas):
    """Where damage is found on a smooth picture with these white areas."""
    picture = smooth(*size)
    for area in areas:
        picture[area] = 255
    return NetRepairer("whites", Whites(), CPU, TILING)(picture)[1] > 0


@pytest.mark.parametrize(
    ("width", "length", "repairs"), [(13, 110, True), (21, 110, True), (15, 90, False), (27, 300, False)]
)
def test_a_line_may_be_wider_than_other_areas(width, length, repairs):
    """Here, 12 px is the width from which areas are left alone, and a line is at least 96 px long."""
    across, along = slice(100, 100 + width), slice(40, 40 + length)
    for line, size in (((across, along), (384, 500)), ((along, across), (500, 384))):
        found = found_on(size, line)
        assert (found[line].mean() > 0.99) == found.any() == repairs  # corner px are mixed in the enlarged copy


@pytest.mark.parametrize(
    ("width", "length", "repairs"), [(8, 44, False), (8, 52, True), (20, 92, False), (20, 100, True), (28, 180, False)]
)
def test_lines_of_a_small_picture(width, length, repairs):
    """Lines of up to 12 px are at least 48 px long, and those of up to 24 px at least 96 px."""
    line = np.s_[100 : 100 + width, 10 : 10 + length]
    found = found_on((200, 200), line)
    assert (found[line].mean() > 0.98) == found.any() == repairs


@pytest.mark.parametrize(("side", "limit"), [(96, 6), *((32 * limit, limit) for limit in range(6, 17)), (900, 16)])
def test_nothing_of_the_smallest_plain_area_is_found(side, limit):
    disc = repair.disc(limit)
    found = np.zeros((side, side), np.uint8)
    found[20 : 20 + len(disc), 20 : 20 + len(disc)] = disc
    assert not (found & ~repair.plain_areas(found)).any()
    found[20:23] = 0  # smaller than the limit
    assert not repair.plain_areas(found).any()


def test_an_area_with_holes_is_left_alone_too():
    picture = smooth(384, 500)
    picture[100:140, 100:140] = 255
    picture[102:140:6, 102:140:6] = 0
    assert not NetRepairer("whites", Whites(), CPU, TILING)(picture)[1].any()


def test_a_thin_scratch_does_not_make_an_area_a_line():
    square, scratch = np.s_[100:120, 100:120], np.s_[109:112, 120:350]
    found = found_on((384, 500), square, scratch)
    found[107:114, 102:118] = 0  # the scratch goes on there
    assert not found[102:118, 102:118].any()
    assert found[109:112, 140:349].all()


def test_a_scratch_is_found_where_it_crosses_a_plain_area():
    found = found_on((384, 500), np.s_[90:130, 200:240], np.s_[109:112, 20:480])
    assert found[109:112, 20:480].mean() > 0.99
    assert not found[92:106, 202:238].any()
    assert not found[115:128, 202:238].any()


def test_a_line_with_narrower_parts_is_one_line():
    line = np.s_[100:110, 40:400], *(np.s_[97:113, x : x + 20] for x in range(60, 380, 60))
    assert found_on((384, 500), *line)[100:110, 40:400].mean() > 0.99


def test_a_bent_line_is_left_alone():
    picture = smooth(500, 500)
    cv2.ellipse(picture, (250, 250), (200, 230), 0, 180, 270, (255, 255, 255), 20)
    assert not NetRepairer("whites", Whites(), CPU, TILING)(picture)[1].any()


def line_with(*shapes):
    """Draw an upright line of 12 px and other shapes into a mask of 256 px: all of it, and the line alone."""
    areas = np.zeros((256, 256), np.uint8)
    for shape in shapes:
        cv2.fillPoly(areas, [np.array(shape)], 1)
    line = np.zeros_like(areas)
    cv2.line(line, (100, 0), (108, 255), 1, 12)
    return areas | line, line


def test_a_line_that_touches_another_area_is_a_line():
    areas, line = line_with([(104, 200), (80, 170), (80, 176), (106, 250)])
    found = repair.straight_lines(areas, 8)
    assert found[line > 0].mean() > 0.97
    assert found[line == 0].sum() < (areas & ~line & 1).sum() / 3


def test_of_two_lines_that_cross_neither_is_the_most_of_the_area():
    areas, _ = line_with([(8, 120), (200, 120), (200, 132), (8, 132)])
    assert not repair.straight_lines(areas, 8).any()


def test_a_short_line_with_a_long_scratch_across_is_too_short():
    areas = np.zeros((256, 256), np.uint8)
    areas[100:160, 100:112] = 1
    areas[100, 112:190] = 1
    assert not repair.straight_lines(areas, 8).any()


@pytest.mark.parametrize(("length", "found"), [(60, False), (70, True)])
def test_a_line_is_eight_times_as_long_as_areas_that_are_left_alone(length, found):
    areas = np.zeros((256, 256), np.uint8)
    areas[40 : 40 + length, 100:112] = 1
    assert repair.straight_lines(areas, 8).any() == found


@pytest.mark.parametrize(("bend", "straight"), [(0, True), (10, True), (14, False), (30, False)])
def test_a_bent_line_is_no_straight_line(bend, straight):
    y = np.arange(0, 256, 5)
    points = np.column_stack([100 + bend * (1 - (y / 128 - 1) ** 2), y]).astype(np.int32)
    areas = cv2.polylines(np.zeros((256, 256), np.uint8), [points], False, 1, 9)
    assert (repair.straight_lines(areas, 8)[areas > 0].mean() > 0.85) == straight
    assert repair.straight_lines(areas, 8).any() == straight


def test_of_a_line_with_a_wide_spot_only_the_spot_is_left_alone():
    line, spot = np.s_[100:114, 40:400], np.s_[90:130, 200:240]
    found = found_on((384, 500), line, spot)
    assert found[100:114, 41:170].all()
    assert found[100:114, 270:399].all()
    assert not found[95:125, 205:235].any()


@given(
    axes=st.tuples(st.integers(17, 60), st.integers(17, 60)),
    angle=st.integers(0, 180),
    size=st.sampled_from([(384, 500), (384, 384), (200, 500), (600, 600)]),
)
def test_nothing_of_a_plain_area_is_found(axes, angle, size):
    found = cv2.ellipse(np.zeros(size, np.uint8), (150, 100), axes, angle, 0, 360, 1, -1)
    assert not (found & ~repair.plain_areas(found)).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("corner", [np.s_[:30, :30], np.s_[:30, -30:], np.s_[-30:, :30], np.s_[-30:, -30:]])
def test_a_torn_corner_is_filled(corner, dtype):
    picture = smooth(200, 200, dtype=dtype)
    picture[corner] = np.iinfo(dtype).max
    repaired, mask = NetRepairer("whites", Whites(), CPU, TILING)(picture)
    assert (repaired[corner] < 0.98 * np.iinfo(dtype).max).all()
    assert mask[corner].all()
    assert 31**2 < mask.sum() <= 32**2, "with the px around it"


def test_damage_that_touches_a_torn_corner_is_filled_too():
    corner, scratch = np.s_[:30, :30], np.s_[14:17, 30:120]
    found = found_on((200, 200), corner, scratch)
    assert found[corner].all()
    assert found[15, 30:119].all()


@pytest.mark.parametrize(("side", "repairs"), [(34, True), (36, False)])
def test_a_torn_corner_is_less_than_3_per_cent_of_the_picture(side, repairs):
    corner = np.s_[:side, :side]
    assert found_on((200, 200), corner)[corner].all() == repairs


@pytest.mark.parametrize(("corners", "repairs"), [(1, True), (2, True), (3, False), (4, False)])
def test_three_or_four_equal_corners_are_not_torn(corners, repairs):
    places = [np.s_[:30, :30], np.s_[:30, -30:], np.s_[-30:, :30], np.s_[-30:, -30:]][:corners]
    found = found_on((200, 200), *places)
    assert all(found[place].all() == found.any() == repairs for place in places)


def test_a_torn_corner_that_is_as_bright_as_the_others_is_not_torn():
    picture = np.full((200, 200, 3), 245, np.uint8)
    picture[20:180, 20:180] = 60
    picture[:30, :30] = 255
    assert not NetRepairer("whites", Whites(), CPU, TILING)(picture)[1].any()


def test_the_corners_of_an_oval_picture_are_not_torn():
    picture = np.full((200, 200, 3), 255, np.uint8)
    cv2.ellipse(picture, (100, 100), (120, 115), 0, 0, 360, (90, 90, 90), -1)
    assert not NetRepairer("whites", Whites(), CPU, TILING)(picture)[1].any()
    picture[:, :100] = 90
    assert NetRepairer("whites", Whites(), CPU, TILING)(picture)[1].any()


def test_a_corner_that_is_a_large_part_of_the_picture_is_left_alone():
    picture = smooth(200, 200)
    picture[:40, :40] = 255
    repaired, mask = NetRepairer("whites", Whites(), CPU, TILING)(picture)
    assert np.array_equal(repaired, picture)
    assert not mask.any()


def test_a_doubtful_corner_is_left_alone():
    picture = np.full((200, 200, 3), 20, np.uint8)
    for value, repairs in ((240, False), (250, True)):
        picture[:30, :30] = value
        _, mask = NetRepairer("brightness", Brightness(), CPU, TILING)(picture)
        assert mask.any() == repairs


def test_doubtful_px_are_filled_only_where_they_are_connected_to_damage():
    picture = stripe(sum(repair.SOUND) / 2)
    repairer = NetRepairer("brightness", Brightness(), CPU, TILING)
    assert not repairer(picture)[1].any()
    picture[:4, 24:28] = 255
    picture[:, 10:14] = picture[20, 24]  # another stripe, which is not connected
    found = repairer(picture)[1] > 0
    assert np.flatnonzero(found.all(axis=0)).tolist() == [24, 25, 26, 27]
    assert not found[:, :20].any()


@pytest.mark.parametrize(("share", "width", "worn"), [(0.9, 4, False), (1.1, 4, True), (1.1, 8, False)])
def test_doubtful_damage_is_filled_where_there_is_much_thin_damage(share, width, worn):
    probability = np.zeros((320, 300), np.uint8)
    probability[10 : 10 + width, : round(share * repair.WORN_SHARE * probability.size / width)] = 255
    probability[100:200, 50:53] = round(255 * (repair.WORN[0] + repair.SOUND[0]) / 2)
    assert all_damaged(probability)[100:200, 50:53].all() == worn
    probability[100:200, 50:53] = round(255 * (repair.WORN[1] + repair.SOUND[1]) / 2)
    assert not all_damaged(probability)[100:200].any()


def faint_line(angle, length, width=2, faint=100):
    """Probabilities: of a line across a picture, 255 for `length` px of it, and `faint` on the rest."""
    centre = np.array((110.0, 90.0))
    along = np.array((np.cos(np.radians(angle)), np.sin(np.radians(angle))))
    probability = np.zeros((200, 300), np.uint8)
    for start, end, value in ((-200, 200, faint), (-length / 2, length / 2, 255)):
        ends = [np.rint(centre + along * at).astype(int).tolist() for at in (start, end)]
        cv2.line(probability, *ends, value, width)
    return probability


def all_damaged(probability):
    return repair.damaged(probability, np.zeros_like(probability)) > 0


@pytest.mark.parametrize("angle", [0, 90, 30, -75])
@pytest.mark.parametrize("faint", [85, 118])
def test_the_rest_of_a_long_line_is_filled_where_it_is_harder_to_see(angle, faint):
    probability = faint_line(angle, 110, faint=faint)
    line = probability > 0
    probability[170, 40] = faint  # not on the line
    found = all_damaged(probability)
    assert found[line & (probability < 255)].mean() > 0.95
    assert not found[~line].any()


@pytest.mark.parametrize(
    ("length", "width", "faint"),
    [(95, 2, 100), (110, 2, 70), (150, 9, 100)],
    ids=["too short", "too doubtful", "too wide"],
)
def test_other_lines_are_not_extended(length, width, faint):
    probability = faint_line(0, length, width, faint)
    assert not all_damaged(probability)[probability < 255].any()


def test_a_line_is_extended_by_its_own_width():
    probability = faint_line(0, 110)
    probability[75:106, 180:] = 100  # doubtful all around the line
    rows = np.flatnonzero(all_damaged(probability)[:, 250])
    assert len(rows) <= 5


def interrupted_line(angle, piece, gap, seen, faint=100):
    """Probabilities: of two pieces of a line 255, and between them of a share of the gap `faint`."""
    centre = np.array((150.0, 100.0))
    along = np.array((np.cos(np.radians(angle)), np.sin(np.radians(angle))))
    probability = np.zeros((200, 300), np.uint8)
    end = np.rint(centre + (2 * piece + gap) * along).astype(int).tolist()
    cv2.line(probability, (150, 100), end, 255, 2)
    at = (np.indices((200, 300))[::-1].transpose(1, 2, 0) - centre) @ along - piece
    in_gap = (probability > 0) & (at > 0) & (at < gap)
    probability[in_gap] = np.where(at[in_gap] < seen * gap, faint, 0)
    return probability


@pytest.mark.parametrize("angle", [0, 90, 30, -75, 180])
@pytest.mark.parametrize("seen", [0.7, 1])
def test_a_gap_of_a_line_is_filled_where_damage_is_less_probable(angle, seen):
    probability = interrupted_line(angle, 20, 25, seen)
    faint = probability == 100
    probability[40, 40] = 100  # not on the line
    found = all_damaged(probability)
    assert found[faint].mean() > 0.9
    assert not found[probability == 0].any()
    assert not found[40, 40]


@pytest.mark.parametrize(
    ("piece", "gap", "seen", "faint", "filled"),
    [
        (10, 25, 1, 100, True),
        (10, 33, 1, 100, True),
        (10, 40, 1, 100, False),  # too long a gap
        (4, 8, 1, 100, False),  # too short a line
        (20, 25, 0.3, 100, False),  # too little of the gap
        (20, 25, 1, 70, False),  # too doubtful
    ],
)
def test_only_gaps_that_are_mostly_doubtful_and_not_too_long_are_filled(piece, gap, seen, faint, filled):
    probability = interrupted_line(0, piece, gap, seen, faint)
    assert all_damaged(probability)[probability == faint].any() == filled


def test_the_gaps_at_both_ends_of_a_line_are_filled():
    probability = np.zeros((200, 300), np.uint8)
    probability[100, 120:181] = 100
    probability[100, 140:161] = 255
    probability[100, [120, 180]] = 255  # spots, which are no lines
    assert (np.flatnonzero(all_damaged(probability)[100]) == np.arange(120, 181)).all()


def test_a_speck_at_the_end_of_a_line_does_not_hide_the_gap():
    probability = np.zeros((200, 300), np.uint8)
    probability[100, 140:181] = 100
    probability[100, 140:161] = 255
    probability[100, [162, 180]] = 255
    assert all_damaged(probability)[100, 140:181].all()


def test_a_short_line_is_not_extended_beyond_the_damage_on_it():
    assert not all_damaged(faint_line(0, 60))[:, :70].any()


class Seen(nn.Module):
    """Finds nothing, and keeps the sizes of its inputs."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x):
        self.sizes.append((x.shape[2] - 16, x.shape[3] - 16))  # without the px added around
        return torch.zeros_like(x[:, :1])


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((64, 96), [(128, 192), (32, 48)]),
        ((160, 192), [(240, 288), (80, 96)]),  # enlarged to `ENLARGED_PX`
        ((320, 384), [(320, 384), (160, 192)]),
        ((320, 1024), [(320, 1024), (128, 400)]),  # reduced to `REDUCED_SIDE`
    ],
)
def test_a_picture_is_seen_enlarged_and_reduced(monkeypatch, size, seen):
    net = Seen()
    monkeypatch.setattr(repair, "REDUCED_SIDE", 400)
    monkeypatch.setattr(repair, "ENLARGED_PX", 240 * 288)
    NetRepairer("seen", net, CPU, TILING)(smooth(*size))
    assert net.sizes == seen


@pytest.mark.parametrize("size", [(15, 40), (7, 900)])  # the second is a line
def test_a_picture_that_is_all_damage_is_left_alone(size):
    picture = np.full((*size, 3), 255, np.uint8)
    repaired, mask = NetRepairer("whites", Whites(), CPU, TILING)(picture)
    assert np.array_equal(repaired, picture)
    assert not mask.any()


def test_tiles_give_the_same_as_the_whole_picture(monkeypatch):
    _, picture, _ = scratched(size=(210, 700))
    seen = []
    repairer = NetRepairer("whites", Whites(), CPU, TILING)
    whole = repairer(picture)
    monkeypatch.setattr(tiled, "LARGEST_TILE", 192)
    tiles = repairer(picture, lambda done, total: seen.append((done, total)))
    assert all(np.array_equal(a, b) for a, b in zip(whole, tiles, strict=True))
    assert seen[-1][0] == seen[-1][1] > 3


def test_the_progress_of_both_runs_is_one(monkeypatch):
    monkeypatch.setattr(tiled, "LARGEST_TILE", 192)
    seen = []
    repairer = NetRepairer("whites", Whites(), CPU, TILING)
    repairer(smooth(210, 300), lambda done, total: seen.append(done / total))
    assert seen == sorted(seen)
    assert seen[0] < seen[-1] == 1
    assert seen[-2] == pytest.approx(16 / 17, abs=0.001)  # the enlarged copy has 16 of 17 px


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (64, 500)])
def test_pictures_of_any_size_keep_it(size):
    torch.manual_seed(0)
    repaired, mask = NetRepairer("net", LiteRepairer((4, 4, 4, 4), (1, 1, 1, 1)).eval(), CPU, TILING)(smooth(*size))
    assert repaired.shape == (*size, 3)
    assert mask.shape == size


class Near(Whites):
    """As `Whites`, but blind to what is more than 10 px from something that is not white."""

    def forward(self, x):
        out = super().forward(x)
        return out * (nn.functional.max_pool2d(-out, 21, 1, 10) != -1)


def test_wide_damage_of_large_pictures_is_found_on_a_reduced_copy(monkeypatch):
    monkeypatch.setattr(repair, "LARGE", 400)
    monkeypatch.setattr(repair, "REDUCED_SIDE", 400)
    monkeypatch.setattr(repair, "ENLARGED_PX", 1)
    picture = smooth(900, 1200)
    picture[99:120, 201:222] = 255  # wide
    picture[200:202] = 255  # thin
    damaged = (picture == 255).all(axis=2)
    repaired, mask = NetRepairer("near", Near(), CPU, TILING)(picture)
    assert (repaired[102:117, 204:219] < 250).all()
    assert (repaired[200:202] < 250).all()
    rim = cv2.dilate(damaged.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert np.array_equal(repaired[~rim], picture[~rim])
    assert not mask[~rim].any()
    small, _ = NetRepairer("near", Near(), CPU, TILING)(picture[:260, 120:380])
    assert (small[109:111, 90:92] == 255).all()  # at its own size it is too wide


@pytest.mark.parametrize("size", [(300, 1200), (160, 1200)])
def test_plain_areas_of_long_pictures_are_left_alone(monkeypatch, size):
    monkeypatch.setattr(repair, "REDUCED_SIDE", 400)
    assert not found_on(size, np.s_[40:100, 201:261]).any()


@pytest.mark.parametrize(("size", "widest"), [((100, 140), 5), ((384, 500), 10), ((700, 750), 15)])
def test_areas_up_to_the_limit_are_filled(size, widest):
    for width in range(4, widest + 1):
        area = np.s_[41 : 41 + width, 51 : 51 + width]
        assert found_on(size, area)[area].mean() > 0.7, width


def test_between_the_copies_of_a_large_picture_no_width_is_missed(monkeypatch):
    """The limit is 16 px in the picture and 8 in the copy, which has a quarter of its size."""
    monkeypatch.setattr(repair, "LARGE", 1024)
    monkeypatch.setattr(repair, "REDUCED_SIDE", 1024)
    for width in (10, 15, 18, 20, 25, 30):
        area = np.s_[401 : 401 + width, 501 : 501 + width]
        assert found_on((1024, 4096), area)[area].mean() > 0.8, width


class Broken(nn.Module):
    def forward(self, x):
        return x[:, :1] * float("nan")


def test_a_network_that_computes_nan_is_an_error():
    with pytest.raises(NonFiniteError, match="broken"):
        NetRepairer("broken", Broken(), CPU, TILING)(smooth(20, 20))
