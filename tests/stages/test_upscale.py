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
from torch import nn

from facemend.errors import FacemendError, MemoryLimitError, NonFiniteError
from facemend.loader import Loader
from facemend.machine import memory
from facemend.machine.device import choose
from facemend.records import Settings, Tiling
from facemend.stages import resampling, tiled, upscale
from facemend.stages.tiles import spans
from facemend.stages.upscale import FunctionUpscaler, LanczosUpscaler, NetUpscaler, lanczos
from facemend.weights import blend, load
from tests.pictures import CPU, TILING, Repeat, smooth

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tile(monkeypatch):
    """Small tiles, so that small pictures have several."""
    monkeypatch.setattr(tiled, "LARGEST_TILE", 96)


@pytest.mark.parametrize(
    ("bytes_per_pixel", "largest"), [(1, tiled.LARGEST_TILE), (memory.WORKING // 203**2, 200), (2**40, 96)]
)
def test_tiles_are_as_large_as_fits_within_the_limits(bytes_per_pixel, largest):
    sides = set()

    class Recording(Repeat):
        def forward(self, x):
            sides.update(x.shape[2:])
            return super().forward(x)

    tiling = Tiling(scale=1, step=4, bytes_per_pixel=bytes_per_pixel)
    NetUpscaler("net", Recording(1), CPU, tiling)(smooth(130, 3000), (130, 3000))
    assert largest * 0.8 < max(sides) <= largest


def test_tiles_in_half_precision_are_as_large_as_fits_with_half_of_the_bytes():
    sides = {}

    class Recording(Repeat):
        def forward(self, x):
            sides.setdefault(x.dtype, set()).update(x.shape[2:])
            return super().forward(x)

    tiling = Tiling(scale=1, step=4, bytes_per_pixel=memory.WORKING // 203**2)
    upscaler = NetUpscaler("net", Recording(1), choose("cpu", "bf16", "bf16"), tiling)
    for dtype in (np.uint8, np.uint16):
        upscaler(smooth(130, 3000, dtype), (130, 3000))
    assert 160 < max(sides[torch.float32]) <= 200 < 230 < max(sides[torch.bfloat16]) <= 284


# Run by another process: the peak of memory while pictures of one size and of several shapes are enlarged.
PEAKS = """
import resource
import numpy as np
from facemend.stages.upscale import NetUpscaler
from facemend.records import Tiling
from tests.pictures import CPU, Repeat

upscaler = NetUpscaler("repeat", Repeat(1), CPU, Tiling(scale=1, step=4, bytes_per_pixel=10_000))
for height, width in ((1500, 1500), (100, 22500)):
    upscaler(np.zeros((height, width, 3), np.uint8), (2 * height, 2 * width))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize(("ratio", "largest"), [(2, 200), (8, 96)])
def test_tiles_of_a_much_larger_result_are_smaller(monkeypatch, ratio, largest):
    monkeypatch.setattr(memory, "working", lambda place: 20_000_000)
    sides = set()

    class Recording(Repeat):
        def forward(self, x):
            sides.update(x.shape[2:])
            return super().forward(x)

    tiling = Tiling(scale=1, step=4, bytes_per_pixel=20_000_000 // 203**2)
    NetUpscaler("net", Recording(1), CPU, tiling)(smooth(60, 900), (60 * ratio, 900 * ratio))
    assert largest * 0.8 < max(sides) <= largest


def test_a_wide_picture_is_enlarged_with_as_few_bytes_as_a_square_one():
    ran = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, cwd=ROOT)
    square, wide = map(int, ran.stdout.split())
    assert wide < square + 30_000, "KiB"


def repeat(scale=4):
    return NetUpscaler("repeat", Repeat(scale), CPU, replace(TILING, scale=scale))


@settings(max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 1.5, 2, 3, 4, 8]))
def test_output_size_is_exact(height, width, scale):
    size = round(height * scale), round(width * scale)
    for upscaler in (repeat(), LanczosUpscaler()):
        assert upscaler(smooth(height, width), size).shape == (*size, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [1, 1.5, 2, 4, 5.3])
def test_tiled_equals_whole(monkeypatch, scale, dtype):
    picture = smooth(150, 170, dtype)
    size = round(150 * scale), round(170 * scale)
    whole = repeat()(picture, size)
    monkeypatch.setattr(tiled, "LARGEST_TILE", 96)
    in_tiles = repeat()(picture, size)
    assert abs(whole.astype(int) - in_tiles).max() <= np.iinfo(dtype).max // 255


@pytest.mark.weights
@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("realesr-animevideov3", "realesr-animevideov3.pth"),
        ("realesr-general-x4v3", "realesr-general-x4v3.fp16-rounded.pth"),
    ],
)
def test_tiled_equals_whole_with_real_weights(shared, tile, monkeypatch, model, file):
    picture = smooth(100, 150, cell=9)
    upscaler = NetUpscaler(model, load(model, shared / "weights" / file), CPU, TILING)
    in_tiles = upscaler(picture, (400, 600))
    monkeypatch.setattr(tiled, "LARGEST_TILE", 360)
    whole = upscaler(picture, (400, 600))
    assert abs(whole.astype(int) - in_tiles).max() <= 1


OFFICIAL = (
    "realesrgan-x4plus.fp16.safetensors",
    "realesrgan-x4plus-anime-6b.fp16.safetensors",
    "realesr-general-x4v3.fp16-rounded.pth",
)


@pytest.mark.weights
@pytest.mark.parametrize("file", OFFICIAL)
def test_official_weights_by_path_draw_detail_that_is_there(shared, file):
    truth = cv2.imread(str(shared / "data/kodak/8.png"))[140:236, 340:436, ::-1]
    small = cv2.resize(truth, (24, 24), interpolation=cv2.INTER_AREA)
    upscaler = Loader(precision="fp32").upscaler(shared / "weights" / file)
    exact = upscaler(small, (96, 96)).astype(float)
    blurred = cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC).astype(float)
    edges, of_exact, of_blurred = (np.abs(np.diff(image, axis=1)) for image in (truth.astype(float), exact, blurred))
    assert of_exact.mean() > 1.2 * of_blurred.mean()
    assert np.corrcoef(edges.ravel(), of_exact.ravel())[0, 1] > np.corrcoef(edges.ravel(), of_blurred.ravel())[0, 1]


@pytest.mark.weights
@pytest.mark.parametrize("file", OFFICIAL)
def test_official_weights_give_nearly_the_same_in_half_precision(shared, file):
    small = cv2.resize(cv2.imread(str(shared / "data/kodak/8.png"))[140:204, 340:404, ::-1], (16, 16))
    exact, fast = (
        Loader(precision=precision).upscaler(shared / "weights" / file)(small, (64, 64)).astype(float)
        for precision in ("fp32", "bf16")
    )
    assert 10 * np.log10(255**2 / np.mean((exact - fast) ** 2)) > 40


def test_a_uniform_picture_stays_uniform(tile):
    picture = np.full((130, 150, 3), 77, np.uint8)
    assert (repeat()(picture, (390, 450)) == 77).all()


def test_positions_are_kept(tile):
    """A ramp is not shifted: enlarging maps x to (x + 0.5) * s - 0.5."""
    row = np.linspace(0, 65535, 200)
    picture = np.repeat(np.repeat(row[None, :, None], 70, 0), 3, 2).astype(np.uint16)
    enlarged = repeat()(picture, (210, 600))
    expected = np.interp((np.arange(600) + 0.5) / 3 - 0.5, np.arange(200), row)
    assert abs(enlarged[100, 30:-30, 0].astype(float) - expected[30:-30]).max() < 65535 / 200 / 2
    assert abs((enlarged[100, 30:-30, 0].astype(float) - expected[30:-30]).mean()) < 1


def test_colour_channels_keep_their_order():
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 255
    assert repeat()(red, (40, 40))[20, 20].tolist() == [255, 0, 0]


def test_lanczos_at_scale_1_is_a_copy():
    picture = smooth(33, 44, np.uint16)
    out = lanczos(picture, (33, 44))
    np.testing.assert_array_equal(out, picture)
    assert out is not picture


def checkerboard(height, width):
    return np.indices((height, width)).sum(axis=0) % 2


@pytest.mark.parametrize("size", [(40, 70), (70, 40), (30, 70), (70, 30)])
def test_lanczos_averages_where_either_side_shrinks(size):
    board = np.dstack([checkerboard(50, 50) * 200] * 3).astype(np.uint8)
    out = lanczos(board, size)
    assert out.shape == (*size, 3)
    assert out.std() < 0.4 * board.std()  # Lanczos leaves half of it


def test_a_larger_output_of_the_network_is_averaged_down():
    class Checkerboard(Repeat):
        def forward(self, x):
            board = checkerboard(x.shape[2] * 4, x.shape[3] * 4) * np.float32(200 / 255)
            return torch.from_numpy(board).expand(1, 3, -1, -1)

    out = NetUpscaler("board", Checkerboard(), CPU, TILING)(smooth(50, 50), (75, 75))
    assert abs(out.astype(int) - 100).max() <= 30


def test_progress_ends_at_the_total(tile):
    seen = []
    repeat()(smooth(200, 70), (400, 140), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 4) for done in range(1, 5)]


class Hungry(Repeat):
    """Runs out of memory on inputs larger than `limit` px a side."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.sides = []

    def forward(self, x):
        self.sides.append(x.shape[-1])
        if x.shape[-1] > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


@pytest.mark.parametrize("limit", [200, 160, 96])
def test_out_of_memory_halves_the_tile(limit, caplog):
    picture = smooth(200, 200)
    net = Hungry(limit)
    out = NetUpscaler("hungry", net, CPU, TILING)(picture, (800, 800))
    assert max(net.sides) > 200
    assert limit / 2 < net.sides[-1] <= limit
    assert abs(out.astype(int) - repeat()(picture, (800, 800))).max() <= 1
    assert "hungry ran out of memory; it continues in tiles of" in caplog.text


def test_a_smallest_tile_that_does_not_fit_is_an_error_and_the_next_call_works():
    net = Hungry(limit=10)
    hungry = NetUpscaler("hungry", net, CPU, TILING)
    with pytest.raises(MemoryLimitError, match="hungry.*96 px.*use upscaler lanczos"):
        hungry(smooth(200, 200), (800, 800))
    net.limit = 400
    assert hungry(smooth(20, 20), (80, 80)).shape == (80, 80, 3)


def test_values_that_are_no_numbers_raise_an_error_with_the_name_of_the_network():
    class Lost(Repeat):
        def forward(self, x):
            return super().forward(x) * torch.nan

    with pytest.raises(NonFiniteError, match="lost"):
        NetUpscaler("lost", Lost(), CPU, TILING)(smooth(20, 20), (80, 80))


class Level(nn.Module):
    """Returns a uniform grey."""

    def __init__(self, level):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level), requires_grad=False)

    def forward(self, x):
        return self.level.expand(len(x), 3, x.shape[2] * 4, x.shape[3] * 4)


class Overflowing(Level):
    """Returns white, but in half precision infinity for a tile without white. It notes the dtype of each tile."""

    def __init__(self):
        super().__init__(1.0)
        self.seen = []

    def __deepcopy__(self, memo):
        copy = Overflowing()
        copy.seen = self.seen
        return copy

    def forward(self, x):
        self.seen.append(x.dtype)
        overflows = x.max() < 1 and x.dtype != torch.float32
        return super().forward(x) / (0 if overflows else 1)


def test_a_picture_that_overflows_in_half_precision_is_enlarged_in_float32(tile, caplog):
    net = Overflowing()
    upscaler = NetUpscaler("overflowing", net, choose("cpu", "bf16", "bf16"), TILING)
    picture = np.full((60, 200, 3), 255, np.uint8)
    assert (upscaler(picture, (240, 800)) == 255).all()
    tiles = len(net.seen)
    picture[:, :100] = 100
    for _ in range(2):
        net.seen.clear()
        assert (upscaler(picture, (240, 800)) == 255).all()
        assert net.seen == [torch.bfloat16] * tiles + [torch.float32] * tiles
    assert [record.getMessage() for record in caplog.records] == [
        "overflowing overflows in bfloat16; where it does, it is computed again in float32"
    ]


def test_16_bits_are_enlarged_in_float32_on_a_device_in_half_precision():
    """In bfloat16 the ramp has a fifth of these levels."""
    ramp = np.broadcast_to(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], (64, 256, 3))
    half, exact = (Loader("cpu", precision).upscaler("lite")(ramp, (256, 1024)) for precision in ("bf16", "fp32"))
    np.testing.assert_array_equal(half, exact)
    assert len(np.unique(half[128, :, 1])) > 900


