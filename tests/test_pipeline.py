import json
import math
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facemend.creative import Creative
from facemend.errors import Cancelled, FacemendError, InputError, NotInstalledError, OptionError, TooLargeError
from facemend.files.decode import decode
from facemend.files.encode import encode
from facemend.loader import Loader
from facemend.machine import process
from facemend.pasting import Pasting
from facemend.pipeline import Pipeline
from facemend.records import Crop, Landmarks, Picture, Settings
from facemend.stages import adapt, tiled
from facemend.stages.align import align
from facemend.stages.assign import Assigned, Auto
from facemend.stages.grey import one_ink
from facemend.stages.repair import NetRepairer
from facemend.stages.restore import FunctionRestorer
from facemend.stages.upscale import FunctionUpscaler, LanczosUpscaler, NetUpscaler, lanczos
from facemend.treatment import Treatment
from facemend.weights.models import MODELS
from tests.pictures import CPU, TILING, Repeat, Whites, detector, face_at, identity, similarity, smooth

EXAMPLE = Path(__file__).parents[1] / "examples" / "old.jpg"
FACE = similarity(1.5, 8, -90, -120)  # a face of about 170 px in the middle of a 400 px picture


def pipeline(restorer=identity, upscaler=None, faces=(FACE,)):
    return Pipeline(
        detector=detector(*map(face_at, faces)),
        restorer=FunctionRestorer(restorer) if restorer else None,
        upscaler=upscaler or LanczosUpscaler(),
    )


def grey_face(crops, fidelity):
    return [np.full_like(crop, 128) for crop in crops]


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(64, 64), (101, 67), (1, 1), (33, 250)])
@pytest.mark.parametrize(
    "upscaler", [LanczosUpscaler(), NetUpscaler("repeat", Repeat(), CPU, TILING)], ids=lambda u: u.name
)
def test_output_size_is_exact(scale, shape, upscaler):
    result = pipeline(upscaler=upscaler, faces=()).run(smooth(*shape), Settings(scale=scale))
    assert result.pixels.shape == (round(shape[0] * scale), round(shape[1] * scale), 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_restorer_that_changes_nothing_gives_the_plain_enlargement(scale, dtype):
    picture = smooth(400, 420, dtype, cell=60)
    result = pipeline(faces=[similarity(3, 8, -330, -400)]).run(picture, Settings(scale=scale))
    plain = lanczos(picture, (400 * scale, 420 * scale))
    assert result.faces[0].restored
    assert result.pixels.dtype == dtype
    assert abs(result.pixels.astype(int) - plain).max() <= 0.01 * np.iinfo(dtype).max
    np.testing.assert_array_equal(result.pixels[:20], plain[:20])
    np.testing.assert_array_equal(result.pixels[-20:], plain[-20:])


def test_memory_is_given_back_after_large_pictures_only(monkeypatch):
    given = []
    monkeypatch.setattr(process, "give_back_memory", lambda: given.append(True))
    monkeypatch.setattr("facemend.pipeline.LARGE", 150 * 150 * 3)
    run = pipeline(restorer=None, faces=()).run
    run(smooth(100, 100), Settings(scale=1))
    assert not given
    run(smooth(100, 100), Settings(scale=2))
    assert given


def test_strength_zero_is_the_plain_enlargement_to_the_bit():
    picture = smooth(400, 420)
    result = pipeline(grey_face).run(picture, Settings(strength=0))
    np.testing.assert_array_equal(result.pixels, lanczos(picture, (800, 840)))


def test_same_input_same_bytes_in_several_threads():
    picture, shared = smooth(300, 320), pipeline(upscaler=NetUpscaler("repeat", Repeat(), CPU, TILING))
    settings = [Settings(scale=scale, strength=strength) for scale in (1, 2.5) for strength in (0.3, 1)]
    alone = [shared.run(picture, setting).pixels for setting in settings]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda setting: shared.run(picture, setting).pixels, settings * 2))
    for first, second in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal(first, second)


def colourful(crops, fidelity):
    return [np.full_like(crop, (250, 120, 10)) for crop in crops]


def tinted(pixels):
    return cv2.resize(pixels, None, fx=2, fy=2) // np.array((1, 2, 3), np.uint8)


@pytest.mark.parametrize(("grey", "mode"), [(True, "L"), (False, "RGB")])
@pytest.mark.parametrize("plain", [False, True])
def test_grey_stays_grey(grey, mode, plain):
    """In a file with one channel and in one with three equal ones, whatever the stages make of it."""
    picture = Picture(np.full((400, 420, 3), 90, np.uint8) if plain else np.dstack([smooth(400, 420)[..., 0]] * 3))
    picture = replace(picture, grey=grey)
    result = pipeline(colourful, FunctionUpscaler(tinted)).run(encode(picture, "png"))
    assert result.picture.grey == grey
    assert result.image.mode == mode
    assert (result.pixels == result.pixels[..., :1]).all()


def test_a_colour_file_without_colour_gets_grey_faces():
    rng = np.random.default_rng(0)
    grey = np.dstack([smooth(400, 420)[..., 0]] * 3)
    noisy = np.clip(grey + rng.normal(0, 1, grey.shape), 0, 255).astype(np.uint8)
    result = pipeline(colourful).run(noisy)
    inside = result.pixels[350:450, 370:470].astype(int)
    assert abs(inside - inside.mean(axis=2, keepdims=True)).max() <= 3
    assert abs(inside.mean() - noisy[175:225, 185:235].mean()) < 40


def test_a_colour_photo_on_a_white_page_keeps_its_colour():
    page = np.full((1600, 1700, 3), 255, np.uint8)
    page[768:832, 768:832] = smooth(64, 64)
    matrix = similarity(9, 8, 0, 0)
    matrix[:, 2] = 256 - matrix[:, :2] @ (800, 800)
    result = pipeline(faces=[matrix]).run(page, Settings(scale=1))
    assert result.faces[0].restored
    inside = slice(790, 810)
    assert abs(result.pixels[inside, inside].astype(int) - page[inside, inside]).mean() < 2


