from itertools import pairwise

import pytest
from PIL import Image

from facemend.errors import DecodeError
from facemend.files.decode import decode
from facemend.files.jpeg import MAX_SCANS, _markers, check
from tests.hostile import noise, saved, scans

PROGRESSIVE = saved(Image.new("L", (8, 8)), "jpeg", progressive=True).count(b"\xff\xda")  # scans of a grey picture


def test_the_limit_on_scans_is_exact():
    check(scans(8, MAX_SCANS - PROGRESSIVE + 1))
    with pytest.raises(DecodeError, match=f"more than {MAX_SCANS} take too long"):
        check(scans(8, MAX_SCANS - PROGRESSIVE + 2))


def test_scans_behind_a_marker_without_a_length_are_counted():
    picture = scans(8, MAX_SCANS + 60)
    start = picture.index(b"\xff\xda")
    with pytest.raises(DecodeError, match="scans"):
        check(picture[:start] + b"\xff\x01" + picture[start:])


def test_24_scans_are_accepted_and_a_hundred_refused():
    check(scans(8, 24 - PROGRESSIVE + 1))
    with pytest.raises(DecodeError, match="scans"):
        check(scans(8, 100))


def test_scan_markers_in_comments_and_pixels_are_not_counted():
    """They occur in a comment, in a second picture, and in the pixels, where libjpeg writes FF as FF 00."""
    looks = b"\xff\xda\0\x02" * 2 * MAX_SCANS
    picture = saved(Image.fromarray(noise(300, 300, 3)), "jpeg", quality=100, comment=looks)
    assert picture.count(b"\xff\0") > MAX_SCANS
    check(picture + looks)


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_a_truncated_jpeg_with_an_end_marker_is_refused(progressive, subsampling, restarts):
    options = {"progressive": progressive, "subsampling": subsampling, "restart_marker_rows": restarts}
    data = saved(Image.fromarray(noise(96, 80, 3)), "jpeg", **options)
    assert decode(data).pixels.shape == (96, 80, 3)
    for tenth in (5, 7, 9):
        with pytest.raises(DecodeError, match="damaged"):
            decode(data[: len(data) * tenth // 10] + b"\xff\xd9")


def test_an_invalid_huffman_code_is_refused():
    data = saved(Image.fromarray(noise(64, 64, 3)), "jpeg")
    with pytest.raises(DecodeError, match="bad Huffman code"):
        check(data[:-10] + b"\xff\0\xff\0" + data[-6:])  # 16 ones in a row


def test_data_that_is_left_at_the_end_is_damage():
    """Where pixels are overwritten, the decoder may need fewer bytes than there are."""
    data = saved(Image.fromarray(noise(64, 64, 3)), "jpeg")
    start = data.index(b"\xff\xda") + 14
    with pytest.raises(DecodeError, match="extraneous bytes"):
        check(data[:start] + data[start : start + 400] + data[start:])
    for padding in (bytes(400), b"\xfe" * 400, bytes(400) + b"\r\n", b"\1\2\3"):
        check(data[:-2] + padding + data[-2:])


def test_no_byte_is_looked_at_twice_for_padding():
    """With many markers and many bytes left, a file of 300 kB took 26 seconds."""
    picture = saved(Image.fromarray(noise(64, 64, 3)), "jpeg")
    start, segments = picture.index(b"\xff\xda") + 14, b"\xff\xfe\0\2" * 10_000
    data = picture[:-2] + picture[start : start + 400] * 50 + segments + picture[-2:]
    with pytest.raises(DecodeError, match="extraneous bytes"):
        check(data)
    markers = list(_markers(data))
    assert len(markers) > 10_000
    assert all(before.at < marker.start <= marker.at for before, marker in pairwise(markers))


def test_many_bytes_ff_take_no_time():
    """Before a byte that makes no marker of them, 90 kB took 109 seconds, and the time grew with their square."""
    picture = saved(Image.new("RGB", (16, 16)), "jpeg")
    filling = b"\xff" * 1_000_000
    check(picture[:-2] + filling + b"\0" + picture[-2:])
    check(picture[:-2] + bytes(400) + filling + picture[-2:])  # they fill up the space before the end marker


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_bytes_before_the_end_marker_are_accepted(mode):
    data = saved(Image.new(mode, (30, 20)), "jpeg")
    check(data[:-2] + bytes(3) + data[-2:])
