"""The page of hits: one HTML file with map, pictures and all, that needs no network.

The map is Leaflet, out of the package `django-js-lib-leaflet` (nothing of Django is used); it is
read when a page is written. What comes from an index or a question is data in the page, never
markup: a content security policy runs the page's two scripts, by their hashes, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ngcg_cli.answers.confidence import NOTHING_HERE
from ngcg_cli.errors import NgcgError, RasterError
from ngcg_cli.output.hits import feature
from ngcg_cli.output.pictures import Pictures, encoded

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer
    from ngcg_cli.search import Hit

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
CARRIER = "js_lib_leaflet"
# Where the page's reader may switch on a base map: nothing is asked there before.
BASE_MAPS = "https://tile.openstreetmap.org https://tiles.maps.eox.at"
# Around a tile, as a fraction of its side, in its picture.
MARGIN = 0.35
PICTURE_SIDE = 320
OVERVIEW_SIDE = 1024
# About 20 kB a picture and 100 kB an overview: a page of 10 MB at most.
MAX_PICTURES = 300
MAX_OVERVIEWS = 12


def check_page() -> None:
    """See that the map library is there.

    Raises:
        NgcgError: it is not; the pip command is named.
    """
    if find_spec(CARRIER) is None:
        raise NgcgError(
            "a page of hits needs the map library Leaflet", hint="pip install 'ngcg[page]'"
        )


@cache
def asset(name: str) -> str:
    """A file of the page's own, or of Leaflet's: `leaflet.js`, `leaflet.css`."""
    if not name.startswith("leaflet"):
        return (ASSETS / name).read_text("utf-8")
    check_page()
    spec = find_spec(CARRIER)
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or []))) / "static" / CARRIER
    text = (folder / name).read_text("utf-8")
    # Its pictures are those of controls that the page does not have.
    text = re.sub(r"url\((images/[^)]*|#default#VML)\)", "none", text)
    return re.sub(r"//# sourceMappingURL=.*", "", text)


def write_page(answers: Iterable[Answer], path: Path, fetch: bool = False) -> None:
    """Writes the hits of all questions into one page; for `fetch` see `Pictures`."""
    check_page()
    path.write_text(page(answers, fetch), "utf-8", errors="replace")


def page(answers: Iterable[Answer], fetch: bool = False) -> str:
    """The page as text."""
    with Pictures(fetch) as pictures:
        maker = _Maker(pictures)
        questions = [maker.question(answer) for answer in answers]
        data = {
            "questions": questions,
            "overviews": maker.overviews(),
            "note": maker.note(),
        }
    styles = [asset("leaflet.css"), asset("page.css")]
    scripts = [asset("leaflet.js"), asset("page.js")]
    policy = (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; "
        f"img-src data: {BASE_MAPS}; base-uri 'none'; form-action 'none'"
    )
    return fill(
        head=f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        styles="\n".join(f"<style>{style}</style>" for style in styles),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
        ask='<div id="questions" role="tablist" aria-label="Questions"></div>',
        data=data,
    )


def fill(*, data: dict[str, Any], tools: str = "", title: str = "Hits - ngcg", **parts: str) -> str:
    """The frame of a page with its parts, of which only `data` may come from outside."""
    data = {"nothing_here": NOTHING_HERE, **data}
    return Template(asset("page.html")).substitute(
        parts, tools=tools, title=title, data=embedded(data)
    )


def embedded(data: Any) -> str:
    """JSON that may stand in a script element: it cannot end it, nor begin anything else.

    Lone surrogates (of file names that are no UTF-8) become escapes.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hashes(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


class _Maker:
    """Collects a page's data: features, pictures, overviews."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self._made: dict[tuple[str, tuple[int, ...]], dict[str, Any] | None] = {}
        self._sources: dict[str, None] = {}
        self._left_out = 0
        self._failed: dict[str, str] = {}

    def question(self, answer: Answer) -> dict[str, Any]:
        query, hits = answer
        return {
            "query": query,
            "hits": [feature(query, hit) for hit in hits],
            "pictures": [self._picture(hit) for hit in hits],
        }

    def _picture(self, hit: Hit) -> dict[str, Any] | None:
        key = (hit.source, hit.window)
        if key not in self._made:
            if len(self._made) >= MAX_PICTURES:
                self._left_out += 1
                return None
            self._made[key] = self._cut(hit)
        return self._made[key]

    def _cut(self, hit: Hit) -> dict[str, Any] | None:
        from ngcg_cli.raster.mercator import around

        self._sources[hit.source] = None
        if hit.source in self._failed:
            return None
        bounds = around(hit.bbox, MARGIN)
        try:
            pixels = self.pictures.raster(hit.source).on_map(bounds, PICTURE_SIDE, PICTURE_SIDE)
        except RasterError as error:
            self._failed[hit.source] = str(error)
            logger.warning("no picture of its hits: %s", error)
            return None
        return {"url": _data_url(encoded(pixels)), "bounds": list(bounds)}

    def overviews(self) -> list[tuple[str, list[float]]]:
        """Each raster as a whole, small, where it can be had without reading nearly all of it."""
        from ngcg_cli.raster import Window
        from ngcg_cli.raster.mercator import around

        found = []
        for path in [path for path in self._sources if path not in self._failed][:MAX_OVERVIEWS]:
            try:
                raster = self.pictures.raster(path)
                place = raster.footprints([Window(0, 0, raster.width, raster.height)])
                if not place.placed[0]:
                    continue
                west, south, east, north = place.bbox[0].tolist()
                bounds = around((west, south, east, north), 0.0)
                pixels = raster.on_map(bounds, OVERVIEW_SIDE, OVERVIEW_SIDE)
            except RasterError as error:
                logger.debug("no overview: %s", error)
                continue
            found.append((_data_url(encoded(pixels)), list(bounds)))
        return found

    def note(self) -> str:
        """What of the pictures is missing, and why."""
        told = list(self._failed.values())
        if self._left_out:
            told.append(
                f"The first {MAX_PICTURES} hits have pictures, {self._left_out:,} have none."
            )
        return " ".join(told)


def _data_url(image: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(image).decode()}"