def test_a_grey_print_on_a_coloured_page_gets_a_grey_face():
    page = np.full((400, 420, 3), (200, 120, 60), np.uint8)
    page[60:340, 70:350] = smooth(280, 280)[..., :1]
    matrix = similarity(3, 0, 256 - 3 * 210, 256 - 3 * 200)
    result = pipeline(colourful, faces=[matrix]).run(page, Settings(scale=1))
    face = result.pixels[170:230, 180:240].astype(int)
    assert abs(face - face.mean(axis=2, keepdims=True)).max() <= 2
    np.testing.assert_array_equal(result.pixels[:50], page[:50])


def sepia(height, width):
    """A picture of one ink."""
    return np.rint(smooth(height, width, seed=4)[..., :1] / 255 * (235, 215, 180)).astype(np.uint8)


def colouring(pixels):
    """Twice as large, with less red in every other column."""
    large = pixels.repeat(2, axis=0).repeat(2, axis=1)
    large[:, ::2, 0] //= 2
    return large


def test_an_upscaler_that_colours_is_held_to_the_ink_of_the_picture():
    picture = sepia(200, 220)
    result = pipeline(None, FunctionUpscaler(colouring)).run(picture)
    assert one_ink(result.pixels) is not None
    plain = lanczos(picture, (400, 440)).astype(int)
    tint = (plain[..., 0] - plain[..., 2]).mean()
    assert (result.pixels[..., 0].astype(int) - result.pixels[..., 2]).mean() == pytest.approx(tint, abs=8)


def test_an_enlarged_face_is_held_to_the_ink_of_the_picture():
    picture = sepia(400, 420)
    result = pipeline(identity, FunctionUpscaler(colouring)).run(picture, Settings(scale=8, adaptive=False))
    assert result.faces[0].restored
    assert one_ink(result.pixels) is not None


@pytest.mark.parametrize("size", [1.0, 2.2])  # the smaller crop px are enlarged before they are pasted
def test_a_face_has_the_tone_that_the_upscaler_gave_its_surroundings(size):
    picture = smooth(400, 420) // 2 + 40
    brighter = FunctionUpscaler(lambda pixels: pixels.repeat(2, axis=0).repeat(2, axis=1) + np.uint8(20))
    face = similarity(size, 0, 256 - size * 210, 256 - size * 200)
    result = pipeline(identity, brighter, [face]).run(picture, Settings(scale=2, adaptive=False))
    assert result.faces[0].restored
    plain = pipeline(None, brighter).run(picture, Settings(scale=2)).pixels
    assert np.abs(result.pixels.astype(int) - plain).max() <= 6


@pytest.mark.parametrize("turn", [0, 40])
def test_of_a_face_beyond_the_picture_only_the_visible_part_is_enlarged(turn, monkeypatch):
    picture, matrix = smooth(100, 120), similarity(2.2, turn, 150, 120)
    face = smooth(512, 512, seed=7)
    enlarged = []

    class Recording(LanczosUpscaler):
        def __call__(self, pixels, size, *others):
            enlarged.append(size)
            return super().__call__(pixels, size, *others)

    machine = pipeline(lambda crops, fidelity: [face] * len(crops), Recording(), (matrix,))
    part = machine.run(picture, Settings(scale=4, adaptive=False)).pixels
    monkeypatch.setattr("facemend.pasting.visible", lambda crop, size: crop)
    whole = machine.run(picture, Settings(scale=4, adaptive=False)).pixels
    np.testing.assert_allclose(part.astype(int), whole, atol=3)
    assert np.abs(whole.astype(int) - lanczos(picture, (400, 480))).mean() > 10
    canvas, visible, _, everything = (height * width for height, width in enlarged)
    assert visible < min(2.5 * canvas, 0.7 * everything)


@pytest.mark.parametrize(("own", "strength"), [(1, 1), (0.5, 1), (0.5, 0.5), (0, 1)])
def test_adaptive_mixes_in_less_of_a_restored_face_that_was_good(monkeypatch, own, strength):
    picture = smooth(400, 420)

    def measured(crop, pixels):
        np.testing.assert_array_equal(pixels, picture)
        return own

    monkeypatch.setattr(adapt, "share", measured)
    result = pipeline(grey_face).run(picture, Settings(scale=1, strength=strength))
    before = picture[200, 210].astype(float)
    np.testing.assert_allclose(result.pixels[200, 210], before + own * strength * (128 - before), atol=1)
    (face,) = result.faces
    assert face.share == own * strength
    assert (face.restored, face.reason) == ((True, "") if own else (False, "it is sharp already"))
    always = pipeline(grey_face).run(picture, Settings(scale=1, strength=strength, adaptive=False))
    assert always.faces[0].share == strength


def test_a_face_that_is_good_costs_no_restoration(monkeypatch):
    monkeypatch.setattr(adapt, "share", lambda crop, pixels: 0.0)

    def unused(crops, fidelity):
        pytest.fail("restored")

    assert pipeline(unused).run(smooth(400, 420)).faces[0].restored is False


@pytest.mark.parametrize("settings", [None, Settings, {"scale": 2}])
def test_settings_of_another_type_are_refused(settings):
    for work in (pipeline().find, pipeline().run):
        with pytest.raises(OptionError, match="settings is .* but must be of type Settings"):
            work(smooth(40, 42), settings)


@pytest.mark.parametrize(
    "options",
    [
        {"first": "lite"},
        {"base": "x"},
        {"control": "sd15-tile"},
        {"creative": Creative(steps=5)},
        {"creative": {"steps": 5}},
        {"allow_noncommercial": "no"},
        {"scale": "2"},
        {"scale": -1},
        {"restorer": 3},
        {"upscaler": 3},
        {"weights": ["a.pth"]},
        {"weights": {"lite-restorer": None}},
    ],
)
def test_options_that_would_be_ignored_or_misread_are_refused(options):
    (name,) = options
    with pytest.raises(OptionError, match=f"^{name} is "):
        Pipeline.load(**options)


def test_nothing_changes_outside_the_oval_without_a_parser():
    picture = smooth(400, 420)
    result = pipeline(grey_face, faces=[similarity(2.5, 0, -270, -250)]).run(picture, Settings(scale=1))
    changed = np.argwhere((result.pixels != picture).any(axis=2))
    crop = changed[:, ::-1] * 2.5 - (270, 250)
    assert (np.hypot(*((crop - (256, 288)) / (150, 205)).T) < 1.21).all()
    assert len(changed) > 5000


def test_colour_faces_keep_their_colour():
    result = pipeline(colourful).run(smooth(400, 420))
    assert result.pixels[400, 420].tolist() == [250, 120, 10]


