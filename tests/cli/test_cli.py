"""The program as a whole: help, streams, `--debug`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facemend.cli import main
from facemend.cli.say import FAILED, MISTAKE
from tests.cli.conftest import size

EXAMPLE = Path(__file__).parents[2] / "examples" / "old.jpg"
TOO_LONG = "x" * 300  # for a name of a file, so the system does not look at it


def test_help_lists_options_and_examples(run):
    code, out, _ = run("restore", "--help")
    assert code == 0
    for option in ("--faces", "--fidelity", "--compare", "--weights", "examples:"):
        assert option in out


def test_an_unknown_option_is_told_with_the_command_whose_help_lists_the_options(run):
    code, _, err = run("restore", "old.jpg", "--scael", "3")
    assert code == 2
    assert err == "facemend restore: unrecognized arguments: --scael 3; 'facemend restore --help' lists all options\n"


def test_an_unknown_option_sends_nothing_to_the_terminal_to_obey(run):
    """The shell may have put the name of a file there, for *."""
    _, _, err = run("restore", "old.jpg", "--\x1b]0;title\x07.jpg")
    assert r"unrecognized arguments: --\x1b]0;title\x07.jpg;" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restore", EXAMPLE, "--model", TOO_LONG], "is not an existing file"),
        (["restore", EXAMPLE, "--upscaler", "creative", "--base", TOO_LONG, "-o", "{}/a.png"], "--base is"),
        (["restore", f"{TOO_LONG}/a.jpg", "-o", "{}/a.png"], "cannot open"),
        (["restore", EXAMPLE, "-o", f"{TOO_LONG}/a.png"], "the output is"),
        (["compare", f"{TOO_LONG}/a.jpg"], "cannot open"),
        (["restore", "-", "-o", "{}/a.png"], "cannot open -: it is not a file; save it as a file first"),
        (
            ["restore", "https://a.example/b.jpg", "-o", "{}/"],
            "facemend: cannot open https://a.example/b.jpg: it is not a file; save",
        ),
        (["restore", "s3://photos/b.jpg"], "facemend: cannot open s3://photos/b.jpg: it is not a file; save it"),
        (["compare", "https://a.example/b.jpg"], "facemend: cannot open https://a.example/b.jpg: it is not a file"),
        (["restore", EXAMPLE, "-o", "-"], "--output is '-', but must be a file or a folder"),
        (["batch", TOO_LONG, "{}/out"], "is not a folder"),
    ],
)
def test_a_path_that_the_system_refuses_is_a_mistake(run, tmp_path, arguments, said):
    code, _, err = run(*(str(argument).format(tmp_path) for argument in arguments))
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_the_program_restores_with_the_bundled_models_and_names_the_larger_ones(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "facemend", "restore", str(EXAMPLE), "-o", str(tmp_path), "--json", "--compare"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    assert [face["net"] for face in record["faces"]] == ["lite"]
    assert size(tmp_path / "old.jpg") == (640, 640)
    assert size(tmp_path / "old_compare.jpg") == (1284, 640)
    assert "facemend download gfpgan-v1.4" in process.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("models >&-", 0, ""),
        ("restore missing.jpg 2>&-", 2, ""),
        ("models >/dev/full", 1, "facemend: [Errno 28] No space left on device\n"),
    ],
)
def test_closed_or_full_output_streams_end_the_program_without_a_traceback(arguments, code, said):
    command = f'exec "{sys.executable}" -m facemend {arguments}'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", said)


def test_help_holds_a_path_that_the_encoding_of_the_output_lacks():
    command = "import sys; sys.executable = '/Łukasz/python'; from facemend.cli import main; main(['restore', '-h'])"
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, env=environment, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize(("options", "code"), [(["--model", "gfpgan-v1.4"], FAILED), (["--scale", "9"], MISTAKE)])
def test_debug_shows_the_traceback_before_the_error_and_keeps_the_exit_code(photo, capsys, options, code):
    with pytest.raises(SystemExit) as ended:
        main(["restore", str(photo), *options, "--debug"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("facemend: ")
    assert ended.value.code == code


INTERRUPTED = """
import signal, sys
from facemend.cli import main
from facemend.pipeline import Pipeline
def interrupt(cls, **options):
    signal.raise_signal(number)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
Pipeline.load = classmethod(interrupt)
number = int(sys.argv.pop(1))
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="an interrupt is no signal there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_program_by_its_signal(number):
    """A loop of a shell ends too; after an exit code it would go on with the next picture."""
    command = [sys.executable, "-c", INTERRUPTED, str(int(number)), "restore", str(EXAMPLE)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == -number
    assert process.stderr == "facemend: stopped\n"
