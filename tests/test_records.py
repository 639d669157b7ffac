import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemend.errors import OptionError, TooLargeError
from facemend.records import Settings, converted, to_dtype

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.one_of(st.integers(-1, 9), st.text())),
    st.dictionaries(st.integers(), st.integers()),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 0.5),
        ("scale", 8.01),
        ("scale", float("nan")),
        ("scale", "2"),
        ("scale", True),
        ("fidelity", 1.1),
        ("strength", -0.1),
        ("sensitivity", 2),
        ("denoise", None),
        ("min_face", 0),
        ("max_input_mp", float("inf")),
        ("seed", -1),
        ("seed", 1.5),
        ("faces", "both"),
        ("faces", ()),
        ("faces", (-1,)),
        ("faces", ("0",)),
        ("faces", 1),
        ("faces", b"0"),
        ("faces", "9" * 5000),
        ("aligned", "no"),
        ("min_face", 1.5),
    ],
)
def test_invalid_settings_are_refused_by_name(name, value):
    with pytest.raises(OptionError) as caught:
        Settings(**{name: value})
    assert caught.value.name == name
    assert "\n" not in str(caught.value)


@given(st.sampled_from(list(Settings.__dataclass_fields__)), anything)
def test_any_value_is_kept_unchanged_or_refused_by_name(name, value):
    try:
        settings = Settings(**{name: value})
    except OptionError as error:
        assert error.name == name
        assert "\n" not in str(error)
    else:
        taken = getattr(settings, name)
        indices = value.split(",") if isinstance(value, str) else value  # of faces, as text or numbers
        assert taken == (tuple(map(int, indices)) if isinstance(taken, tuple) else value)
        assert hash(settings) == hash(Settings(**{name: value}))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(1, 8), st.floats(0.001, 1e6), st.floats(0.001, 1e6))
def test_sizes_are_refused_only_beyond_the_limits(height, width, scale, most_in, most_out):
    settings = Settings(scale=scale, max_input_mp=most_in, max_output_mp=most_out)
    out_height, out_width = settings.output_size(height, width)
    too_large = height * width > most_in * 1e6 or out_height * out_width > most_out * 1e6
    try:
        settings.check_size(height, width)
    except TooLargeError as error:
        assert too_large
        assert error.pixels >= error.limit
        assert "\n" not in str(error)
    else:
        assert not too_large


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 1.5, 2, 3, 4, 8]))
def test_output_size_is_rounded(height, width, scale):
    assert Settings(scale=scale).output_size(height, width) == (round(height * scale), round(width * scale))


def test_a_list_of_faces_is_copied():
    indices = [2, 0]
    settings = Settings(faces=indices)
    indices.append(9)
    assert settings.faces == (2, 0)
    assert hash(settings) == hash(Settings(faces=(2, 0)))


@given(st.integers(0, 255))
def test_depths_convert_without_loss(level):
    pixels = np.full((1, 1, 3), level, np.uint8)
    deep = converted(pixels, np.uint16)
    assert deep[0, 0, 0] == level * 257
    np.testing.assert_array_equal(converted(deep, np.uint8), pixels)


@given(st.integers(0, 65535))
def test_16_bits_become_the_nearest_of_8_bits(level):
    pixels = np.full((1, 1, 3), level, np.uint16)
    assert converted(pixels, np.uint8)[0, 0, 0] == round(level / 257)


def test_rounding_and_clamping():
    assert to_dtype(np.array([-3.0, 0.4, 0.6, 254.5001, 300]), np.uint8).tolist() == [0, 0, 1, 255, 255]


def test_a_seed_of_numpy_becomes_a_number_that_pytorch_takes():
    assert type(Settings(seed=np.int64(7)).seed) is int


def test_the_largest_seed():
    assert Settings(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(OptionError):
        Settings(seed=2**63)


def test_at_scale_1_no_lower_scale_is_offered():
    with pytest.raises(TooLargeError) as caught:
        Settings(scale=1, max_output_mp=0.001).check_size(100, 100)
    assert "scale" not in str(caught.value)