@pytest.mark.parametrize("level", [0, 3, 200, 255])
def test_dark_16_bit_pictures_stay_dark_and_16_bit(level):
    """The type says the range, never the content."""
    picture = np.full((400, 420, 3), level, np.uint16)
    picture[::2] += 1
    result = pipeline().run(picture, Settings(scale=1))
    assert result.pixels.dtype == np.uint16
    assert abs(result.pixels.astype(int) - picture).max() <= 1


def test_alpha_is_resized_with_the_picture_and_leaves_no_dark_fringe():
    pixels = np.zeros((400, 420, 4), np.uint8)
    pixels[100:300, 100:320] = (200, 180, 160, 255)  # a light square on transparent black
    result = pipeline().run(pixels, Settings(scale=2))
    assert result.picture.alpha.shape == (800, 840)
    assert result.image.mode == "RGBA"
    assert (result.picture.alpha[220:580, 220:620] == 255).all()
    assert (result.picture.alpha[:180] == 0).all()
    row = result.picture.alpha[400].astype(int)
    assert (np.diff(row[:400]) >= 0).all(), "no ring along the edge"
    assert (np.diff(row[400:]) <= 0).all(), "no ring along the edge"
    seen = result.picture.alpha > 0
    assert (abs(result.pixels[seen].astype(int) - (200, 180, 160)) <= 2).all()


def test_a_failing_restorer_fails_the_request():
    def failing(crops, fidelity):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        pipeline(failing).run(smooth(400, 420))


def test_no_faces_is_a_result():
    result = pipeline(faces=()).run(smooth(40, 50))
    assert result.faces == ()
    np.testing.assert_array_equal(result.pixels, lanczos(smooth(40, 50), (80, 100)))


PLACES = (150, 330), (210, 190), (350, 120)
THREE = [similarity(size, 0, 256 - size * x, 256 - size * y) for size, (x, y) in zip((4, 4, 3), PLACES, strict=True)]


@pytest.mark.parametrize(
    ("choice", "restored"),
    [("all", [0, 1, 2]), ("center", [1]), ("largest", [2]), ("none", []), ((0, 2), [0, 2]), ([1], [1])],
)
def test_which_faces(choice, restored):
    result = pipeline(grey_face, faces=THREE).run(smooth(400, 420), Settings(faces=choice, scale=1))
    assert [index for index, face in enumerate(result.faces) if face.restored] == restored
    changed = [bool((result.pixels[y, x] == 128).all()) for x, y in PLACES]
    assert changed == [index in restored for index in range(3)]
    for face in result.faces:
        assert face.net == ("grey_face" if face.restored else "")
        assert face.reason == ("" if face.restored else "not chosen")


@pytest.mark.parametrize(("choice", "index"), [("largest", 2), ("center", 1)])
def test_the_largest_has_the_largest_area_and_the_center_is_that_of_the_picture(choice, index):
    boxes = (0, 0, 300, 20), (180, 170, 240, 230), (300, 300, 390, 390)
    faces = [replace(face_at(FACE), box=box) for box in boxes]
    result = pipeline().run(smooth(400, 420), Settings(faces=choice), faces=faces)
    assert [face.restored for face in result.faces] == [place == index for place in range(3)]


@pytest.mark.parametrize(
    ("choice", "faces", "message"), [((0, 3), THREE, "'0,3'.*numbers 0 to 2"), ((0,), (), "no faces")]
)
def test_an_index_beyond_the_faces_says_how_many_there_are(choice, faces, message):
    with pytest.raises(OptionError, match=message):
        pipeline(faces=faces).run(smooth(400, 420), Settings(faces=choice))


def test_landmarks_that_fit_no_face_are_reported():
    face = face_at(FACE)
    flat = replace(face, landmarks=type(face.landmarks)(*[(9.0, 9.0)] * 5))
    machine = Pipeline(detector=detector(flat), restorer=FunctionRestorer(identity), upscaler=LanczosUpscaler())
    assert machine.run(smooth(40, 50)).faces[0].reason == "its landmarks fit no face"


def test_without_a_restorer_faces_are_found_and_left_alone():
    result = pipeline(restorer=None).run(smooth(400, 420))
    assert [face.reason for face in result.faces] == ["no restorer"]
    assert result.restorer == "none"


def test_aligned_512_goes_through_to_the_bit():
    picture = smooth(512, 512)
    result = pipeline(faces=()).run(picture, Settings(aligned=True, scale=1))
    np.testing.assert_array_equal(result.pixels, picture)
    assert result.faces[0].restored


def test_aligned_with_no_face_chosen_enlarges_with_the_upscaler():
    def white(pixels):
        return np.full((pixels.shape[0] * 2, pixels.shape[1] * 2, 3), 255, np.uint8)

    machine = pipeline(grey_face, upscaler=FunctionUpscaler(white))
    result = machine.run(smooth(100, 100), Settings(aligned=True, faces="none"))
    assert not result.faces[0].restored
    assert (result.pixels == 255).all()


@pytest.mark.parametrize("scale", [1, 2, 3.5])
def test_aligned_fills_the_whole_output(scale):
    result = pipeline(grey_face).run(smooth(300, 303), Settings(aligned=True, scale=scale))
    assert result.pixels.shape == (round(300 * scale), round(303 * scale), 3)
    assert (result.pixels == 128).all()


@pytest.mark.parametrize("width", [307, 420])
def test_aligned_refuses_what_is_no_square(width):
    with pytest.raises(InputError, match=f"{width} x 300.*leave out aligned"):
        pipeline().run(smooth(300, width), Settings(aligned=True))


def test_what_a_restored_face_covers_is_not_enlarged_by_the_upscaler():
    def unused(pixels):
        pytest.fail("enlarged")

    machine = pipeline(grey_face, FunctionUpscaler(unused))
    assert machine.run(smooth(300, 300), Settings(aligned=True)).faces[0].share == 1


def test_large_faces_go_through_the_upscaler():
    sizes = []

    def double(pixels):
        sizes.append(pixels.shape[:2])
        return cv2.resize(pixels, None, fx=2, fy=2)

    machine = pipeline(upscaler=FunctionUpscaler(double), faces=[similarity(0.9, 0, -20, -30)])
    machine.run(smooth(700, 720), Settings(scale=2))
    assert sizes == [(700, 720), (512, 512)]
    sizes.clear()
    machine.run(smooth(700, 720), Settings(scale=1))
    assert sizes == [(700, 720)]


