"""A real browser for tests: headless Chromium, with what it asks the network for written down."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


class Tab:
    """A page that is open, and what has happened in it.

    Attributes:
        requests: addresses asked for, but those of the page's own data.
        trouble: errors and refusals that the console told, and dialogs.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.trouble: list[str] = []
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", self._told)
        page.on("dialog", self._dialog)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.requests.append(request.url)

    def _told(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.trouble.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def until(self, script: str, seconds: float = 30) -> None:
        """Waits until JavaScript is true; asked from outside, so no policy forbids it."""
        for _ in range(int(seconds * 10)):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"not within {seconds:g} s: {script}")

    def middle(self, selector: str) -> tuple[float, float]:
        """Where the middle of an element is, in pixels of the window."""
        box = self.page.locator(selector).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def off_centre(self, pin: str) -> float:
        """How far a pin is from the middle of the map, in pixels."""
        (x, y), (map_x, map_y) = self.middle(pin), self.middle("#map")
        return ((x - map_x) ** 2 + (y - map_y) ** 2) ** 0.5


class Browser:
    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def tab(self, address: str | Path, **options: Any) -> Iterator[Tab]:
        """Opens a page in a profile of its own."""
        context = self._chromium.new_context(reduced_motion="reduce", **options)
        try:
            tab = Tab(context.new_page())
            where = address.as_uri() if isinstance(address, Path) else address
            tab.page.goto(where, wait_until="load")
            yield tab
        finally:
            context.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Starts the browser, or skips the test with a word where there is none."""
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield Browser(browser)
        finally:
            browser.close()
