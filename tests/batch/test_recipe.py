"""The recipe, which tells the results of a batch from those of another one."""

from dataclasses import replace

import pytest

from facemend.batch import run
from facemend.batch.plan import Loaded, Plan
from facemend.batch.run import recipe
from facemend.creative import DEFAULT_CREATIVE, PRESETS
from facemend.records import Settings

LOADED = Loaded({"restorer": "lite", "upscaler": "lite"}, {"own.pth": "0" * 64}, False)
PLAN = Plan(
    source="in",
    destination="out",
    models={"precision": "auto", "creative": DEFAULT_CREATIVE},
    settings=Settings(),
    writing={"format": "auto", "quality": 95},
)


@pytest.mark.parametrize(
    ("changes", "loaded"),
    [
        ({"source": "other"}, {}),
        ({"settings": Settings(scale=3)}, {}),
        ({"settings": Settings(repair=True)}, {}),
        ({"writing": {"format": "webp", "quality": 95}}, {}),
        ({"writing": {"format": "auto", "quality": 96}}, {}),
        ({"models": {"precision": "fp32", "creative": DEFAULT_CREATIVE}}, {}),
        ({"models": {"precision": "auto", "creative": PRESETS["ultimate"]}}, {}),
        ({"models": {"precision": "auto", "creative": DEFAULT_CREATIVE, "base": "own"}}, {}),
        ({}, {"names": {"restorer": "lite", "upscaler": "lanczos"}}),
        ({}, {"files": {"own.pth": "1" * 64}}),
    ],
)
def test_what_changes_the_results_changes_it(changes, loaded):
    assert recipe(replace(PLAN, **changes), replace(LOADED, **loaded)) != recipe(PLAN, LOADED)


@pytest.mark.parametrize(
    ("changes", "loaded"),
    [
        ({"destination": "elsewhere", "force": True, "resume": True, "report": True, "debug": True}, {}),
        ({"settings": Settings(max_input_mp=1, max_output_mp=2)}, {}),
        ({"models": {"precision": "auto", "creative": replace(DEFAULT_CREATIVE, max_cpu_mp=9)}}, {}),
        ({}, {"gpu": True}),
    ],
)
def test_what_does_not_change_them_does_not(changes, loaded):
    assert recipe(replace(PLAN, **changes), replace(LOADED, **loaded)) == recipe(PLAN, LOADED)


def test_another_version_changes_it(monkeypatch):
    before = recipe(PLAN, LOADED)
    monkeypatch.setattr(run, "__version__", "99")
    assert recipe(PLAN, LOADED) != before