def test_limits_are_checked_before_the_work():
    with pytest.raises(TooLargeError, match="0.1; use a smaller picture or raise max_input_mp$"):
        pipeline().run(smooth(400, 420), Settings(max_input_mp=0.1))
    with pytest.raises(TooLargeError, match="3200 x 2400.*lower scale or raise max_output_mp$"):
        pipeline().run(smooth(600, 800), Settings(scale=4, max_output_mp=5))
    with pytest.raises(TooLargeError, match="400 x 400.*use a smaller picture or raise max_output_mp$"):
        pipeline().run(smooth(400, 400), Settings(scale=1, max_output_mp=0.1))
    with pytest.raises(TooLargeError, match="max_input_mp"):
        pipeline().run(Picture(smooth(400, 420)), Settings(max_input_mp=0.1))


def test_limits_are_checked_before_a_pixel_is_decoded():
    """A cut file whose header already says that the output would be too large."""
    whole = encode(Picture(smooth(600, 800)), "jpeg")
    with pytest.raises(TooLargeError, match="max_output_mp"):
        pipeline().run(whole[:1500], Settings(scale=4, max_output_mp=5))


def test_progress_and_seconds_name_the_stages():
    seen = set()
    result = pipeline(upscaler=NetUpscaler("repeat", Repeat(), CPU, TILING)).run(
        smooth(400, 420), progress=lambda stage, done, total: seen.add((stage, done == total))
    )
    assert {("restore", True), ("upscale", True)} <= seen
    assert set(result.seconds) == {"decode", "detect", "align", "restore", "upscale", "paste", "total"}
    assert result.seconds["total"] >= sum(value for stage, value in result.seconds.items() if stage != "total")


def test_load_with_nothing_downloaded_takes_the_bundled_models():
    machine = Pipeline.load(device="cpu")
    assert [stage.name for stage in (machine.detector, machine.restorer, machine.upscaler)] == ["lite"] * 3
    assert machine.parser is None
    result = machine.run(EXAMPLE)
    assert [face.net for face in result.faces] == ["lite"]
    assert result.picture.grey
    assert result.pixels.shape == (640, 640, 3)


def test_without_a_detector_only_pictures_that_need_none_are_run():
    machine = Pipeline.load(restorer=identity, upscaler="lanczos", detector="none")
    with pytest.raises(OptionError, match="detector is 'none', but faces are .*; name a detector or set faces="):
        machine.run(smooth(20, 30))
    assert machine.run(smooth(20, 20), Settings(aligned=True)).faces[0].restored
    assert machine.run(smooth(20, 30), Settings(faces="none")).faces == ()


def test_a_file_of_your_own_is_used_without_naming_the_model(tmp_path):
    net = MODELS["realesr-animevideov3"].net()
    torch.save({"params": net.state_dict()}, tmp_path / "own.pth")
    machine = Pipeline.load(restorer="none", weights={"realesr-animevideov3": tmp_path / "own.pth"})
    assert machine.upscaler.name == "realesr-animevideov3"


@pytest.mark.parametrize("stage", ["restorer", "upscaler", "detector", "parser"])
def test_load_names_the_choices(stage):
    with pytest.raises(OptionError, match=f"^{stage} is 'gfpgan'.*one of"):
        Pipeline.load(**{stage: "gfpgan"})


def test_load_refuses_weights_of_models_that_are_not_used(tmp_path):
    with pytest.raises(OptionError, match="codeformer"):
        Pipeline.load(restorer="none", upscaler="lanczos", weights={"codeformer": tmp_path / "x.pth"})


def test_load_says_which_file_is_missing():
    with pytest.raises(NotInstalledError, match="facemend download gfpgan-v1.4"):
        Pipeline.load(restorer="gfpgan-v1.4")


def test_load_refuses_a_broken_file(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"not weights")
    with pytest.raises(FacemendError, match="broken.pth"):
        Pipeline.load(upscaler="realesrgan-x2plus", weights={"realesrgan-x2plus": tmp_path / "broken.pth"})


@pytest.mark.weights
def test_a_real_photo_with_real_networks(shared):
    weights = shared / "weights"
    machine = Pipeline.load(
        restorer=identity,
        upscaler="realesr-general-x4v3",
        detector="retinaface-mobile0.25",
        device="cpu",
        weights={
            "retinaface-mobile0.25": weights / "detection_mobilenet0.25_Final.pth",
            "realesr-general-x4v3": weights / "realesr-general-x4v3.fp16-rounded.pth",
            "realesr-general-wdn-x4v3": weights / "realesr-general-wdn-x4v3.fp16-rounded.pth",
        },
    )
    photo = decode(shared / "data" / "group_photos" / "Blake_Lively.jpg").pixels[40:360, 60:640]
    photo = cv2.resize(photo, (290, 160), interpolation=cv2.INTER_AREA)
    result = machine.run(photo, Settings(scale=1.5, adaptive=False))
    assert result.pixels.shape == (240, 435, 3)
    assert [face.restored for face in result.faces] == [True, True]
    plain = lanczos(photo, (240, 435))
    assert abs(result.pixels.astype(int) - plain).mean() < 12, "the same picture, only cleaner"


@pytest.mark.parametrize(("size", "enlarged"), [(1.4, False), (1.6, True), (3, True)])
def test_a_face_goes_through_the_upscaler_where_it_has_to_grow_by_half(size, enlarged):
    """`size` is that of the face in the result, over that of the restored face."""
    seen = []

    def twice(pixels):
        seen.append(pixels.shape[:2])
        return np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)

    face = similarity(2 / size, 0, -100, -100)
    pipeline(upscaler=FunctionUpscaler(twice), faces=[face]).run(smooth(400, 420), Settings(scale=2))
    assert (len(seen) == 2) == enlarged


@pytest.mark.parametrize("choice", ["all", "largest", "none", (1,)])
def test_find_returns_every_face_whichever_are_to_be_restored(choice):
    found = pipeline(faces=THREE).find(smooth(400, 420), Settings(faces=choice))
    assert found == tuple(map(face_at, THREE))


