import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemend.records import Crop
from facemend.stages.align import TEMPLATE, align
from facemend.stages.paste import Layer, canvas_px_per_crop_px, enlarged, oval_mask, overlapping, paste, square_mask
from facemend.stages.upscale import lanczos
from tests.pictures import face_at, similarity, smooth


def moved(before, after):
    """(x, y) shift in px that explains the difference of two nearly equal pictures best."""
    grey = before.astype(float).mean(axis=2)
    difference = after.astype(float).mean(axis=2) - grey
    gy, gx = np.gradient(grey)
    normal = np.array([[(gx * gx).sum(), (gx * gy).sum()], [(gx * gy).sum(), (gy * gy).sum()]])
    return -np.linalg.solve(normal, np.array([(gx * difference).sum(), (gy * difference).sum()]))


def round_trip(matrix, scale, picture):
    """The enlarged picture before and after one of its own faces is cut out and put back."""
    size = tuple(round(side * scale) for side in picture.shape[:2])
    canvas = lanczos(picture, size)
    before = canvas.copy()
    ratio = size[1] / picture.shape[1], size[0] / picture.shape[0]
    paste(canvas, [Layer(align(picture, face_at(matrix).landmarks), square_mask(512))], ratio)
    return before, canvas


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3, 4])
@pytest.mark.parametrize("matrix", [similarity(1.4, 0, -90, -60), similarity(0.8, 25, 60, -90)])
def test_a_face_put_back_does_not_move(scale, matrix):
    before, after = round_trip(matrix, scale, smooth(451, 503, np.uint16))
    np.testing.assert_allclose(moved(before, after), 0, atol=0.006)  # OpenCV interpolates at steps of 1/32 px
    assert abs(before.astype(int) - after).max() <= 0.015 * 65535


@settings(max_examples=20)
@given(st.floats(0.6, 3), st.floats(-180, 180), st.floats(1, 3))
def test_crop_then_paste_is_the_identity(size, degrees, scale):
    picture = smooth(300, 340, cell=60)
    centre = similarity(size, degrees, 0, 0)
    centre[:, 2] = 256 - centre[:, :2] @ (170, 150)
    before, after = round_trip(centre, scale, picture)
    assert abs(before.astype(int) - after).max() <= 3


def test_upright_native_size_face_comes_back_to_the_bit():
    picture = smooth(600, 640)
    canvas = picture.copy()
    crop = Crop(picture[40:552, 60:572].copy(), similarity(1, 0, -60, -40))
    paste(canvas, [Layer(crop, square_mask(512))], (1, 1))
    np.testing.assert_array_equal(canvas, picture)


@pytest.mark.parametrize("value", [0, 1, 7, 254, 255])
def test_blending_rounds(value):
    """Truncation would darken by half a level."""
    canvas = np.full((300, 300, 3), value, np.uint8)
    paste(
        canvas,
        [Layer(Crop(np.full((512, 512, 3), value, np.uint8), similarity(2.1, 30, 100, 20)), square_mask(512))],
        (1, 1),
    )
    assert (canvas == value).all()


def test_red_stays_red():
    canvas = np.zeros((200, 200, 3), np.uint8)
    red = np.zeros((512, 512, 3), np.uint8)
    red[..., 0] = 255
    paste(canvas, [Layer(Crop(red, similarity(2.56, 0, 0, 0)), square_mask(512))], (1, 1))
    assert canvas[100, 100].tolist() == [255, 0, 0]


def test_strength_mixes_with_the_canvas():
    for strength, expected in ((0, 40), (0.5, 80), (1, 120)):
        canvas = np.full((512, 512, 3), 40, np.uint8)
        crop = Crop(np.full((512, 512, 3), 120, np.uint8), similarity(1, 0, 0, 0))
        paste(canvas, [Layer(crop, square_mask(512), strength)], (1, 1))
        assert canvas[256, 256, 0] == expected
        assert canvas[0, 0, 0] == 40


def test_a_face_far_from_another_of_its_group_is_pasted_as_alone():
    """A chain of faces is one group; its first and last share no rows."""
    crops = [Crop(smooth(512, 512, seed=i), similarity(2, 0, -40, -400 * i)) for i in range(4)]
    assert len(overlapping(crops, (1, 1), (1100, 400))) == 1
    together, alone = (smooth(1100, 400, seed=9) for _ in range(2))
    paste(together, [Layer(crop, square_mask(512)) for crop in crops], (1, 1))
    paste(alone, [Layer(crops[0], square_mask(512))], (1, 1))
    assert np.array_equal(together[:199], alone[:199])
    assert not np.array_equal(together[300:], alone[300:])


