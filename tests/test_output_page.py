"""The page of hits: what stands in it, and how it behaves in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browsing import Browser, chromium
from hit_samples import hit
from hostile import HOSTILE
from samples import Ngcg, write_raster

from ngcg_cli.errors import NgcgError, RasterError
from ngcg_cli.journeys.querying import Answer
from ngcg_cli.output import page as page_module
from ngcg_cli.output.files import check_output
from ngcg_cli.output.page import page, write_page
from ngcg_cli.raster import Raster, Window
from ngcg_cli.search import Hit


class Elements(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self.texts[tag].append("")
            self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in:
            self.texts[self._in][-1] += data

    @property
    def data(self) -> Any:
        return json.loads(self.texts["script"][0])


def hits_of(path: Path, *windows: tuple[int, int, int, int]) -> list[Hit]:
    """Hits on windows of a real raster."""
    with Raster.open(path) as raster:
        found = raster.footprints([Window(*window) for window in windows])
    return [
        hit(
            rank,
            source=str(path),
            window=window,
            lon=float(found.lon[rank - 1]),
            lat=float(found.lat[rank - 1]),
            bbox=tuple(found.bbox[rank - 1].tolist()),
            footprint=[
                [
                    [
                        (found.bbox[rank - 1][i], found.bbox[rank - 1][j])
                        for i, j in ((0, 1), (2, 1), (2, 3), (0, 3), (0, 1))
                    ]
                ]
            ],
        )
        for rank, window in enumerate(windows, 1)
    ]


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> list[Hit]:
    path = write_raster(tmp_path_factory.mktemp("raster") / "a.tif", 1)
    return hits_of(path, (0, 0, 32, 32), (64, 96, 32, 32), (96, 32, 32, 32))


def test_page_carries_all_it_needs_and_names_nothing_else(hits: list[Hit]) -> None:
    text = page([Answer("a harbour", hits)])
    found = Elements(text)
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form")
        assert not {"src", "href"} & attributes.keys()
    assert not [style for style in found.texts["style"] if re.search(r"url\((?!#)", style)]
    question = found.data["questions"][0]
    assert [feature["properties"]["rank"] for feature in question["hits"]] == [1, 2, 3]
    assert all(one["url"].startswith("data:image/webp;base64,") for one in question["pictures"])
    assert len(found.data["overviews"]) == 1
    assert len(text) < 400_000


def test_policy_runs_the_pages_own_scripts_and_no_other(hits: list[Hit]) -> None:
    found = Elements(page([Answer("a harbour", hits)]))
    (policy,) = (a["content"] or "" for tag, a in found.tags if "http-equiv" in a)
    for kind, texts in (("script", found.texts["script"][1:]), ("style", found.texts["style"])):
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
        assert f"{kind}-src {hashes};" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_hostile_texts_are_data_alone() -> None:
    plain = Elements(page([Answer("a", [hit(source="/none/a.tif")])]))
    answers = [Answer(text, [hit(source=f"/none/{text}")]) for text in HOSTILE]
    found = Elements(page(answers))
    assert found.tags == plain.tags  # not an element more
    assert [one["query"] for one in found.data["questions"]] == HOSTILE


def test_a_page_goes_to_no_address_of_an_index_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_raster(path: str) -> None:
        opened.append(path)
        raise RasterError("not now", where=path)

    monkeypatch.setattr(Raster, "open", open_raster)
    away = ["http://127.0.0.1:9/x.tif", "/vsicurl/http://127.0.0.1:9/x.tif", "s3://a/b.tif"]
    answers = [Answer("a", [hit(source=path) for path in away])]
    data = Elements(page(answers)).data
    assert opened == []
    assert "is not fetched unasked" in data["note"]
    page(answers, fetch=True)
    assert opened == away


def test_pictures_have_an_end(hits: list[Hit], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MAX_PICTURES", 2)
    data = Elements(page([Answer("a", hits), Answer("b", hits)])).data
    made = [[one is not None for one in question["pictures"]] for question in data["questions"]]
    assert made == [[True, True, False]] * 2
    assert "The first 2 hits have pictures, 2 have none." in data["note"]


def test_without_the_map_library_the_pip_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngcg_cli.output.files.find_spec", lambda _: None)
    with pytest.raises(NgcgError, match=r"pip install 'ngcg\[page\]'"):
        check_output(tmp_path / "a.html")


def test_query_writes_a_page_of_several_questions(ask: Ngcg, tmp_path: Path) -> None:
    done = ask("-", "-k", 2, "-o", "hits.html", stdin=b"a pond\na road\n")
    assert (done.status, done.out, done.err) == (0, "", "")
    data = Elements((tmp_path / "hits.html").read_text("utf-8")).data
    assert [(one["query"], len(one["hits"])) for one in data["questions"]] == (
        [("a pond", 2), ("a road", 2)]
    )


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.mark.slow
def test_page_opens_from_disk_and_asks_nobody(
    browser: Browser, hits: list[Hit], tmp_path: Path
) -> None:
    path = tmp_path / "hits.html"
    write_page([Answer("a harbour", hits), Answer("a road", hits[::-1])], path)
    with browser.tab(path) as tab:
        page = tab.page
        tab.until(
            "[...document.images].length >= 3 && [...document.images].every(i => i.naturalWidth)"
        )
        assert page.locator(".card").count() == page.locator(".pin").count() == 3
        assert page.locator(".rank").first.inner_text().endswith(f", {hits[0].tile_m:.0f} m")
        # A card leads to its place on the map.
        assert tab.off_centre(".pin >> text='2'") > 60
        page.click("#hit-1 .go")
        page.wait_for_selector("#hit-1.chosen")
        assert tab.off_centre(".pin.chosen") < 8
        assert page.locator(".pin.chosen").inner_text() == "2"
        # A pin leads to its card; so do the keys.
        page.click(".leaflet-control-zoom-out", click_count=1)
        page.locator(".pin", has_text="2").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("#hit-2.chosen")
        assert page.locator(".card.chosen").count() == 1
        assert tab.off_centre(".pin.chosen") < 8
        # Another question.
        page.get_by_role("tab", name="a road").click()
        assert page.locator(".rank b").all_inner_texts() == ["3", "2", "1"]
        assert tab.requests == [path.as_uri()]
        assert tab.trouble == []


@pytest.mark.slow
def test_online_base_map_is_asked_for_first(
    browser: Browser, hits: list[Hit], tmp_path: Path
) -> None:
    path = tmp_path / "hits.html"
    write_page([Answer("a harbour", hits)], path)
    with browser.tab(path) as tab:
        tab.page.route("https://**", lambda route: route.abort())
        tab.page.select_option("#base", "osm")
        tab.page.wait_for_selector(".leaflet-control-attribution >> text=OpenStreetMap")
        asked = [url for url in tab.requests if url.startswith("https://tile.openstreetmap.org/")]
        assert len(asked) > 3
        assert len(tab.requests) == len(asked) + 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_and_follows_the_readers_light(
    browser: Browser, hits: list[Hit], tmp_path: Path, scheme: str
) -> None:
    path = tmp_path / "hits.html"
    write_page([Answer("a harbour " * 20, hits)], path)
    size = {"width": 360, "height": 740}
    with browser.tab(path, viewport=size, color_scheme=scheme) as tab:
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert tab.middle("#map")[1] < tab.middle("#hit-0")[1]
        tab.page.mouse.wheel(0, 900)  # the map stays in view
        tab.until("scrollY > 100")
        assert tab.page.locator("#map").bounding_box()["y"] == pytest.approx(0, abs=1)
        paper, ink = tab.page.evaluate(
            "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name]"
            ".match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0))"
        )
        assert (paper < ink) == (scheme == "dark")
        assert abs(paper - ink) > 400


@pytest.mark.slow
def test_no_script_of_others_runs(browser: Browser, hits: list[Hit], tmp_path: Path) -> None:
    path = tmp_path / "hits.html"
    answers = [Answer(text, [hit(source=f"/none/{text}")]) for text in HOSTILE]
    write_page([*answers, Answer("real", hits)], path)
    with browser.tab(path) as tab:
        tabs = tab.page.get_by_role("tab")
        assert tabs.count() == len(HOSTILE) + 1
        tab.page.evaluate(
            "for (const tab of document.querySelectorAll('[role=tab]')) {"
            "  tab.click(); document.querySelector('.go').click(); }"
        )
        assert tab.page.locator("#questions img, #cards script, #note img").count() == 0
        assert tab.requests == [path.as_uri()]
        assert tab.trouble == []
