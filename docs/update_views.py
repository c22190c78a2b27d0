"""Makes the screenshots of docs/views.md, from the drawn town.

    python docs/update_views.py

Needs Chromium and the packages of the extra `dev`. The index is made anew in a temporary folder,
the page by `ngcg query -o`, the live page by `ngcg serve`.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

IMAGES = Path(__file__).parent / "images"
TOWN = Path(__file__).parents[1] / "examples" / "town" / "region.tif"
NGCG = [sys.executable, "-m", "ngcg_cli"]
QUESTION = "boats in a harbour"
PORT = 8799
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]


def save(page: Any, name: str) -> None:
    """A screenshot, small."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.save(IMAGES / name, quality=60, method=6)
    print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


def shoot(browser: Any, folder: Path, address: str) -> None:
    """All pictures."""
    page_on_disk = (folder / "hits.html").as_uri()
    for scheme, name, size in (
        ("light", "page-light.webp", (1120, 640)),
        ("dark", "page-dark.webp", (1120, 640)),
        ("light", "page-phone.webp", (360, 700)),
    ):
        width, height = size
        context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(page_on_disk)
        if scheme == "dark":
            page.click("#hit-0 .go")
        page.wait_for_timeout(1500)
        save(page, name)
        context.close()
    context = browser.new_context(viewport={"width": 1240, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    page.fill("#q", QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".card")
    page.check("#hot")
    page.wait_for_selector("img.heat")
    while not page.evaluate("document.querySelector('img.heat').naturalWidth"):
        page.wait_for_timeout(200)
    page.wait_for_timeout(5000)
    save(page, "serve-heat.webp")
    context.close()


def main() -> None:
    """Index, page, server, pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = ["--index", str(folder / "index")]
        subprocess.run([*NGCG, "index", str(TOWN), *index, "--overlap", "0.25"], check=True)
        hits = ["-o", str(folder / "hits.html")]
        subprocess.run([*NGCG, "query", QUESTION, "-k", "6", *index, *hits], check=True)
        address = f"http://127.0.0.1:{PORT}/"
        with subprocess.Popen([*NGCG, "serve", "--port", str(PORT), *index]) as server:
            try:
                for _ in range(240):
                    try:
                        urllib.request.urlopen(address).close()
                        break
                    except urllib.error.URLError:
                        time.sleep(0.5)
                with sync_playwright() as driver:
                    browser = driver.chromium.launch(
                        executable_path="/usr/bin/chromium", args=FLAGS
                    )
                    shoot(browser, folder, address)
                    browser.close()
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
