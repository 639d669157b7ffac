"""predict_creative.py, its interface, and the real server with it."""

import json
import tempfile

import openapi_spec_validator
import pytest
import yaml
from PIL import Image

import predict
import predict_creative
from facemend.container.names import NOT_USED, OLD_CREATIVE, UPSCALERS, sampler, translated
from facemend.creative import PRESETS, SAMPLERS
from facemend.errors import FacemendError, InputError
from facemend.weights.models import public_names
from script.openapi import ROOT
from tests.cog.serving import data_url, failure, opened, png, serving
from tests.hostile import saved
from tests.pictures import smooth

pytest.importorskip("diffusers", reason="the extra creative is not installed")

SCHEMA = "openapi_creative.json"
DOCUMENT = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
INPUTS = SCHEMAS["Input"]["properties"]
CONTROLNET_TILE = {"prompt", "image", "resolution", "resemblance", "creativity", "hdr", "scheduler", "steps", "seed"}
CONTROLNET_TILE |= {"guidance_scale", "negative_prompt", "guess_mode", "tile_size", "lora_sharpness_strength"}
ULTIMATE = {"image", "positive_prompt", "negative_prompt", "upscaler", "upscale_by", "use_controlnet_tile", "seed"}
ULTIMATE |= {"controlnet_strength", "steps", "cfg", "sampler_name", "scheduler", "denoise", "mode_type", "tile_width"}
ULTIMATE |= {"tile_height", "mask_blur", "tile_padding", "seam_fix_mode", "seam_fix_denoise", "seam_fix_width"}
ULTIMATE |= {"seam_fix_mask_blur", "seam_fix_padding", "force_uniform_tiles"}
PICTURE = data_url(png(smooth(40, 60)))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    stand_in = ROOT / "tests" / "cog" / "stand_in_creative.py"
    folder = tmp_path_factory.mktemp("creative")
    with serving(folder, stand_in, schema=SCHEMA, FACEMEND_MODELS="lite", OMP_NUM_THREADS="1") as running:
        yield running
        running.wait("READY")


def test_the_document_is_valid_and_has_the_inputs_of_both_originals():
    openapi_spec_validator.validate(DOCUMENT)
    assert INPUTS.keys() >= CONTROLNET_TILE | ULTIMATE
    assert SCHEMAS["Input"]["required"] == ["image"]
    assert all(len(seen["description"]) > 20 for seen in INPUTS.values())
    assert set(SCHEMAS["preset"]["enum"]) == set(PRESETS)
    assert set(SCHEMAS["upscaler"]["enum"]) == {"auto", "lanczos", *public_names("upscaler"), *UPSCALERS}
    assert set(UPSCALERS.values()) <= set(public_names("upscaler"))


def test_deprecated_are_the_old_names_and_what_is_not_used():
    assert {name for name, seen in INPUTS.items() if seen.get("deprecated")} == OLD_CREATIVE.keys()
    assert all("not used" in INPUTS[name]["description"] for name in NOT_USED)


def test_the_image_is_that_of_the_predictor():
    usual, config = (yaml.safe_load((ROOT / name).read_text()) for name in ("cog.yaml", "cog_creative.yaml"))
    assert config["run"] == "predict_creative.py:Predictor"
    assert config["build"] == usual["build"] | {"python_requirements": "requirements_creative.txt"}
    assert set(usual["environment"]) < set(config["environment"])
    pins = (ROOT / "requirements_creative.txt").read_text().splitlines()
    assert set((ROOT / "requirements.txt").read_text().splitlines()[1:]) < set(pins)


def test_a_call_of_controlnet_tile(server):
    inputs = {"resemblance": 0.7, "creativity": 0.3, "hdr": 0.2, "scheduler": "K_EULER", "steps": 2, "resolution": 2048}
    answer = server.predict(image=data_url(png(smooth(8, 60))), prompt="", guess_mode=False, seed=3, **inputs)
    assert answer["status"] == "succeeded", answer
    assert opened(answer["output"]).size == (480, 64)  # at most eight times as large
    assert answer["metrics"]["upscaler"] == "creative"
    assert answer["metrics"]["seed"] == 3


