"""The messages of errors: one line, with options named as each interface names them."""

import pickle
from pathlib import Path

import pytest

from facemend import errors
from facemend.errors import (
    Cancelled,
    ChecksumError,
    DecodeError,
    DownloadError,
    FacemendError,
    InputError,
    MemoryLimitError,
    MismatchError,
    NonFiniteError,
    NotInstalledError,
    OpenError,
    OptionError,
    OutputError,
    OutputPathError,
    Remedy,
    TooLargeError,
    WeightsError,
    listed,
)

NAME = "a\nb\r\tc"  # a file may have this name
EXAMPLES = [
    FacemendError(NAME),
    Cancelled(),
    InputError(NAME),
    DecodeError(f"cannot read {NAME}"),
    OpenError(NAME, "no such file"),
    TooLargeError(f"the output of {NAME}", 2_500_000, 1_000_000, "max_output_mp"),
    OptionError("weights", NAME, f"another than {NAME}", NAME),
    OutputPathError(NAME, f"another than {NAME}", NAME),
    WeightsError(NAME, NAME),
    NotInstalledError("gfpgan-v1.4", [Path(NAME)], "run 'facemend download gfpgan-v1.4'"),
    DownloadError(f"https://example.com/{NAME}", NAME, Path(NAME)),
    ChecksumError(Path(NAME), NAME, NAME, Remedy(f"{NAME} {{}}", "weights")),
    MismatchError(Path(NAME), "parsenet", [NAME], [NAME]),
    OutputError(Path(NAME), NAME),
    NonFiniteError("gfpgan-v1.4"),
    MemoryLimitError(NAME, Remedy(f"{NAME} {{}}", "device")),
]


def dashed(option):
    """The spelling of an interface that has only these options."""
    return {"scale": "--scale", "max_input_mp": "--max-input-mp"}.get(option)


def test_every_class_has_an_example():
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FacemendError)}
    assert {type(error) for error in EXAMPLES} == classes


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("spelled", [str, dashed], ids=["python", "dashed"])
def test_a_message_is_one_line_whatever_the_names_in_it(error, spelled):
    message = error.message(spelled)
    assert message
    assert message == " ".join(message.split())


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_str_names_options_as_python_does(error):
    assert str(error) == error.message(str) == error.message()


@pytest.mark.parametrize(
    ("words", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")]
)
def test_words_are_listed_with_commas_and_or(words, text):
    assert listed(words) == text


@pytest.mark.parametrize(
    ("remedies", "expected"),
    [
        ((), "it failed"),
        (("try again",), "it failed; try again"),
        ((Remedy("lower {}", "scale"),), "it failed; lower scale"),
        (("try again", Remedy("lower {}", "scale"), "give up"), "it failed; try again, lower scale or give up"),
    ],
)
def test_remedies_follow_the_problem(remedies, expected):
    assert str(FacemendError("it failed", *remedies)) == expected


def test_remedies_name_options_as_the_interface_spells_them():
    error = FacemendError("it failed", Remedy("lower {}", "scale"), Remedy("raise {}", "max_input_mp"))
    assert error.message(dashed) == "it failed; lower --scale or raise --max-input-mp"


@pytest.mark.parametrize(
    ("remedies", "expected"),
    [
        ((Remedy("set {} to cpu", "device"),), "it failed"),
        ((Remedy("set {} to cpu", "device"), "try again"), "it failed; try again"),
        ((Remedy("lower {}", "scale"), Remedy("set {} to cpu", "device")), "it failed; lower --scale"),
    ],
)
def test_remedies_by_options_the_interface_lacks_are_left_out(remedies, expected):
    assert FacemendError("it failed", *remedies).message(dashed) == expected


def test_option_error_starts_with_the_option_as_the_interface_spells_it():
    error = OptionError("scale", 9, "a number from 1 to 8")
    assert (error.name, error.value, error.allowed) == ("scale", 9, "a number from 1 to 8")
    assert str(error).startswith("scale is 9")
    assert error.message(dashed).startswith("--scale is 9")
    assert "a number from 1 to 8" in str(error)


def test_option_error_keeps_the_name_of_an_option_the_interface_lacks():
    assert OptionError("device", "gpu", ("cpu", "cuda")).message(dashed).startswith("device is 'gpu'")


def test_option_error_lists_the_allowed_values():
    error = OptionError("device", "gpu", ("cpu", "cuda"))
    assert str(error).endswith("one of cpu, cuda")
    assert error.allowed == ("cpu", "cuda")


def test_too_large_error_names_the_limit_of_the_interface():
    error = TooLargeError("the input", 2_500_000, 1_000_000, Remedy("raise {}", "max_input_mp"))
    assert (error.pixels, error.limit) == (2_500_000, 1_000_000)
    assert "2.5 megapixels" in str(error)
    assert error.message(dashed).endswith("use a smaller picture or raise --max-input-mp")
    barely = TooLargeError("the input", 100_040_000, 100_000_000)
    assert "100.04 megapixels, over the limit of 100;" in str(barely)
    other = TooLargeError("the output", 2, 1, Remedy("raise {}", "max_output_mp"))
    assert other.message(dashed).endswith("use a smaller picture")


@pytest.mark.parametrize(
    "error",
    [
        Cancelled(),
        OptionError("scale", 9, "a number from 1 to 8"),
        TooLargeError("the input", 200_000_000, 100_000_000, Remedy("raise {}", "max_input_mp")),
        NonFiniteError("gfpgan-v1.4"),
        OutputError(Path("a.png"), "disk full"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pass_from_one_process_to_another(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("-", "-"),
        ("https://a.example/b.jpg", "https://a.example/b.jpg"),
        ("HTTPS:/A.example/b.jpg", "HTTPS://A.example/b.jpg"),
        ("http:/a.example/b?of=http:/c", "http://a.example/b?of=http:/c"),
    ],
)
def test_what_is_no_file_is_named_as_it_was_given(path, name):
    error = OpenError.of(path, FileNotFoundError(2, "No such file or directory"))
    assert str(error) == f"cannot open {name}: it is not a file; save it as a file first"


@pytest.mark.parametrize("path", ["-.jpg", "a-", "c:/b.jpg", "b/http:/c.jpg", "12:/b.jpg"])
def test_a_missing_file_is_not_taken_for_an_address(path):
    error = OpenError.of(path, FileNotFoundError(2, "No such file or directory"))
    assert str(error) == f"cannot open {path}: No such file or directory; check the path and its permissions"