def test_find_takes_every_kind_of_source_and_passes_the_settings_to_the_detector(tmp_path):
    pixels, seen = smooth(60, 50), []

    def detect(picture, settings):
        seen.append((picture, settings.sensitivity, settings.min_face))
        return [face_at(FACE)]

    data = encode(Picture(pixels), "png")
    (tmp_path / "old.png").write_bytes(data)
    machine = Pipeline(detector=detect, restorer=None, upscaler=LanczosUpscaler())
    for source in (tmp_path / "old.png", data, pixels, Picture(pixels)):
        assert machine.find(source, Settings(sensitivity=0.9, min_face=30)) == (face_at(FACE),)
    assert all(np.array_equal(picture, pixels) for picture, _, _ in seen)
    assert [options for _, *options in seen] == [[0.9, 30]] * 4


def test_find_in_an_aligned_picture_is_the_whole_picture():
    (face,) = pipeline(faces=()).find(smooth(80, 80), Settings(aligned=True))
    assert face.box == (0, 0, 79, 79)


def test_find_without_a_detector_is_an_error():
    machine = Pipeline(detector=None, restorer=FunctionRestorer(identity), upscaler=LanczosUpscaler())
    with pytest.raises(OptionError, match="detector is 'none', but faces are looked for"):
        machine.find(smooth(20, 30))


def test_find_checks_the_limits():
    with pytest.raises(TooLargeError, match="max_input_mp"):
        pipeline().find(smooth(400, 420), Settings(max_input_mp=0.1))


def assert_same(first, second):
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.faces == second.faces


def without_detector():
    """A pipeline whose detector must not be called."""

    def detect(pixels, settings):
        pytest.fail("the detector was called")

    return Pipeline(detector=detect, restorer=FunctionRestorer(grey_face), upscaler=LanczosUpscaler())


@pytest.mark.parametrize("choice", ["all", "center", "largest", (0, 2)])
def test_run_with_given_faces_equals_a_run_that_finds_them(choice):
    picture, settings = smooth(400, 420), Settings(faces=choice, scale=1.5)
    finding = pipeline(grey_face, faces=THREE)
    given = finding.find(picture, settings)
    assert_same(without_detector().run(picture, settings, faces=given), finding.run(picture, settings))
    assert_same(without_detector().run(picture, settings, faces=list(given)), finding.run(picture, settings))


@pytest.mark.parametrize(("faces", "choice"), [(THREE, "none"), ([], "all")])
def test_run_restores_no_face_where_none_is_given_or_chosen(faces, choice):
    given = list(map(face_at, faces))
    result = without_detector().run(smooth(400, 420), Settings(faces=choice), faces=given)
    assert result.faces == tuple(face.left_alone("not chosen") for face in given)
    np.testing.assert_array_equal(result.pixels, lanczos(smooth(400, 420), (800, 840)))


def test_run_needs_no_detector_where_faces_are_given():
    machine = Pipeline(detector=None, restorer=FunctionRestorer(grey_face), upscaler=LanczosUpscaler())
    assert machine.run(smooth(400, 420), faces=[face_at(FACE)]).faces[0].restored


def test_settings_choose_from_the_given_faces():
    given = [face_at(matrix) for matrix in THREE[1:]]
    result = without_detector().run(smooth(400, 420), Settings(faces=(1,), scale=1), faces=given)
    assert [face.restored for face in result.faces] == [False, True]
    assert [bool((result.pixels[y, x] == 128).all()) for x, y in PLACES] == [False, False, True]
    with pytest.raises(OptionError, match="numbers 0 and 1"):
        without_detector().run(smooth(400, 420), Settings(faces=(2,)), faces=given)


def test_edited_faces_are_restored_where_they_were_moved():
    (_, middle, _) = map(face_at, THREE)
    (x, y), (new_x, new_y) = PLACES[1], (210, 330)
    moved = [(px, py + new_y - y) for px, py in middle.landmarks]
    edited = replace(middle, landmarks=type(middle.landmarks)(*moved))
    result = without_detector().run(smooth(400, 420), Settings(scale=1), faces=[edited])
    assert result.faces == (edited.done("grey_face", 1),)
    assert (result.pixels[new_y, new_x] == 128).all()
    np.testing.assert_array_equal(result.pixels[y, x], smooth(400, 420)[y, x])


def test_every_face_gets_its_own_mask_whatever_their_order_and_overlap():
    """The first and the third overlap, so they are pasted together, before the second."""
    places = (60, 60), (300, 300), (90, 70)
    faces = [face_at(similarity(4, 0, 256 - 4 * x, 256 - 4 * y)) for x, y in places]
    levels = 40, 120, 200

    def number(crops, fidelity):
        return [np.full_like(crop, level) for crop, level in zip(crops, levels, strict=True)]

    def parse(faces):
        for face in faces:
            mask = np.zeros((512, 512), np.float32)
            left = 150 + int(face[0, 0, 0])  # 190, 270 and 350 px
            mask[240:272, left : left + 32] = 1
            yield mask

    machine = Pipeline(
        detector=detector(*faces), restorer=FunctionRestorer(number), upscaler=LanczosUpscaler(), parser=parse
    )
    picture = smooth(400, 400)
    out = machine.run(picture, Settings(scale=1, adaptive=False)).pixels
    for (x, y), level in zip(places, levels, strict=True):
        middle = round(x + (150 + level + 16 - 256) / 4)
        assert (out[y, middle] == level).all()
        np.testing.assert_array_equal(out[y, middle - 12 : middle - 7], picture[y, middle - 12 : middle - 7])


class Counting(Repeat):
    """An upscaling network that counts its tiles."""

    def __init__(self):
        super().__init__()
        self.tiles = 0

    def forward(self, x):
        self.tiles += 1
        return super().forward(x)