def test_a_call_of_ultimate_sd_upscale(server):
    inputs = {"positive_prompt": "Hey!", "denoise": 0.2, "cfg": 8, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
    ignored = {"mode_type": "Chess", "tile_width": 512, "seam_fix_mode": "Half Tile", "force_uniform_tiles": True}
    same = [
        server.predict(image=PICTURE, steps=2, upscale_by=2, upscaler="lanczos", output_format="png", **inputs, **more)
        for more in ({}, ignored)
    ]
    assert [answer["status"] for answer in same] == ["succeeded"] * 2, same
    assert same[0]["output"] == same[1]["output"]
    assert opened(same[0]["output"]).size == (120, 80)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"resolution": 2048, "upscale_by": 2}, "resolution is 2048, but must be left out where upscale_by is 2"),
        ({"preset": "controlnet-tile", "denoise": 0.3}, "denoise is 0.3, but must be left out where preset"),
        ({"creativity": 0.2, "denoise": 0.3}, "denoise is 0.3, but must be left out where creativity is 0.2"),
        ({"scheduler": "karras"}, "scheduler is 'karras', which needs a sampler_name"),
        ({"upscaler": "swinir-m-x4", "upscale_by": 2}, "upscaler is 'swinir-m-x4', but must be one this server has"),
    ],
)
def test_contradictions_fail_with_one_line(server, inputs, message):
    assert message in failure(server.predict(image=PICTURE, **inputs))


@pytest.mark.parametrize("stripped", [False, True])
def test_strip_metadata_leaves_out_exif(server, stripped):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    image = data_url(saved(Image.fromarray(smooth(8, 8)), "jpeg", exif=exif), "image/jpeg")
    output = server.predict(image=image, upscale_by=1, creativity=0, strip_metadata=stripped)["output"]
    assert opened(output).getexif().get(0x010F) == (None if stripped else "a camera")


def test_faces_cannot_be_kept_without_a_detector(tmp_path):
    stand_in = ROOT / "tests" / "cog" / "stand_in_creative.py"
    with serving(tmp_path, stand_in, schema=SCHEMA, FACEMEND_MODELS="lanczos", OMP_NUM_THREADS="1") as running:
        error = failure(running.predict(image=PICTURE, upscale_by=1))
        assert "keep_faces is True, but must be false on this server, which has no detector" in error
        answer = running.predict(image=PICTURE, upscale_by=1, keep_faces=False, steps=1)
    assert answer["status"] == "succeeded", answer


def test_a_result_that_is_too_large_for_a_cpu_fails_with_the_name_of_the_input(server):
    error = failure(server.predict(image=data_url(png(smooth(600, 900))), upscale_by=4))
    assert "megapixels, over the limit of 4" in error
    assert "upscale_by" in error
    assert "max_cpu_mp" not in error


@pytest.mark.parametrize("inputs", [{"creativity": 2}, {"steps": 0}, {"sampler_name": "heun"}, {"preset": "other"}])
def test_values_that_the_document_forbids_are_answered_with_422(server, inputs):
    assert server.call(image=PICTURE, **inputs).status_code == 422


def test_missing_networks_are_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(predict, "PULSE", tmp_path / "pulse")
    monkeypatch.setenv("FACEMEND_MODELS", "lite")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # which setting up a predictor changes
    predictor = predict_creative.Predictor()
    with pytest.raises(FacemendError, match="weights of realistic-vision-v5.1 sd15-tile are not installed") as error:
        predictor.setup()
    predictor.folder.cleanup()
    assert "\n" not in str(error.value)


def test_old_names_select_the_preset():
    assert translated({"denoise": 0.4}, OLD_CREATIVE) == {"preset": "ultimate", "creativity": 0.4}
    assert translated({"use_controlnet_tile": False}, OLD_CREATIVE) == {"preset": "ultimate", "resemblance": 0}
    assert translated({"mask_blur": 8, "steps": 3}, OLD_CREATIVE) == {"steps": 3}
    both = {"use_controlnet_tile": False, "controlnet_strength": 0.8}
    assert translated(both, OLD_CREATIVE) == {"preset": "ultimate", "resemblance": 0}


@pytest.mark.parametrize("scheduler", [None, *(name for name in SCHEMAS["scheduler"]["enum"])])
@pytest.mark.parametrize("name", [None, *SCHEMAS["sampler_name"]["enum"]])
def test_every_pair_of_schedulers_is_a_sampler_or_an_error(scheduler, name):
    try:
        made = sampler(scheduler, name)
    except InputError as error:
        assert f"scheduler is {scheduler!r}" in str(error)
    else:
        assert made in SAMPLERS or (made, scheduler, name) == (None, None, None)
