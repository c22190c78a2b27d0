"""`ngcg serve` in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import Browser, chromium
from hit_samples import hit
from hostile import HOSTILE
from serving import add_hostile_raster, copied, desk_of, served

from ngcg_cli.journeys.querying import Answer
from ngcg_cli.server.desk import Asked, Desk


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, town: Path) -> Path:
    index = copied(town, tmp_path_factory.mktemp("served"))
    add_hostile_raster(index)
    return index


@pytest.fixture(scope="module")
def desk(index: Path) -> Desk:
    return desk_of(index)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.mark.slow
def test_type_click_and_read_the_map(browser: Browser, desk: Desk) -> None:
    desk.warm_up()
    with served(desk) as address, browser.tab(address) as tab:
        page = tab.page
        page.wait_for_selector(".leaflet-tile-loaded")
        page.fill("#q", "a pond")
        page.keyboard.press("Enter")
        page.wait_for_selector(".card")
        assert page.locator(".card").count() == page.locator(".pin").count() == 10
        tab.until(
            "[...document.querySelectorAll('.picture img')].slice(0, 2).every(i => i.naturalWidth)"
        )
        page.click("#hit-1 .go")
        page.wait_for_selector("#hit-1.chosen")
        assert tab.off_centre(".pin.chosen") < 8
        page.check("#hot")
        tab.until("document.querySelector('img.heat')?.naturalWidth > 0")
        # More like this: the tile itself comes first.
        page.uncheck("#hot")
        page.fill("#q", "")
        chosen = page.locator("#hit-3 code").inner_text()
        page.click("#hit-3 .like")
        tab.until(f"document.querySelector('#hit-0 code').textContent === {json.dumps(chosen)}")
        page.click("#steer button")
        page.fill("#q", "a pond")
        page.keyboard.press("Enter")
        tab.until("document.title.startsWith('a pond')")
        page.click("#hit-1 .go")
        # Only in view: the hit that fills the map and its neighbours.
        page.check("#inview")
        tab.until("document.querySelectorAll('.card').length < 10")
        with page.expect_download() as saved:
            page.click("#save")
        collection = json.loads(Path(saved.value.path()).read_text())
        assert len(collection["features"]) == page.locator(".card").count()
        # Where no tile is, the page says why nothing was found.
        for _ in range(12):
            across, down = tab.middle("#map")
            page.mouse.move(across, down)
            page.mouse.down()
            page.mouse.move(across + 300, down, steps=2)
            page.mouse.up()
            page.wait_for_timeout(50)
        page.press("#q", "Enter")
        tab.until("document.getElementById('note').textContent.includes('in view: zoom out')")
        page.uncheck("#inview")
        tab.until("document.querySelectorAll('.card').length === 10")
        # More, then less like the same tile: the last word counts, for both would cancel.
        page.evaluate(
            "['.like', '.unlike'].forEach((one) => document.querySelector(`#hit-0 ${one}`).click())"
        )
        assert [text[:9] for text in page.locator("#steer button").all_inner_texts()] == [
            "less like"
        ]
        assert all(url.startswith(address) for url in tab.requests)
        assert tab.trouble == []


@pytest.mark.slow
def test_no_script_of_an_index_runs(browser: Browser, desk: Desk) -> None:
    with served(desk) as address, browser.tab(address) as tab:
        page = tab.page
        for text in ("<img src=x onerror=alert(1)>", "\"'><script>alert(2)</script>"):
            page.fill("#q", text)
            page.click("#ask button")
            tab.until(f"document.title.startsWith({json.dumps(text)})")
        page.evaluate("document.querySelectorAll('.go').forEach((go) => go.click())")
        assert page.locator("#cards script, #note *, .source *").count() == 0
        assert all(url.startswith(address) for url in tab.requests)
        assert tab.trouble == []


@pytest.mark.slow
def test_the_page_says_that_nothing_looks_like_that(
    browser: Browser, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = desk.ask

    def unsure(asked: Asked) -> Answer:
        query, hits = real(asked)
        chance = 0.04 if "zebra" in query else 0.4
        return Answer(query, [replace(hit, confidence=chance / hit.rank) for hit in hits])

    monkeypatch.setattr(desk, "ask", unsure)
    with served(desk) as address, browser.tab(address) as tab:
        for question, told in (("a zebra", "confidence of 4 %"), ("a pond", "")):
            tab.page.fill("#q", question)
            tab.page.click("#ask button")
            tab.until(f"document.title.startsWith({json.dumps(question)})")
            said = tab.page.locator("#doubt").inner_text()
            assert (said != "", told in said) == (told != "", True)
        assert tab.trouble == []


@pytest.mark.slow
def test_two_hundred_hostile_names_stay_text_on_the_map(
    browser: Browser, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hostile(asked: Asked) -> Answer:
        names = [f"/none/{text}" for text in HOSTILE]
        hits = [hit(rank, source=name) for rank, name in enumerate(names, 1)]
        return Answer(asked.question.name, hits)

    monkeypatch.setattr(desk, "ask", hostile)
    with served(desk) as address, browser.tab(address) as tab:
        tab.page.fill("#q", "a pond")
        tab.page.click("#ask button")
        tab.until(f"document.querySelectorAll('.card').length === {len(HOSTILE)}")
        tab.page.evaluate("document.querySelectorAll('.go').forEach((go) => go.click())")
        assert tab.page.locator("#cards script, #cards iframe, .source *").count() == 0
        assert tab.page.locator("#cards img").count() == 0  # of a raster the index does not have
        assert all(url.startswith(address) for url in tab.requests)
        assert tab.trouble == []