@pytest.mark.parametrize(("stage", "at"), [("restore", 3), ("upscale", 1), ("upscale", 3), ("paste", 1), ("paste", 2)])
def test_cancelled_ends_the_run_within_one_tile(monkeypatch, stage, at):
    monkeypatch.setattr(tiled, "LARGEST_TILE", 96)
    net, calls, cancelling = Counting(), Counter(), True
    picture, tiles = smooth(150, 140), 9
    faces = [face_at(similarity(4, 0, 256 - 4 * x, 256 - 4 * y)) for x, y in ((40, 40), (70, 100), (100, 60))]

    def restore(crops, fidelity):
        calls["restore"] += 1
        return grey_face(crops, fidelity)

    def parse(faces):
        for face in faces:
            calls["paste"] += 1
            yield np.ones(face.shape[:2], np.float32)

    def progress(now, done, total):
        if cancelling and (now, done) == (stage, at):
            raise Cancelled

    machine = Pipeline(
        detector=detector(*faces),
        restorer=FunctionRestorer(restore),
        upscaler=NetUpscaler("counting", net, CPU, TILING),
        parser=parse,
    )
    with pytest.raises(Cancelled):
        machine.run(picture, Settings(scale=1), progress)
    assert calls["restore"] == 1
    assert net.tiles == {"restore": 0, "upscale": at, "paste": tiles}[stage]
    assert calls["paste"] == (at if stage == "paste" else 0)
    cancelling = False
    net.tiles = 0
    assert machine.run(picture, Settings(scale=1), progress).pixels.shape == picture.shape
    assert net.tiles == tiles


def test_cancelled_between_the_tiles_of_a_face_that_is_enlarged(monkeypatch):
    monkeypatch.setattr(tiled, "LARGEST_TILE", 96)
    net, reports = Counting(), Counter()

    def progress(now, done, total):
        reports[now] += 1
        if now == "paste" and reports[now] == 3:
            raise Cancelled

    machine = pipeline(upscaler=NetUpscaler("counting", net, CPU, TILING), faces=[similarity(2, 0, 0, 0)])
    machine.run(smooth(260, 260), Settings(scale=4, faces="none"))
    of_the_picture, net.tiles = net.tiles, 0
    with pytest.raises(Cancelled):
        machine.run(smooth(260, 260), Settings(scale=4), progress)
    assert 1 <= net.tiles - of_the_picture <= 3


# Run by another process: what a library call, or `startup`, changes of the process.
SETTINGS_OF_THE_PROCESS = """
import ctypes, gc, json, sys, tempfile
from pathlib import Path
import numpy as np
import torch
from facemend.machine import cgroup, process

class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            return lambda *given: mallopt.append(given) or 1
        return super().__getattr__(name)

def settings():
    return {
        "gc": gc.isenabled(),
        "frozen": gc.get_freeze_count() > frozen,
        "threads": torch.get_num_threads(),
        "tf32": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
        "temp": tempfile.tempdir,
        "mallopt": list(mallopt),
    }

def library():
    from facemend import Pipeline, Settings
    pipeline = Pipeline.load(restorer="lite", upscaler="lite", detector="lite", device="cpu")
    pipeline.run(np.zeros((40, 40, 3), np.uint8), Settings(aligned=True, strength=0.5))
    pipeline.run(np.zeros((40, 50, 3), np.uint8))

ctypes.CDLL, mallopt, frozen = CDLL, [], gc.get_freeze_count()  # some versions of Python start with frozen objects
cgroup.processors = lambda: 1.5
torch.set_num_threads(3)
seen = [settings()]
if sys.argv[1] == "library":
    library()
else:
    with process.startup(Path(sys.argv[2])):
        seen.append(settings())
seen.append(settings())
print(json.dumps(seen))
"""