def test_work_follows_the_face_not_the_canvas():
    canvas = np.zeros((6000, 8000, 3), np.uint8)
    crop = Crop(np.full((512, 512, 3), 200, np.uint8), similarity(512 / 60, 10, -3000, -2000))
    square_mask(512)
    tracemalloc.start()
    paste(canvas, [Layer(crop, square_mask(512))], (1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < canvas.nbytes / 10
    rows, columns = np.nonzero(canvas[..., 0])
    assert 20 < np.ptp(rows) < 100
    assert 20 < np.ptp(columns) < 100


def test_a_face_that_fills_a_large_canvas_needs_little_memory():
    canvas = np.zeros((3000, 3000, 3), np.uint8)
    crop = Crop(np.full((512, 512, 3), 200, np.uint8), similarity(512 / 3000, 0, 0, 0))
    tracemalloc.start()
    paste(canvas, [Layer(crop, square_mask(512))], (1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * canvas.nbytes
    assert (canvas[1500, 1500] == 200).all()


def test_a_face_outside_the_canvas_changes_nothing():
    canvas = smooth(50, 50)
    before = canvas.copy()
    paste(canvas, [Layer(Crop(smooth(512, 512), similarity(1, 0, 5000, 5000)), square_mask(512))], (1, 1))
    np.testing.assert_array_equal(canvas, before)


def test_an_enlarged_crop_lands_in_the_same_place():
    picture = smooth(600, 640, np.uint16, cell=60)
    crop = align(picture, face_at(similarity(0.9, 12, 40, -40)).landmarks)
    canvas = picture.copy()
    paste(canvas, [Layer(enlarged(crop, lanczos(crop.pixels, (1024, 1024))), square_mask(512))], (1, 1))
    np.testing.assert_allclose(moved(picture, canvas), 0, atol=0.005)
    assert abs(canvas.astype(int) - picture).max() <= 0.01 * 65535


@pytest.mark.parametrize("side", [64, 1024])
def test_the_mask_lies_in_the_same_place_on_a_crop_of_any_size(side):
    canvas, expected = np.zeros((2, 400, 420, 3), np.uint8)
    crop = Crop(np.full((512, 512, 3), 255, np.uint8), similarity(2, 10, -160, -100))
    paste(expected, [Layer(crop, square_mask(512))], (1, 1))
    paste(canvas, [Layer(enlarged(crop, np.full((side, side, 3), 255, np.uint8)), square_mask(512))], (1, 1))
    assert abs(canvas.astype(int) - expected).max() <= 1


def test_a_face_smaller_than_its_crop_is_averaged_not_sampled():
    board = np.indices((512, 512)).sum(axis=0) % 2 * 200
    canvas = np.full((120, 120, 3), 100, np.uint8)
    paste(
        canvas,
        [Layer(Crop(np.dstack([board] * 3).astype(np.uint8), similarity(5, 7, 0, -60)), square_mask(512))],
        (1, 1),
    )
    assert abs(canvas.astype(int) - 100).max() <= 8


def test_canvas_px_per_crop_px_is_canvas_px_per_crop_px():
    crop = Crop(smooth(512, 512), similarity(0.5, 40, 0, 0))
    assert canvas_px_per_crop_px(crop, (3, 3)) == pytest.approx(6)


def test_mask_is_whole_inside_and_nothing_at_the_edge():
    mask = square_mask(512)
    assert mask[256, 256] == 1
    assert mask[100:-100, 100:-100].min() > 0.999
    assert max(mask[0].max(), mask[:, 0].max(), mask[-1].max()) < 0.01


def solid(level, matrix):
    return Layer(Crop(np.full((512, 512, 3), level, np.uint8), matrix), oval_mask(512))


def placed(scale, degrees, x, y):
    """The map of a face whose middle lies at (x, y)."""
    matrix = similarity(scale, degrees, 0, 0)
    matrix[:, 2] = (256, 288) - matrix[:, :2] @ (x, y)
    return matrix


NEIGHBOURS = [placed(2.2, 0, 180, 200), placed(4, 15, 265, 190), placed(3, -10, 220, 300)]


def test_the_order_of_faces_does_not_matter():
    """With 16 bits, another order of the same sums would show."""
    rng = np.random.default_rng(0)
    crops = [Crop(rng.integers(0, 65536, (512, 512, 3), np.uint16), matrix) for matrix in NEIGHBOURS]
    layers = [Layer(crop, oval_mask(512)) for crop in crops]
    results = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        canvas = smooth(400, 420).astype(np.uint16) * 257
        paste(canvas, [layers[index] for index in order], (1, 1))
        results.append(canvas)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_faces_that_overlap_share_pixels_by_distance_and_keep_their_middles():
    canvas = smooth(400, 420)
    alone = [smooth(400, 420) for _ in range(2)]
    layers = [solid(20, NEIGHBOURS[0]), solid(200, NEIGHBOURS[1])]
    paste(canvas, layers, (1, 1))
    for picture, layer in zip(alone, layers, strict=True):
        paste(picture, [layer], (1, 1))
    changed = [(picture != smooth(400, 420)).any(axis=2) for picture in alone]
    assert (changed[0] & changed[1]).sum() > 500, "they overlap"
    for first, second in ((0, 1), (1, 0)):
        only = changed[first] & ~changed[second]
        difference = abs(canvas[only].astype(int) - alone[first][only])
        assert difference.max() <= 1, "where the other's mask is too small to change a byte"
        assert (difference > 0).mean() < 1e-3
    nowhere = ~changed[0] & ~changed[1]
    np.testing.assert_array_equal(canvas[nowhere], smooth(400, 420)[nowhere])
    for layer, level in zip(layers, (20, 200), strict=True):
        back = np.linalg.inv(np.vstack((layer.crop.matrix, (0, 0, 1))))
        x, y = np.rint((back @ (256, 288, 1))[:2]).astype(int)
        assert abs(int(canvas[y, x, 0]) - level) <= 2


def test_nearly_all_of_a_shared_pixel_is_the_nearer_face_s():
    canvas = smooth(400, 420)
    paste(canvas, [solid(20, placed(4, 0, 180, 200)), solid(200, placed(4, 0, 240, 200))], (1, 1))
    assert abs(canvas[200, 200].astype(int) - 20).max() <= 1, "20 px from one face, 40 px from the other"
    assert abs(canvas[200, 220].astype(int) - 200).max() <= 1


def test_crops_are_grouped_by_overlap():
    crops = [
        Crop(np.zeros((512, 512, 3), np.uint8), similarity(5.12, 0, -5.12 * x, -5.12 * y))  # 100 px, at (x, y)
        for x, y in ((0, 0), (300, 0), (80, 80), (160, 160))
    ]
    assert overlapping(crops, (1, 1), (400, 400)) == [[0, 2, 3], [1]]
    assert overlapping([], (1, 1), (400, 400)) == []


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_the_oval_holds_the_landmarks_and_ends_before_the_edge_of_the_crop(size):
    mask = oval_mask(size)
    for x, y in TEMPLATE:
        assert mask[round(y * size / 512), round(x * size / 512)] == 1
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert edge.max() == 0
    for edge in (square_mask(size)[0], square_mask(size)[:, -1]):
        assert edge.max() == 0
    assert mask[: size // 16].max() == 0, "hair above the forehead"
    assert abs(mask - mask[:, ::-1]).max() < 0.06, "symmetric, but for half a pixel"


def test_a_face_beside_the_canvas_changes_nothing_of_another():
    inside = Layer(Crop(smooth(512, 512), similarity(4, 0, -100, -100)), square_mask(512))
    beside = Layer(Crop(smooth(512, 512, seed=1), similarity(4, 0, -9000, -100)), square_mask(512))
    both, one = (smooth(300, 300, seed=2) for _ in range(2))
    paste(both, [inside, beside], (1, 1))
    paste(one, [inside], (1, 1))
    assert np.array_equal(both, one)


def test_the_oval_is_whole_up_to_its_rim_and_fades_smoothly_to_nothing():
    mask = oval_mask(512)
    y, x = np.indices(mask.shape)
    distance = np.hypot((x - 256) / 150, (y - 288) / 205)
    assert mask[(distance < 1) & (y < 460)].min() == 1, "below, the edge of the crop is near"
    assert mask[distance > 1.2].max() == 0
    assert mask[288, 256 + 165] == pytest.approx(0.5, abs=0.01)
    assert mask[288, 256 + 174] == pytest.approx(0.104, abs=0.01), "no kink at its end"


@pytest.mark.parametrize(("turn", "left", "right"), [(38, 150, 90), (-38, 90, 150), (90, 150, 75), (8, 150, 150)])
@pytest.mark.parametrize("size", [512, 256])
def test_the_oval_is_narrower_on_the_side_that_a_head_is_turned_to(turn, left, right, size):
    """Behind the far cheek are hair and the background."""
    row = oval_mask(size, turn)[288 * size // 512]
    for edge, inwards in ((256 - left, 1), (256 + right, -1)):
        px = edge * size / 512
        assert row[round(px + 3 * inwards)] == 1
        assert row[round(px - 3 * inwards)] < 1
        assert row[round(px - 0.25 * (left if inwards > 0 else right) * inwards * size / 512)] == 0


def test_the_oval_of_a_larger_crop_is_the_same():
    halved = oval_mask(1024).reshape(512, 2, 512, 2).mean(axis=(1, 3))
    inside = slice(64, -64)  # beyond, the square ends too
    np.testing.assert_allclose(halved[inside, inside], oval_mask(512)[inside, inside], atol=1e-3)


def test_the_mask_fades_over_the_outer_twentieth_of_the_crop():
    row = square_mask(512)[256]
    assert row[5] < 0.05
    assert row[25] == pytest.approx(0.5, abs=0.05)
    assert row[45] > 0.95


def test_a_face_is_pasted_in_every_row_of_a_large_canvas():
    canvas = np.zeros((900, 300, 3), np.uint8)
    crop = Crop(np.full((512, 512, 3), 200, np.uint8), similarity(0.5, 0, 100, 30))
    paste(canvas, [Layer(crop, np.ones((512, 512), np.float32))], (1, 1))
    assert (canvas == 200).all()


def test_faces_share_pixels_alike_whatever_the_rows_and_the_size_of_their_crops():
    expected = smooth(400, 420)
    paste(expected, [solid(20, NEIGHBOURS[0]), solid(200, NEIGHBOURS[1])], (1, 1))
    lower = np.concatenate((smooth(700, 420, seed=1), smooth(400, 420)))
    layers = []
    for level, matrix in ((20, NEIGHBOURS[0]), (200, NEIGHBOURS[1])):
        crop = Crop(np.zeros((512, 512, 3), np.uint8), matrix @ np.array(((1, 0, 0), (0, 1, -700), (0, 0, 1))))
        layers.append(Layer(enlarged(crop, np.full((1024, 1024, 3), level, np.uint8)), oval_mask(512)))
    paste(lower, layers, (1, 1))
    assert np.abs(lower[700:].astype(int) - expected).max() <= 2


def test_crops_that_overlap_by_a_few_px_are_one_group():
    crops = [Crop(np.zeros((512, 512, 3), np.uint8), similarity(5.12, 0, -5.12 * x, 0)) for x in (0, 96, 200)]
    assert overlapping(crops, (1, 1), (400, 400)) == [[0, 1], [2]]


def test_the_mask_has_no_steps_on_a_large_canvas():
    canvas = np.zeros((2000, 2000, 3), np.uint8)
    crop = Crop(np.full((512, 512, 3), 255, np.uint8), similarity(512 / 2000, 0, 0, 0))
    paste(canvas, [Layer(crop, square_mask(512))], (1, 1))
    assert np.abs(np.diff(canvas[1000, :, 0].astype(int))).max() <= 6, "of up to 16 levels from px to px of the mask"


def test_a_face_between_the_px_of_the_canvas_keeps_its_fine_detail():
    stripes = np.rint(128 + 80 * np.sin(np.arange(512) * np.pi / 2)).astype(np.uint8)  # 4 px wide
    crop = Crop(np.broadcast_to(stripes[None, :, None], (512, 512, 3)).copy(), similarity(1, 0, 0.5, 0))
    canvas = np.full((512, 512, 3), 128, np.uint8)
    paste(canvas, [Layer(crop, square_mask(512))], (1, 1))
    assert np.ptp(canvas[256, 200:300, 0].astype(int)) >= 105, "80 * sqrt(2) between the px; bilinear, 80"


def test_a_face_is_the_same_to_the_bit_alone_and_below_another():
    rng = np.random.default_rng(0)
    crops = [Crop(rng.integers(0, 65536, (512, 512, 3), np.uint16), placed(2, 20, 150, y)) for y in (150, 830)]
    layers = [Layer(crop, oval_mask(512)) for crop in crops]
    both, one = (smooth(1000, 300).astype(np.uint16) * 257 for _ in range(2))
    paste(both, layers, (1, 1))
    paste(one, layers[1:], (1, 1))
    np.testing.assert_array_equal(both[600:], one[600:])
