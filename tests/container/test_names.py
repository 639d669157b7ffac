"""Inputs of other models, and what they mean here."""

import pytest

from facemend.container.names import OLD, VERSIONS, translated, with_old_names
from facemend.errors import InputError
from facemend.weights.models import public_names


class Field:
    """Stands for the declaration of an input, which holds its default."""

    def __init__(self, default):
        self.default = default


TWO, AUTO, NONE = map(Field, (2, "auto", None))


class Predictor:
    @with_old_names
    def run(self, image, upscale=TWO, model=AUTO, scale=NONE, version=NONE):
        return image, upscale, model, scale, version


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"image": 1, "upscale": 3}, {"image": 1, "upscale": 3}),
        ({"scale": 4}, {"upscale": 4}),
        ({"scale": 4, "upscale": 4.0, "upscaling": 4}, {"upscale": 4}),
        ({"upscaling": 1.5}, {"upscale": 1.5}),
        ({"version": "v1.3"}, {"model": "gfpgan-v1.3"}),
        ({"version": "RestoreFormer", "model": "restoreformer"}, {"model": "restoreformer"}),
        ({"codeformer_fidelity": 0}, {"model": "codeformer", "fidelity": 0}),
        ({"codeformer_fidelity": 0.5, "fidelity": 0.5}, {"model": "codeformer", "fidelity": 0.5}),
        ({"background_enhance": True}, {"upscaler": "auto"}),
        ({"background_enhance": False}, {"upscaler": "lanczos"}),
        ({"scale": None, "upscale": 3, "version": None}, {"upscale": 3}),
    ],
    ids=str,
)
def test_an_old_name_becomes_what_it_means(given, expected):
    assert translated(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale": 4, "upscale": 2}, "^scale is 4, but must be left out where upscale is 2$"),
        ({"scale": 4, "upscaling": 3}, "^upscaling is 3, but must be left out where upscale is 4$"),
        ({"version": "v1.3", "model": "auto"}, "^version is 'v1.3', but must be left out where model is 'auto'$"),
        ({"codeformer_fidelity": 0, "fidelity": 1}, "^codeformer_fidelity is 0, .* fidelity is 1$"),
        ({"codeformer_fidelity": 0, "version": "v1.4"}, "^codeformer_fidelity is 0, .* model is 'gfpgan-v1.4'$"),
        ({"background_enhance": False, "upscaler": "lite"}, "^background_enhance is False, .* upscaler is 'lite'$"),
    ],
    ids=str,
)
def test_an_old_name_that_contradicts_another_input_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        translated(given)


def test_a_run_gets_its_defaults_and_no_old_name():
    assert Predictor().run(image=0, scale=4, version="v1.2") == (0, 4, "gfpgan-v1.2", None, None)
    assert Predictor().run(image=0) == (0, 2, "auto", None, None)
    with pytest.raises(InputError, match="where upscale is 2"):
        Predictor().run(image=0, scale=4, upscale=2)


def test_old_versions_are_models():
    assert set(VERSIONS.values()) <= set(public_names("restorer"))
    assert "version" in OLD