def settings_of_the_process(*arguments):
    command = [sys.executable, "-c", SETTINGS_OF_THE_PROCESS, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(run.stdout)


def test_a_library_call_changes_no_setting_of_the_process():
    before, after = settings_of_the_process("library")
    assert (before["gc"], before["threads"], before["mallopt"]) == (True, 3, [])
    assert after == before


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_startup_sets_the_process_up(tmp_path):
    before, within, after = settings_of_the_process("startup", tmp_path)
    assert (before["gc"], before["frozen"], before["temp"]) == (True, False, None)
    assert within["gc"] is False, "not while modules are imported"
    changed = {"threads": 2, "temp": str(tmp_path), "mallopt": list(map(list, process.MALLOC_OPTIONS.items()))}
    assert after == {**before, **changed, "frozen": True}


@pytest.mark.parametrize(
    "faces",
    [
        face_at(FACE),
        "all",
        [1],
        [replace(face_at(FACE), landmarks=((1, 2),) * 5)],
        *([replace(face_at(FACE), landmarks=Landmarks(*[point] * 5))] for point in ("ab", (1, 2, 3), (1, math.inf))),
        *([replace(face_at(FACE), box=box)] for box in (None, (1, 2, 3), (1, 2, 3, math.nan))),
    ],
    ids=[
        *("one face", "text", "numbers", "landmarks", "text for a point", "points in space", "infinity"),
        *("no box", "three numbers", "NaN"),
    ],
)
def test_given_faces_of_another_type_are_an_option_error(faces):
    with pytest.raises(OptionError, match="a list of Face"):
        pipeline().run(smooth(40, 50), faces=faces)


def test_given_faces_and_aligned_exclude_each_other():
    with pytest.raises(OptionError, match="aligned is True"):
        pipeline().run(smooth(50, 50), Settings(aligned=True), faces=[])


def test_a_given_face_outside_the_picture_is_not_restored():
    outside = face_at(similarity(2, 0, -200_000, 0))
    result = pipeline().run(smooth(400, 420), faces=[outside])
    assert result.faces[0].reason == "its landmarks fit no face"


def test_with_strength_zero_no_face_is_restored():
    def unused(crops, fidelity):
        pytest.fail("restored")

    (face,) = pipeline(unused).run(smooth(400, 420), Settings(strength=0)).faces
    assert (face.restored, face.reason) == (False, "the strength is 0")


class TestRepair:
    """A white line over a picture, and a network that finds white."""

    def machine(self, upscaler=None):
        repairer = NetRepairer("whites", Whites(), CPU, replace(TILING, scale=1, step=16))
        seen = []

        def detect(pixels, settings):
            seen.append(pixels)
            return []

        pipeline = Pipeline(detector=detect, restorer=None, upscaler=upscaler or LanczosUpscaler(), repairer=repairer)
        return pipeline, seen

    def picture(self):
        pixels = smooth(60, 80)
        pixels[30:33] = 255
        return pixels

    def test_all_later_stages_get_the_repaired_picture(self):
        machine, seen = self.machine()
        pixels, stages = self.picture(), set()
        restorer = FunctionRestorer(identity)
        machine.restorer = restorer
        result = machine.run(pixels, Settings(scale=1, repair=True), progress=lambda stage, *_: stages.add(stage))
        assert (result.pixels[30:33] != 255).all()
        assert np.array_equal(seen[0], result.pixels)
        assert np.array_equal(np.delete(result.pixels, (30, 31, 32), 0), np.delete(pixels, (30, 31, 32), 0))
        assert np.array_equal(result.before.pixels, pixels)
        assert result.repaired == pytest.approx(3 / 60)
        assert "repair" in stages
        assert result.seconds["repair"] > 0

    def test_what_is_transparent_is_not_repaired(self):
        machine, _ = self.machine()
        alpha = np.full((60, 80), 255, np.uint8)
        alpha[:, :20] = 0
        picture = Picture(self.picture(), alpha)
        result = machine.run(picture, Settings(scale=1, repair=True))
        assert np.array_equal(result.pixels[:, :20], picture.pixels[:, :20])
        assert (result.pixels[30:33, 20:] != 255).all()
        assert np.array_equal(np.flatnonzero(result.mask.any(axis=0)), np.arange(20, 80))
        assert result.repaired == pytest.approx(3 / 60 * 60 / 80)

    def test_what_is_partly_transparent_is_repaired(self):
        machine, _ = self.machine()
        alpha = np.full((60, 80), 255, np.uint8)
        alpha[:, :20] = 1
        result = machine.run(Picture(self.picture(), alpha), Settings(scale=1, repair=True))
        assert (result.pixels[30:33] != 255).all()
        assert result.repaired == pytest.approx(3 / 60)

    def test_a_picture_is_repaired_only_on_request(self):
        machine, _ = self.machine()
        result = machine.run(self.picture(), Settings(scale=1))
        assert np.array_equal(result.pixels, self.picture())
        assert (result.repaired, result.mask) == (None, None)
        assert "repair" not in result.seconds

    def test_the_repair_of_a_print_in_one_ink_has_its_ink(self):
        machine, _ = self.machine()
        grey = np.repeat(self.picture()[..., :1], 3, axis=2)
        sepia = np.rint(grey * (1.0, 0.9, 0.7)).astype(np.uint8)
        sepia[30:33] = 255
        for pixels in (grey, sepia):
            result = machine.run(pixels, Settings(scale=1, repair=True)).pixels
            tint, expected = (line.astype(float)[:, 2] / line[:, 0] for line in (result[31], pixels[29]))
            assert np.abs(tint - expected.mean()).max() < 0.05

    def test_what_is_filled_in_a_picture_of_one_ink_has_that_ink(self):
        picture = sepia(64, 80)

        def brown(pixels, progress=None):
            mask = np.zeros(pixels.shape[:2], np.float32)
            mask[18:26], mask[20:24] = 0.5, 1  # partly at the edges
            filled = pixels.copy()
            filled[18:26] = (90, 60, 30)
            return filled, mask

        machine, _ = self.machine()
        machine.repairer = brown
        lines = machine.run(picture, Settings(scale=1, repair=True)).pixels[18:26].astype(float)
        np.testing.assert_allclose(lines[..., 2] / lines[..., 0], 180 / 235, atol=0.02)
        machine.repairer = lambda pixels, progress=None: (pixels, np.zeros(pixels.shape[:2], np.float32))
        assert np.array_equal(machine.run(picture, Settings(scale=1, repair=True)).pixels, picture)

    def test_without_a_repairer_it_is_an_error(self):
        machine, _ = self.machine()
        machine.repairer = None
        with pytest.raises(OptionError, match="repairer is 'none', but must be a model"):
            machine.run(self.picture(), Settings(repair=True))


def named(name, colour):
    """A restorer that fills faces with a colour, and remembers how many it was given at once."""

    def fill(crops, fidelity):
        fill.counts.append(len(crops))
        return [np.full_like(crop, colour) for crop in crops]

    fill.counts, fill.__name__ = [], name
    return fill


RED, BLUE = (220, 30, 30), (30, 30, 220)
TWO = (similarity(3, 0, -80, -60), similarity(12, 0, -3400, -1200))  # a face of detail on the left, a small one


def test_auto_gives_each_face_a_restorer_and_says_why():
    usual, other = named("usual", RED), named("other", BLUE)
    auto = Auto(FunctionRestorer(usual), FunctionRestorer(other))
    machine = Pipeline(detector=detector(*map(face_at, TWO)), restorer=auto, upscaler=LanczosUpscaler())
    picture, steps = np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8), []
    result = machine.run(picture, Settings(scale=1), lambda *step: steps.append(step))
    assert [face.net for face in result.faces] == ["usual", "other"]
    assert [face.net_reason for face in result.faces] == [
        "enough detail to keep the likeness",
        "only 42 real px across the crop",
    ]
    assert [face.reason for face in result.faces] == ["", ""]
    assert result.restorer == "usual or other"
    assert (usual.counts, other.counts) == ([1], [1])
    assert [step for step in steps if step[0] == "restore"] == [("restore", 1, 2), ("restore", 2, 2)]
    for face, colour in zip(result.faces, (RED, BLUE), strict=True):
        x, y = (round(value) for value in face.landmarks.nose)
        assert abs(result.pixels[y, x].astype(int) - colour).max() <= 2
    report = result.faces[1].report()
    assert (report["net"], report["net_reason"]) == ("other", "only 42 real px across the crop")


def test_faces_come_out_the_same_alone_and_with_another_restorer_for_others():
    picture = np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8)
    usual, other = named("usual", RED), named("other", BLUE)
    both = Pipeline(
        detector=detector(*map(face_at, TWO)),
        restorer=Auto(FunctionRestorer(usual), FunctionRestorer(other)),
        upscaler=LanczosUpscaler(),
    )
    alone = pipeline(named("other", BLUE), faces=TWO)
    chosen = Settings(scale=1, faces=(1,))
    np.testing.assert_array_equal(both.run(picture, chosen).pixels, alone.run(picture, chosen).pixels)
    assert not usual.counts, "a restorer without faces is not called"


def test_a_named_restorer_gives_no_reason():
    picture = np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8)
    result = pipeline(named("usual", RED), faces=TWO).run(picture)
    assert [(face.net, face.net_reason) for face in result.faces] == [("usual", ""), ("usual", "")]


