"""Takes screenshots of the page to look at: python -m tests.web.look FOLDER.

One of each state, width and colour scheme: empty, faces, result, zoomed, model (a larger one is chosen). And page.png,
which is the one in docs/.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from facemend.web.networks import Networks
from tests.web.conftest import CHROMIUM
from tests.web.photos import OLD, two_faces
from tests.web.serving import serving

WIDTHS = (360, 800, 1440)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    photos = [
        {"name": name, "mimeType": "image/jpeg", "buffer": data}
        for name, data in (("two.jpg", two_faces()), ("old.jpg", OLD.read_bytes()))
    ]
    with serving(Networks()) as (client, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)

                def shot(state, page=page, width=width, scheme=scheme):
                    page.screenshot(path=folder / f"{state}-{width}-{scheme}.png", full_page=True)

                page.goto(client.url)
                shot("empty")
                page.set_input_files("#file", photos)
                page.wait_for_selector("#queue li:nth-child(2)")
                page.uncheck("#face-1")
                page.wait_for_timeout(300)  # until the pictures are shown
                shot("faces")
                page.click("#restore")
                page.wait_for_selector("#download:visible")
                page.wait_for_timeout(300)
                shot("result")
                page.click("#views >> text=Face 1")
                page.wait_for_timeout(100)
                shot("zoomed")
                page.click("text=Whole picture")
                page.select_option("#restorer", "codeformer")
                shot("model")
                page.close()
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto(client.url)
        page.set_input_files("#file", photos[1:])
        page.click("#restore")
        page.wait_for_selector("#download:visible")
        page.click("#views >> text=Face 1")
        page.wait_for_timeout(300)
        page.screenshot(path=folder / "page.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
