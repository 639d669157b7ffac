import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from facemend.stages.seams import Seams
from facemend.stages.tiles import spans

CPU = torch.device("cpu")


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 1.5, 2]), st.sampled_from([72, 96, 160]))
def test_every_px_is_returned_once_with_the_sum_of_all_tiles(height, width, scale, tile):
    size = round(height * scale), round(width * scale)
    rows, columns = (spans(before, after, tile, 4, 28) for before, after in zip((height, width), size, strict=True))
    expected = torch.zeros((3, *size))
    result = torch.full((3, *size), torch.nan)
    seams = Seams(rows, columns, CPU)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            part = torch.full((3, row.stop - row.start, column.stop - column.start), 100.0 * y + x + 1)
            expected[:, row.start : row.stop, column.start : column.stop] += part
            complete, (down, across) = seams.add(part, y, x)
            assert result[:, down, across].isnan().all()
            result[:, down, across] = complete
            part.fill_(torch.nan)  # the caller may use its memory again
    np.testing.assert_array_equal(result, expected)