def test_two_restorers_of_one_name_each_get_their_faces():
    used = Counter()

    def counting(key):
        def restore(crops, fidelity):
            used[key] += len(crops)
            return crops

        return FunctionRestorer(restore)

    auto, shown = Auto(counting("usual"), counting("bad")), []
    machine = Pipeline(detector=detector(*map(face_at, TWO)), restorer=auto, upscaler=LanczosUpscaler())
    picture = np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8)
    result = machine.run(picture, Settings(scale=1), lambda *told: shown.append(told))
    assert [face.restored for face in result.faces] == [True, True]
    assert used == {"usual": 1, "bad": 1}
    assert max(done for stage, done, _ in shown if stage == "restore") == 2


def test_of_a_turned_head_less_is_pasted_beyond_its_nose():
    face = face_at(similarity(2, 0, -200, -200))  # its crop is 256 px wide, from (100, 100)
    marks = face.landmarks._replace(nose=(face.landmarks.nose[0] + 20, face.landmarks.nose[1]))
    picture, settings, changed = smooth(480, 480), Settings(scale=1, adaptive=False), []
    for one in (face, replace(face, landmarks=marks)):
        differs = (pipeline(grey_face, faces=()).run(picture, settings, faces=[one]).pixels != picture).any(axis=2)
        changed.append([differs[:, :228].sum(), differs[:, 228:].sum()])
    (left, right), (turned_left, turned_right) = changed
    assert right == pytest.approx(left, rel=0.05)
    assert turned_left == pytest.approx(left, rel=0.1)
    assert turned_right < 0.8 * right


def test_what_a_parser_calls_face_up_to_the_edge_of_the_crop_fades_out_there():
    machine = pipeline(grey_face, faces=[similarity(2.56, 0, -256, -256)])  # the crop is 200 px wide, from (100, 100)
    machine.parser = lambda faces: (np.ones(face.shape[:2], np.float32) for face in faces)
    picture = smooth(400, 420)
    out = machine.run(picture, Settings(scale=1, adaptive=False)).pixels.astype(int)
    assert (out[120:280, 120:280] == 128).all()
    edge = np.abs(out - picture)[100:300, [100, 101, 298, 299]]
    assert edge.max() <= 4


def test_faces_that_overlap_beyond_the_height_of_a_wide_picture_are_pasted_together():
    faces = [face_at(similarity(4, 0, 256 - 4 * x, 256 - 4 * y)) for x, y in ((500, 90), (530, 100))]
    picture, settings = smooth(200, 640), Settings(scale=1, adaptive=False)

    def level(crops, fidelity):
        return [np.full_like(crop, 40 if crop[256, 256, 0] == picture[90, 500, 0] else 220) for crop in crops]

    machine = pipeline(level, faces=())
    results = [machine.run(picture, settings, faces=given).pixels for given in (faces, faces[::-1])]
    np.testing.assert_array_equal(results[0], results[1])


def test_of_a_wide_part_of_a_face_width_and_height_are_enlarged_alike():
    seen = []

    class Recording(LanczosUpscaler):
        def __call__(self, pixels, size, *others):
            seen.append((pixels.shape[:2], size))
            return super().__call__(pixels, size, *others)

    machine = pipeline(identity, Recording(), [similarity(2.2, 0, 150, 20)])
    machine.run(smooth(100, 200), Settings(scale=4, adaptive=False))
    (height, width), size = seen[1]
    assert width > 1.3 * height
    np.testing.assert_allclose((size[0] / height, size[1] / width), 4 / 2.2, rtol=0.01)


def test_a_face_lands_in_its_place_on_a_canvas_of_other_proportions():
    """As those of a small picture are, whose sides are rounded."""
    picture = smooth(200, 300)
    matrix = similarity(3, 0, -200, -60)
    crop = Crop(np.full((512, 512, 3), (250, 120, 10), np.uint8), matrix)
    treatment = Treatment(face_at(matrix), crop, Assigned(FunctionRestorer(identity)), 1.0)
    canvas = lanczos(picture, (200, 600))
    Pasting(None, LanczosUpscaler(), Settings(), redrawn=True)(canvas, (200, 300), [treatment], [crop.pixels], None)
    changed = np.argwhere((canvas != lanczos(picture, (200, 600))).any(axis=2))
    top, left, right = changed[:, 0].min(), changed[:, 1].min(), changed[:, 1].max()  # below, the crop ends first
    x, y = (256 + 200) / 3, (288 + 60) / 3
    np.testing.assert_allclose((left, right, top), (2 * (x - 58), 2 * (x + 58), y - 80), atol=4)


@pytest.mark.parametrize("redrawn", [False, True])
def test_on_a_redrawn_canvas_a_face_keeps_its_own_tone(redrawn):
    picture = smooth(400, 420) // 2 + 40
    matrix = similarity(2, 0, -164, -144)
    crop = align(picture, face_at(matrix).landmarks)
    treatment = Treatment(face_at(matrix), crop, Assigned(FunctionRestorer(identity)), 1.0)
    canvas = picture + np.uint8(30)
    Pasting(None, LanczosUpscaler(), Settings(), redrawn)(canvas, (400, 420), [treatment], [crop.pixels], None)
    difference = canvas[190:230, 190:230].astype(int) - picture[190:230, 190:230]
    assert difference.mean() == pytest.approx(0 if redrawn else 30, abs=2)


@pytest.mark.parametrize("aligned", [False, True])
def test_a_restorer_gets_crops_of_its_size(aligned):
    sizes = []

    class Small(FunctionRestorer):
        face_size = 256

        def __call__(self, faces, *others):
            sizes.extend(face.shape for face in faces)
            return [np.full_like(face, 128) for face in faces]

    machine = pipeline()
    machine.restorer = Small(identity)
    result = machine.run(smooth(400, 400), Settings(scale=1, adaptive=False, aligned=aligned))
    assert sizes == [(256, 256, 3)]
    assert (result.pixels[200, 200] == 128).all()


@pytest.mark.parametrize("restorer", [None, "auto"])
def test_load_passes_its_options_to_the_choice_of_the_networks(monkeypatch, restorer):
    seen = []
    monkeypatch.setattr(Loader, "auto", lambda self, allowed: seen.append(allowed))
    monkeypatch.setattr(Loader, "upscaler", lambda self, *given: seen.append(given) or LanczosUpscaler())
    others = {"detector": "none", "parser": "none", "repairer": "none"}
    machine = Pipeline.load(restorer=restorer, scale=2, allow_noncommercial=True, **others)
    assert sorted(seen, key=str) == [(None, 2), True]
    assert machine.names == {**others, "restorer": "none", "upscaler": "lanczos"}
