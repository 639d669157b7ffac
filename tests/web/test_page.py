"""The page in a browser without a window."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import time
from contextlib import ExitStack
from threading import Semaphore

import numpy as np
import pytest
from PIL import Image

from facemend.cli import main
from facemend.web import app, desk
from facemend.weights.models import MODELS
from tests.cog.serving import Handler, listening
from tests.pictures import face_at, similarity, smooth
from tests.web.photos import jpeg, phone, two_faces
from tests.web.serving import FACE, LIMIT, PATIENCE, TILES, StandIn, serving

pytestmark = pytest.mark.slow

PHOTO = {"name": "grandma.jpg", "mimeType": "image/jpeg", "buffer": jpeg(smooth(200, 220))}
PAIR = {"name": "two.jpg", "mimeType": "image/jpeg", "buffer": two_faces()}
TOO_LARGE = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": bytes(LIMIT + 1)}
TEXT = {"name": "<b>notes</b>.txt", "mimeType": "text/plain", "buffer": b"hello"}
WIDTHS = (360, 800, 1440)
DROP = """([name, base64]) => {
  const files = new DataTransfer();
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  files.items.add(new File([bytes], name));
  for (const type of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
  }
}"""
PASTE = (
    DROP.replace('["dragover", "drop"]', '["paste"]')
    .replace("DragEvent", "ClipboardEvent")
    .replace("dataTransfer:", "clipboardData:")
)


@pytest.fixture
def opened(chromium):
    """Opens the page in a new tab that reaches only this machine; nothing but `expected` may go to the console."""
    contexts, said = [], []

    def open_(client, expected="", **options):
        context = chromium.new_context(**{"viewport": {"width": 1000, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)

        def pass_on(route):
            if route.request.url.startswith((f"{client.url}/", "blob:")):
                route.continue_()
            else:
                said.append(f"request to {route.request.url}")
                route.abort()

        page.route("**/*", pass_on)
        page.on("console", lambda message: message.text.startswith(expected or "-") or said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(client.url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not said


def in_letters(photo):
    return base64.b64encode(photo["buffer"]).decode()


def of_command_line(tmp_path, data, *arguments):
    """The file that the command line makes."""
    source = tmp_path / "two.jpg"
    source.write_bytes(data)
    with pytest.raises(SystemExit) as exit_:
        main(["restore", str(source), "-o", f"{tmp_path}/out.jpg", *arguments])
    assert not exit_.value.code
    return (tmp_path / "out.jpg").read_bytes()


def until(page, condition, what):
    """Wait, while the browser goes on, until a function returns what is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        page.wait_for_timeout(20)


def wait(page, expression, argument=None):
    """Wait until JavaScript is true. `wait_for_function` needs an `eval` that the page forbids."""
    until(page, lambda: page.evaluate(expression, argument), expression)


def choose(page, *names):
    """Choose the photo under each of these names, and wait until all are in the queue."""
    page.set_input_files("#file", [{**PHOTO, "name": name} for name in names])
    page.wait_for_selector(f"#queue li:nth-child({len(names)})")


def start(page, tiles, button="#restore"):
    """Start a restoration that waits at its fourth tile."""
    page.select_option("#upscaler", "lanczos")
    page.click(button)
    tiles.gate.release(3)
    shows(page, f"Enlarging: 3 of {TILES}")


def restored(page):
    """Wait until a restoration is done."""
    page.wait_for_selector("#download:visible")
    wait(page, "document.querySelector('#stop').hidden")
    wait(page, "document.querySelector('#after').naturalWidth > 0")


def shows(page, text):
    wait(page, "text => document.querySelector('#status').textContent.includes(text)", text)


def clip(page):
    """How many px of the result are cut off at its left."""
    return float(page.evaluate("document.querySelector('#after').style.clipPath.match(/([\\d.]+)px\\)$/)[1]"))


# From the photo to the file