@pytest.mark.parametrize("size", [(450, 600), (300, 400)])
def test_the_filters_of_a_column_of_tiles_are_computed_once(tile, monkeypatch, size):
    computed = []
    compute = resampling.lanczos_weights
    monkeypatch.setattr(resampling, "lanczos_weights", lambda *given: computed.append(given) or compute(*given))
    repeat()(smooth(150, 200), size)
    rows, columns = (
        [span.stop - span.start for span in spans(a, b, 96, 4, 28)] for a, b in zip((150, 200), size, strict=True)
    )
    assert len(rows) > 1 < len(columns)
    assert len(computed) == sum(-(-length // resampling.BLOCK) for length in (*rows, *columns))


def test_other_errors_of_the_network_are_not_taken_for_too_little_memory():
    class Broken(Repeat):
        def forward(self, x):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        NetUpscaler("broken", Broken(), CPU, TILING)(smooth(20, 20), (80, 80))


def test_tiles_are_blended_at_their_seams(tile):
    class Flickering(Level):
        def forward(self, x):
            self.level.data = 1 - self.level
            return super().forward(x)

    row = NetUpscaler("flickering", Flickering(0.0), CPU, TILING)(smooth(60, 130), (240, 520))[100].astype(int)
    assert np.ptp(row) == 255
    assert abs(np.diff(row, axis=0)).max() < 20


@pytest.mark.parametrize(("denoise", "expected"), [(0, 0), (0.25, 50), (1, 200)])
def test_denoise_mixes_the_two_networks(denoise, expected):
    clean, grainy = Level(200 / 255), Level(0.0)
    upscaler = NetUpscaler("level", clean, CPU, TILING, companion=grainy)
    for _ in range(2):
        assert (upscaler(smooth(10, 10), (40, 40), Settings(denoise=denoise)) == expected).all()


def test_a_mixture_is_kept_for_the_next_picture(monkeypatch):
    mixed = []
    monkeypatch.setattr(upscale, "blend", lambda *given: mixed.append(given[2]) or blend(*given))
    upscaler = NetUpscaler("level", Level(1.0), CPU, TILING, companion=Level(0.0))
    for denoise in (0.25, 0.25, 0.75, 0.25):
        upscaler(smooth(10, 10), (40, 40), Settings(denoise=denoise))
    assert mixed == [0.25, 0.75]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_function_is_an_upscaler(dtype):
    def triple(pixels):
        assert pixels.dtype == np.uint8
        return pixels.repeat(3, axis=0).repeat(3, axis=1)

    colour = np.array((255, 100, 0)) * (np.iinfo(dtype).max // 255)
    out = FunctionUpscaler(triple)(np.full((10, 12, 3), colour, dtype), (25, 30))
    assert out.shape == (25, 30, 3)
    assert out.dtype == dtype
    assert (out == colour).all()


def test_a_larger_output_of_a_function_is_averaged_down():
    def board(pixels):
        return np.dstack([checkerboard(pixels.shape[0] * 4, pixels.shape[1] * 4) * 200] * 3).astype(np.uint8)

    out = FunctionUpscaler(board)(smooth(50, 50), (75, 75))
    assert abs(out.astype(int) - 100).max() <= 30


@pytest.mark.parametrize("answer", [None, np.zeros((15, 24, 3), np.uint8), np.zeros((20, 24, 3), np.float32)])
def test_a_function_that_returns_other_types_or_shapes_is_an_error(answer):
    with pytest.raises(FacemendError, match="the upscaler .* returned"):
        FunctionUpscaler(lambda pixels: answer)(smooth(10, 12), (20, 24))


def test_a_function_may_write_to_what_it_is_given():
    def careless(pixels):
        pixels[:] = 0
        return pixels

    picture = smooth(20, 30)
    FunctionUpscaler(careless)(picture, (20, 30))
    np.testing.assert_array_equal(picture, smooth(20, 30))