def test_a_photo_is_dropped_picked_restored_compared_and_downloaded(lite, opened, tmp_path):
    page = opened(lite)
    page.evaluate(DROP, ["two.jpg", in_letters(PAIR)])
    page.locator("#boxes div").nth(1).click()
    assert [box.get_attribute("class") for box in page.locator("#boxes div").all()] == ["on", ""]
    page.click("#restore")
    restored(page)
    box = page.locator("#slider").bounding_box()
    for share in (0.25, 0.8):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert clip(page) == pytest.approx(share * box["width"], abs=1)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 9)
    page.mouse.up()
    assert clip(page) == pytest.approx(0.1 * box["width"], abs=1)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "two_restored.jpg"
    assert download.value.path().read_bytes() == of_command_line(tmp_path, PAIR["buffer"], "--faces", "0")
    assert page.inner_text("#became") == "Face 1: restored\nFace 2: left as it was (not chosen)"
    assert page.inner_text("#used").startswith("Faces: lite. Enlarged by: lite. ")


def tab_to(page, selector):
    """Press Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


def test_the_same_by_keyboard_alone(lite, opened, tmp_path):
    page = opened(lite)
    page.on("filechooser", lambda chooser: chooser.set_files([PAIR]))
    tab_to(page, "#file")
    page.keyboard.press("Enter")
    page.wait_for_selector("#face-1")
    tab_to(page, "#face-1")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "restore"
    page.keyboard.press("Enter")
    restored(page)
    assert page.evaluate("document.activeElement.id") == "restore"  # not lost while the button was hidden
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "#slider")
    before = clip(page)
    for key, grows in (("ArrowRight", True), ("End", True), ("ArrowLeft", False), ("Home", False)):
        page.keyboard.press(key)
        assert (clip(page) > before) is grows
        before = clip(page)
    assert before == 0
    assert page.get_attribute("#slider", "aria-valuetext") == "0 % photo, 100 % result"
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "#views :nth-child(6)")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Face 1"
    tab_to(page, "#scroller")
    left = page.evaluate("document.querySelector('#scroller').scrollLeft")
    page.keyboard.press("ArrowRight")
    wait(page, "left => document.querySelector('#scroller').scrollLeft > left", left)
    tab_to(page, "#download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.path().read_bytes() == of_command_line(tmp_path, PAIR["buffer"], "--faces", "0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(server, opened, axe, scheme):
    page = opened(server, color_scheme=scheme)
    page.evaluate(axe)

    def violations():
        found = page.evaluate("axe.run()")["violations"]
        return [(row["id"], [node["html"] for node in row["nodes"]]) for row in found]

    assert not violations()
    page.set_input_files("#file", [PHOTO, TEXT])
    page.wait_for_selector("#problems li")
    page.wait_for_selector("#boxes div")
    page.select_option("#restorer", "codeformer")
    assert not violations()
    page.select_option("#restorer", "auto")
    page.click("#restore")
    restored(page)
    page.set_input_files("#file", [PHOTO])
    page.wait_for_selector("#queue li:nth-child(2)")
    assert not violations()
    page.click("#queue button >> nth=0")
    page.click("#views >> text=Face 1")
    assert not violations()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_everything_fits_into_the_width(server, opened, width, scheme):
    page = opened(server, viewport={"width": width, "height": 800}, color_scheme=scheme)
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(fits)
    page.set_input_files("#file", [PHOTO])
    page.click("#restore")
    restored(page)
    assert page.evaluate(fits)
    page.click("text=1:1")
    assert page.evaluate(fits)
    heights = page.evaluate("[...document.querySelectorAll('button, a, select')].map((one) => one.offsetHeight)")
    assert min(filter(None, heights)) >= 34  # px, for a finger


def test_long_names_and_those_from_right_to_left_fit(server, opened):
    page = opened(server, viewport={"width": 360, "height": 740})
    page.evaluate("""() => {
      window.widest = 0;
      const measure = () => { widest = Math.max(widest, document.documentElement.scrollWidth); };
      new MutationObserver(measure).observe(document.querySelector("#reading"), { childList: true });
    }""")
    choose(page, f"{'x' * 200}.jpg", "صورة جدتي القديمة.jpg")
    assert page.evaluate("widest") == 360
    names = "[...document.querySelectorAll('#queue span')]"
    directions = page.evaluate(f"{names}.map((name) => getComputedStyle(name).direction)")
    assert directions == ["ltr", "rtl"]  # the end of a long name is cut off, not its start


def test_what_is_chosen_and_the_slider_are_seen_with_forced_colors(server, opened):
    page = opened(server, forced_colors="active")
    page.set_input_files("#file", [PHOTO])
    page.click("#restore")
    restored(page)
    page.click("#views >> text=Face 1")
    pressed, others = (
        page.evaluate("one => getComputedStyle(document.querySelector(one)).borderTopStyle", f"#views {which}")
        for which in ("[aria-pressed=true]", "[aria-pressed=false]")
    )
    assert pressed != others
    slider = Image.open(io.BytesIO(page.locator("#slider").screenshot())).convert("RGB")
    width, height = slider.size
    places = (width // 4, 2), (width // 4, height // 2), (width // 2, height // 2)
    assert len(set(map(slider.getpixel, places))) == 3  # the ground, the bar and its thumb


def test_a_finger_moves_the_slider(server, opened):
    page = opened(server, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.set_input_files("#file", [PHOTO])
    page.tap("#restore")
    restored(page)
    page.locator("#slider").scroll_into_view_if_needed()
    box = page.locator("#slider").bounding_box()
    page.touchscreen.tap(box["x"] + 0.3 * box["width"], box["y"] + 20)
    wait(page, "Math.abs(document.querySelector('#slider').value - 30) < 1")
    assert clip(page) == pytest.approx(0.3 * box["width"], abs=4)


def test_zooming_shows_the_picture_in_its_size_and_the_face_in_the_middle(server, opened):
    page = opened(server)
    page.set_input_files("#file", [PHOTO])
    page.select_option("#scale", "8")
    page.click("#restore")
    restored(page)
    page.click("text=1:1")
    assert page.evaluate("document.querySelector('#canvas').offsetWidth") == 8 * 220
    page.click("#views >> text=Face 1")
    middle = page.evaluate("""() => {
      const { scrollLeft, clientWidth } = document.querySelector('#scroller');
      return (scrollLeft + clientWidth / 2) / document.querySelector('#canvas').offsetWidth;
    }""")
    assert middle == pytest.approx(112 / 220, abs=0.01)  # of the face that the stand-in finds
    page.focus("#slider")
    page.keyboard.press("Home")
    assert clip(page) == pytest.approx(page.evaluate("document.querySelector('#scroller').scrollLeft"), abs=1)


def seen_middle(page):
    """The middle of what is seen, as shares of the picture."""
    return page.evaluate("""() => {
      const { scrollLeft, scrollTop, clientWidth, clientHeight } = document.querySelector("#scroller");
      const { offsetWidth, offsetHeight } = document.querySelector("#canvas");
      return [(scrollLeft + clientWidth / 2) / offsetWidth, (scrollTop + clientHeight / 2) / offsetHeight];
    }""")


@pytest.mark.parametrize("size", [(360, 780), (780, 360)])
def test_the_part_that_is_looked_at_stays_when_a_phone_hides_its_address_or_is_turned(server, opened, size):
    page = opened(server, viewport={"width": 360, "height": 740})
    page.set_input_files("#file", [PHOTO])
    page.select_option("#scale", "8")
    page.click("#restore")
    restored(page)
    page.click("text=1:1")
    page.evaluate("document.querySelector('#scroller').scrollTo(700, 500)")
    page.wait_for_timeout(200)
    before = seen_middle(page)
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    page.wait_for_timeout(200)
    assert seen_middle(page) == pytest.approx(before, abs=0.005)


def test_the_middle_of_a_picture_that_was_seen_whole_stays_when_the_window_becomes_smaller(server, opened):
    page = opened(server, viewport={"width": 780, "height": 900})
    page.set_input_files("#file", [{**PHOTO, "buffer": jpeg(smooth(400, 500))}])
    page.click("text=1:1")
    page.set_viewport_size({"width": 360, "height": 900})
    page.wait_for_timeout(200)
    assert seen_middle(page) == pytest.approx([0.5, 0.5], abs=0.01)


# What else may happen


def test_stop_ends_the_work_within_one_tile(server, opened):
    page, tiles = opened(server), server.networks.tiles
    page.set_input_files("#file", [PHOTO])
    start(page, tiles)
    page.click("#stop")
    shows(page, "Stopped.")
    assert page.is_visible("#restore")
    time.sleep(0.5)  # the server notices in a few milliseconds; the tile at the gate takes longer
    tiles.gate.release(TILES)
    page.select_option("#upscaler", "auto")
    page.click("#restore")
    restored(page)
    assert tiles.done == 4


def test_where_all_places_are_taken_the_page_asks_again_or_is_stopped(server, opened, monkeypatch):
    monkeypatch.setattr(desk, "RETRY_AFTER", 1)
    page = opened(server, expected="Failed to load resource: the server responded with a status of 503")
    page.set_input_files("#file", [PHOTO])
    page.wait_for_selector("#boxes div")
    photo = server.upload(PHOTO["buffer"])
    with ExitStack() as stack:
        for _ in range(desk.PLACES):
            stack.enter_context(server.asking(f"/photos/{photo['key']}/restore", json={"upscaler": "lanczos"}))
        page.click("#restore")
        shows(page, "Waiting for other photos")
        page.click("#stop")
        shows(page, "Stopped.")
        page.click("#restore")
        shows(page, "Waiting for other photos")
    server.networks.tiles.gate.release(TILES)
    restored(page)


def test_enter_in_an_option_starts_no_second_work(server, opened):
    page, tiles = opened(server), server.networks.tiles
    page.set_input_files("#file", [PHOTO])
    page.select_option("#upscaler", "lanczos")
    page.focus("#strength")
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page.keyboard.press("Enter")
    tiles.gate.release(3)
    shows(page, f"Enlarging: 3 of {TILES}")
    page.focus("#strength")
    page.keyboard.press("Enter")
    tiles.gate.release(TILES)
    restored(page)
    assert asked.count("restore") == 1


@pytest.mark.parametrize("control", ["#face-0", "#views >> text=Face 1", "#queue button >> nth=1"])
def test_the_focus_stays_when_a_work_ends(server, opened, control):
    page, tiles = opened(server), server.networks.tiles
    choose(page, "grandma.jpg", "grandpa.jpg")
    start(page, tiles)
    page.locator(control).focus()
    tiles.gate.release(TILES)
    restored(page)
    assert page.locator(control).evaluate("one => one === document.activeElement")


def test_screen_readers_say_each_step_and_each_problem_once(server, opened):
    page, tiles = opened(server), server.networks.tiles
    page.set_input_files("#file", [PHOTO, TEXT])
    page.wait_for_selector("#problems li")
    page.evaluate("""() => {
      const region = document.querySelector("#options [role=status]");
      window.said = [];
      new MutationObserver(() => said.push(region.textContent)).observe(region, { childList: true });
    }""")
    page.select_option("#upscaler", "lanczos")
    page.click("#restore")
    for tile in (1, 2, 3):
        tiles.gate.release()
        shows(page, f"Enlarging: {tile} of {TILES}")
    page.click("#stop")
    shows(page, "Stopped.")
    tiles.gate.release()
    said = page.evaluate("said")
    assert [said.count(text) for text in ("Enlarging: ", "Stopped.")] == [1, 1]
    regions = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    alert = next(node for node in regions if node.get("role", {}).get("value") == "alert")
    assert {"name": "atomic", "value": {"type": "boolean", "value": True}} not in alert["properties"]


def test_a_file_that_is_no_photo_is_explained_and_the_others_are_read(server, opened):
    page = opened(server)
    page.set_input_files("#file", [TEXT, TOO_LARGE, PHOTO])
    page.wait_for_selector("#boxes div")
    unknown, large = page.locator("#problems li").all_inner_texts()
    assert unknown.startswith("<b>notes</b>.txt: cannot read this file: its format is unknown")
    assert large == "large.jpg: it is over the limit of 3.0 MB"


def test_a_photo_without_a_face_is_enlarged(chromium, opened):
    with serving(StandIn(faces=())) as (client, _):
        page = opened(client)
        page.set_input_files("#file", [PHOTO])
        page.wait_for_selector("text=No face was found. The photo can still be enlarged and repaired.")
        assert page.inner_text("#finder") == "Download a better face finder (109 MB)"
        page.click("#restore")
        restored(page)
        assert page.inner_text("#file-facts").startswith("JPEG, 440 × 400 px")


class FirstPixels:
    """A repairer that marks the first `count` pixels."""

    name = "first pixels"

    def __init__(self, count):
        self.count = count

    def __call__(self, pixels, progress=None):
        mask = np.zeros(pixels.shape[:2], np.float32)
        mask.flat[: self.count] = 1
        return pixels, mask


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "No damage was found."), (20, "Less than 0.1 % was repaired."), (440, "1.0 % was repaired.")],
)
def test_the_page_says_how_much_was_repaired(chromium, opened, count, said):
    networks = StandIn()
    networks.repairer = FirstPixels(count)
    with serving(networks) as (client, _):
        page = opened(client)
        page.set_input_files("#file", [PHOTO])
        page.wait_for_selector("#boxes div")
        page.check("#repair")
        page.click("#restore")
        restored(page)
        assert page.inner_text("#used").endswith(said)


def test_several_photos_are_restored_one_after_the_other(server, opened):
    page = opened(server)
    choose(page, "grandma.jpg", "grandpa.jpg")
    page.evaluate(PASTE, ["pasted.jpg", in_letters(PHOTO)])
    page.wait_for_selector("#queue li:nth-child(3)")
    page.click("#all")
    shows(page, "3 of 3 photos are done.")
    assert page.locator("#queue span").all_inner_texts() == ["✓ grandma.jpg", "✓ grandpa.jpg", "✓ pasted.jpg"]
    page.click("#queue button >> nth=1")
    assert page.get_attribute("#download", "download") == "grandpa_restored.jpg"
    assert page.evaluate("document.activeElement.textContent") == "✓ grandpa.jpg"  # the focus stays


def test_the_queue_and_the_status_follow_the_photo_that_is_restored(server, opened):
    page, tiles = opened(server), server.networks.tiles
    choose(page, *(f"{index}.jpg" for index in range(12)))
    page.select_option("#upscaler", "lanczos")
    page.click("#all")
    tiles.gate.release(11 * TILES + 3)
    shows(page, f"Photo 12 of 12: Enlarging: 3 of {TILES}")
    queue, last = (page.locator(place).bounding_box() for place in ("#queue", "#photo-11"))
    assert last["x"] + last["width"] <= queue["x"] + queue["width"]
    tiles.gate.release(TILES)
    shows(page, "12 of 12 photos are done.")


def test_who_looks_at_a_result_keeps_it_while_the_others_are_restored(server, opened):
    page, tiles = opened(server), server.networks.tiles
    choose(page, "grandma.jpg", "grandpa.jpg", "aunt.jpg")
    page.select_option("#upscaler", "lanczos")
    page.click("#all")
    tiles.gate.release(TILES + 3)
    page.wait_for_selector("#queue [aria-pressed=true] >> text=grandpa.jpg")
    page.click("#queue button >> nth=0")
    tiles.gate.release(2 * TILES)
    shows(page, "3 of 3 photos are done.")
    assert page.get_attribute("#download", "download") == "grandma_restored.jpg"


def test_while_a_photo_is_on_its_way_no_other_one_is_shown_as_it(server, opened):
    page, held = opened(server), []
    choose(page, "grandma.jpg", "grandpa.jpg")
    page.click("#all")
    shows(page, "2 of 2 photos are done.")

    def are_empty():
        seen = Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("RGB")
        corners = (20, 20, 60, 60), (seen.width - 60, 20, seen.width - 20, 60)  # of the photo and of the result
        return [len(seen.crop(corner).getcolors(3600)) == 1 for corner in corners]

    restored(page)
    assert are_empty() == [False, False]
    page.route("**/view", lambda route: held.append(route))
    page.click("#queue button >> nth=0")
    until(page, lambda: len(held) == 2, "two views")
    assert are_empty() == [True, True]
    for route in held:
        route.continue_()
    restored(page)
    assert are_empty() == [False, False]


def test_the_browser_is_said_to_download_the_results_only_where_it_does_so_with_all(server, opened):
    page, tiles = opened(server, expected="Failed to load resource"), server.networks.tiles
    choose(page, "grandma.jpg", "grandpa.jpg")
    page.select_option("#upscaler", "lanczos")
    page.click("#all")
    tiles.gate.release(TILES + 3)
    page.wait_for_selector("#queue [aria-pressed=true] >> text=grandpa.jpg")
    page.check("#save")
    tiles.gate.release(TILES)
    shows(page, "2 of 2 photos are done. Choose one to see and download it.")
    page.route("**/restore", lambda route: route.fulfill(status=500, body="it failed"))
    page.click("#all")
    shows(page, "0 of 2 photos are done.")
    assert page.inner_text("#status") == "0 of 2 photos are done."


def test_options_changed_while_all_are_restored_count_from_the_next_time_on(server, opened):
    page, tiles = opened(server), server.networks.tiles
    choose(page, "grandma.jpg", "grandpa.jpg")
    start(page, tiles, "#all")
    page.select_option("#format", "png")
    tiles.gate.release(2 * TILES)
    shows(page, "2 of 2 photos are done.")
    page.click("#queue button >> nth=1")
    assert page.get_attribute("#download", "download") == "grandpa_restored.jpg"


def test_photos_added_while_all_are_restored_hide_neither_the_work_nor_its_problems(server, opened):
    page, tiles = opened(server, expected="Failed to load resource"), server.networks.tiles
    choose(page, "grandma.jpg", "grandpa.jpg")
    page.select_option("#upscaler", "lanczos")
    page.route("**/restore", lambda route: route.fulfill(status=500, body="it failed"), times=1)
    photo, held = server.upload(PHOTO["buffer"]), []
    page.route("**/photos", lambda route: held.append(route), times=1)
    page.set_input_files("#file", [{**PHOTO, "name": "aunt.jpg"}])
    page.click("#all")
    tiles.gate.release(3)
    shows(page, f"Enlarging: 3 of {TILES}")
    held[0].fulfill(body=f"event: done\ndata: {json.dumps(photo)}\n\n")
    page.wait_for_selector("#queue li:nth-child(3)")
    assert page.inner_text("#queue [aria-pressed=true]") == "grandpa.jpg"
    page.set_input_files("#file", [{**PHOTO, "name": "uncle.jpg"}])
    assert page.locator("#problems li").all_inner_texts() == ["grandma.jpg: it failed"]
    tiles.gate.release(3 * TILES)
    shows(page, "photos are done.")


@pytest.mark.parametrize("fails", [False, True])
def test_what_became_of_a_photo_is_not_said_of_another_one(server, opened, fails):
    page, held = opened(server, expected="Failed to load resource"), []
    choose(page, "grandma.jpg", "grandpa.jpg")
    page.route("**/restore", lambda route: held.append(route))
    page.click("#restore")
    page.click("#queue button >> nth=1")
    until(page, lambda: held, "the restoration")
    if fails:
        held[0].fulfill(status=500, body="it failed")
    else:
        held[0].continue_()
    shows(page, "grandma.jpg: it failed" if fails else "grandma.jpg: Done in ")


def test_the_problems_of_an_earlier_attempt_are_removed(server, opened):
    page = opened(server, expected="Failed to load resource")
    choose(page, "grandma.jpg", "grandpa.jpg")
    page.route("**/restore", lambda route: route.fulfill(status=500, body="it failed"))
    page.click("#all")
    shows(page, "0 of 2 photos are done.")
    assert page.locator("#problems li").count() == 2
    page.unroute("**/restore")
    page.click("#all")
    shows(page, "2 of 2 photos are done.")
    assert page.locator("#problems li").count() == 0


def test_each_result_is_downloaded_when_it_is_done(server, opened):
    page = opened(server)
    downloads = []
    choose(page, "photo0.jpg", "photo1.jpg", "photo2.jpg")
    page.on("download", lambda download: downloads.append(download))
    page.check("#save")
    page.click("#all")
    shows(page, "3 of 3 photos are done. The browser downloads the results.")
    until(page, lambda: len(downloads) == 3, "three downloads")
    assert [download.suggested_filename for download in downloads] == [f"photo{n}_restored.jpg" for n in range(3)]
    assert all(Image.open(io.BytesIO(one.path().read_bytes())).size == (440, 400) for one in downloads)


def test_results_that_the_memory_does_not_hold_are_counted(chromium, opened, monkeypatch):
    monkeypatch.setattr(app, "KEPT", 100_000)
    with serving(StandIn()) as (client, _):
        page = opened(client, expected=NOT_FOUND)
        choose(page, *(f"{index}.jpg" for index in range(8)))
        page.click("#all")
        shows(page, "8 of 8 photos are done, but")
        forgotten = int(re.search(r"but (\d) of the results are not in memory", page.inner_text("#status"))[1])
        assert 0 < forgotten < 8
        assert page.locator("#queue span >> text=✓").count() <= 8 - forgotten


def test_a_server_that_ends_while_all_are_restored_is_told_once(chromium, opened):
    with serving(StandIn()) as (client, _):
        page = opened(client, expected="Failed to load resource")
        choose(page, "grandma.jpg", "grandpa.jpg")
    page.click("#all")
    shows(page, "There is no answer: is 'facemend web' still running?")
    assert page.locator("#problems li").count() == 0


NOT_FOUND = "Failed to load resource: the server responded with a status of 404"


def test_what_the_server_has_forgotten_is_sent_again_or_told(chromium, opened, monkeypatch):
    monkeypatch.setattr(app, "KEPT", 100_000)
    with serving(StandIn()) as (client, _):

        def fill():
            for _ in range(9):
                client.upload(PHOTO["buffer"])

        page = opened(client, expected=NOT_FOUND)
        choose(page, "grandma.jpg", "grandpa.jpg")
        page.uncheck("#face-0")
        fill()
        page.click("#restore")
        page.wait_for_selector("#became >> text=left as it was (not chosen)")
        fill()
        page.click("#queue button >> nth=1")
        wait(page, "document.querySelector('#before').naturalWidth > 0")
        assert page.is_checked("#face-0")
        page.click("#queue button >> nth=0")
        shows(page, "This result is not in memory any more. Restore the photo again.")
        assert not page.is_checked("#face-0")
        page.click("#restore")
        restored(page)


@pytest.mark.parametrize("after", [(), (FACE, face_at(similarity(1, 0, 20, 10)))])
def test_other_faces_that_are_found_later_are_shown_and_restored(chromium, opened, monkeypatch, after):
    monkeypatch.setattr(app, "KEPT", 100_000)
    networks = StandIn()
    with serving(networks) as (client, _):
        page = opened(client, expected=NOT_FOUND)
        page.set_input_files("#file", [PHOTO])
        page.wait_for_selector("#boxes div")
        page.uncheck("#face-0")
        networks.faces = after
        for _ in range(9):
            client.upload(PHOTO["buffer"])
        page.click("#restore")
        restored(page)
        assert page.locator("#chosen input:checked").count() == page.locator("#became li").count() == len(after)


def test_a_folder_that_is_dropped_is_told(server, opened, tmp_path):
    (tmp_path / "scans").mkdir()
    page = opened(server)
    wait(page, "document.querySelector('#scale').value !== ''")
    mouse = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path / "scans")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        mouse.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 200, "data": data})
    page.wait_for_selector("#problems li")
    told = page.locator("#problems li").all_inner_texts()
    assert told == ["scans: It is a folder, or cannot be read any more. Choose the photos again."]


def test_a_file_that_is_gone_is_told(chromium, opened, monkeypatch, tmp_path):
    monkeypatch.setattr(app, "KEPT", 100_000)
    (tmp_path / "gone.png").write_bytes(PHOTO["buffer"])
    with serving(StandIn()) as (client, _):
        page = opened(client, expected=NOT_FOUND)
        page.set_input_files("#file", [tmp_path / "gone.png"])
        page.wait_for_selector("#boxes div")
        (tmp_path / "gone.png").unlink()
        for _ in range(9):
            client.upload(PHOTO["buffer"])
        page.click("#restore")
        shows(page, "It is a folder, or cannot be read any more. Choose the photos again.")


def test_a_phones_photo_is_upright(lite, opened):
    page = opened(lite)
    page.set_input_files("#file", [{"name": "IMG_1.HEIC", "mimeType": "image/heic", "buffer": phone()}])
    page.wait_for_selector("#boxes div")
    wait(page, "document.querySelector('#before').naturalHeight === 1200")
    assert page.evaluate("document.querySelector('#before').naturalWidth") == 900


def test_a_larger_model_is_downloaded_with_progress(server, opened, monkeypatch):
    content = bytes(300_000)
    row = dataclasses.replace(
        MODELS["codeformer"], size=len(content), sha256=hashlib.sha256(content).hexdigest(), file="test.pth"
    )
    monkeypatch.setitem(MODELS, "codeformer", row)
    rest = Semaphore(0)

    class Site(Handler):
        def do_GET(self):  # noqa: N802 - named by http.server
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            half = max(start, 100_000)
            self.wfile.write(content[start:half])
            self.wfile.flush()
            rest.acquire(timeout=30)
            self.wfile.write(content[half:])

    with listening(Site) as url:
        monkeypatch.setenv("FACEMEND_MIRROR", url)
        page = opened(server)
        page.set_input_files("#file", [PHOTO])
        page.wait_for_selector("#boxes div")
        assert not page.is_visible("#fidelity")
        page.select_option("#restorer", "codeformer")
        assert "codeformer: non-commercial, ↓ 300 kB" in page.inner_text("#restorer")
        assert page.is_visible("#fidelity")
        assert page.is_disabled("#restore")
        page.click("text=First download codeformer (300 kB)")
        shows(page, "Downloading: 100 kB of 300 kB")
        rest.release()
        shows(page, "codeformer is on this computer now.")
    assert page.input_value("#restorer") == "codeformer"
    assert page.is_enabled("#restore")
    assert "300 kB" not in page.inner_text("#restorer option:checked")


def test_options_that_did_not_arrive_are_asked_for_again(server, opened):
    page = opened(server, expected="Failed to load resource")
    page.route("**/options", lambda route: route.abort())
    page.reload()
    page.wait_for_selector("#problems >> text=There is no answer")
    page.set_input_files("#file", [PHOTO])
    page.wait_for_selector("#problems >> text=grandma.jpg: There is no answer")
    page.unroute("**/options")
    page.set_input_files("#file", [PHOTO])
    page.wait_for_selector("#boxes div")
    assert page.input_value("#scale") == "2"


def test_a_server_that_has_ended_is_told(chromium, opened):
    with serving(StandIn()) as (client, _):
        page = opened(client, expected="Failed to load resource: net::ERR_CONNECTION_REFUSED")
        page.set_input_files("#file", [PHOTO])
        page.wait_for_selector("#boxes div")
    page.click("#restore")
    shows(page, "There is no answer: is 'facemend web' still running?")
