"""The addresses that the server answers, and what it answers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ngcg_cli.errors import NgcgError, UsageError
from ngcg_cli.journeys.questions import Part, Question, place_part, weighed
from ngcg_cli.output.hits import as_geojson
from ngcg_cli.output.page import asset, fill
from ngcg_cli.plain import json_text
from ngcg_cli.search import Filters
from ngcg_cli.server.desk import Asked, Desk, Refused, numbers_of
from ngcg_cli.server.guarding import Guard
from ngcg_cli.server.heat import heat
from ngcg_cli.server.imagery import Imagery
from ngcg_cli.server.openapi import MAX_HITS, MAX_TEXT, described

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Questions that wait for the model, and images that wait to be drawn; more are told to come again.
MAX_WAITING = {"questions": 16, "images": 400}
AT_ONCE = {"questions": 1, "images": 2}
PICTURE_SIDE = 320
HEAT_SIDE = 512
STEERING = ("add", "subtract", "like", "unlike")
_ONCE = ("q", "k", "bbox", "near", "within", "bounds")
MAX_PARTS = 20

STATIC = {
    "leaflet.js": "text/javascript",
    "page.js": "text/javascript",
    "live.js": "text/javascript",
    "leaflet.css": "text/css",
    "page.css": "text/css",
}
ASK = """<form id="ask" role="search">
<input id="q" name="q" type="search" autocomplete="off" maxlength="1000" autofocus
 placeholder="a red-roofed building beside a roundabout" aria-label="What to look for">
<input id="add" autocomplete="off" maxlength="1000" placeholder="and also" aria-label="and also">
<input id="subtract" autocomplete="off" maxlength="1000" placeholder="but not" aria-label="but not">
<button type="submit">Search</button>
</form>"""
TOOLS = """<label><input type="checkbox" id="inview"> only in view</label>
<label><input type="checkbox" id="hot"> heat map</label>"""


class Busy(Exception):
    """More is waiting already than will be waited for."""


class Queue:
    """Work done in threads, a few at once, with an end to how much waits."""

    def __init__(self, kind: str) -> None:
        self._limit = anyio.CapacityLimiter(AT_ONCE[kind])
        self._most = MAX_WAITING[kind]
        self._waiting = 0

    async def done(self, work: Callable[[], T]) -> T:
        """What `work` returns, done in a thread.

        Raises:
            Busy: too much waits.
        """
        if self._waiting >= self._most:
            raise Busy
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limit)
        finally:
            self._waiting -= 1


class Service:
    """What is behind the addresses."""

    def __init__(self, desk: Desk, fetch: bool = False) -> None:
        self._desk = desk
        self._imagery = Imagery(fetch)
        self._questions = Queue("questions")
        self._images = Queue("images")

    async def page(self, request: Request) -> Response:
        """The page."""
        names = {"css": ["leaflet.css", "page.css"], "js": ["leaflet.js", "live.js", "page.js"]}
        text = fill(
            head='<link rel="icon" href="data:,">',
            title="ngcg",
            styles="\n".join(
                f'<link rel="stylesheet" href="static/{name}">' for name in names["css"]
            ),
            scripts="\n".join(f'<script src="static/{name}"></script>' for name in names["js"]),
            ask=ASK,
            tools=TOOLS,
            data={"live": True, "steer": True},
        )
        return Response(text, media_type="text/html")

    async def static(self, request: Request) -> Response:
        """A script or a style, of a fixed list of names."""
        name = request.path_params["name"]
        if name not in STATIC:
            return _trouble(404, "no such file")
        headers = {"cache-control": "max-age=300"}
        return Response(asset(name), media_type=STATIC[name], headers=headers)

    async def query(self, request: Request) -> Response:
        """The hits of a question, as GeoJSON."""
        asked = _asked(request)
        start = time.perf_counter()
        answer = await self._questions.done(partial(self._desk.ask, asked))
        took = (time.perf_counter() - start) * 1000
        return Response(
            "".join(as_geojson([answer])),
            media_type="application/geo+json",
            headers={"server-timing": f"ask;dur={took:.1f}", "cache-control": "no-store"},
        )

    async def info(self, request: Request) -> Response:
        """What the index holds."""
        info = await self._questions.done(lambda: self._desk.state.info)
        return _json(info)

    async def tile(self, request: Request) -> Response:
        """A tile of the map."""
        z, x, y = (request.path_params[name] for name in "zxy")
        return await self._image(lambda: self._imagery.tile(self._desk.state, z, x, y))

    async def picture(self, request: Request) -> Response:
        """A box of one source."""
        number = request.path_params["number"]
        bounds = numbers_of("bounds", request.path_params["bounds"], 4)
        return await self._image(
            lambda: self._imagery.picture(self._desk.state, number, bounds, PICTURE_SIDE)
        )

    async def heat(self, request: Request) -> Response:
        """The scores of all tiles, in a box of the map."""
        asked = _asked(request)
        bounds = numbers_of("bounds", request.query_params.get("bounds", ""), 4)
        if not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
            raise Refused("bounds are left,bottom,right,top in metres")

        def drawn() -> bytes:
            return heat(*self._desk.scores(asked), bounds, HEAT_SIDE)

        image = await self._questions.done(drawn)
        return Response(image, media_type="image/png", headers={"cache-control": "no-store"})

    async def openapi(self, request: Request) -> Response:
        """The description of all this."""
        return _json(described())

    async def _image(self, draw: Callable[[], bytes]) -> Response:
        image = await self._images.done(draw)
        headers = {"cache-control": "private, max-age=600"}
        return Response(image, media_type="image/webp", headers=headers)


def application(desk: Desk, host: str, fetch: bool = False) -> Guard:
    """The whole server as an ASGI application.

    Args:
        desk: what answers questions.
        host: what it will listen on; only requests to that are answered.
        fetch: see `output.pictures.Pictures`.
    """
    service = Service(desk, fetch)
    routes = [
        Route("/", service.page),
        Route("/static/{name}", service.static),
        Route("/api/query", service.query),
        Route("/api/info", service.info),
        Route("/api/heat", service.heat),
        Route("/api/tiles/{z:int}/{x:int}/{y:int}.webp", service.tile),
        Route("/api/pictures/{number:int}/{bounds}.webp", service.picture),
        Route("/openapi.json", service.openapi),
    ]
    handlers: dict[Any, Any] = {
        Refused: lambda _, error: _trouble(400, str(error)),
        UsageError: lambda _, error: _trouble(400, str(error)),
        NgcgError: lambda _, error: _trouble(500, str(error)),
        Busy: lambda _, error: _trouble(503, "busy: ask again in a moment"),
        Exception: _crashed,
        404: lambda _, error: _trouble(404, "no such address; see /openapi.json"),
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), host)


def _asked(request: Request) -> Asked:
    """A request's question, checked.

    Raises:
        Refused, UsageError: a parameter is missing, unknown, given twice, or makes no sense.
    """
    given, parts = _sorted_out(request.query_params.multi_items())
    text = given.get("q", "").strip()
    if text:
        parts.insert(0, Part(_text(text), text))
    if not parts:
        raise Refused("q is missing: what to look for")
    if len(parts) > MAX_PARTS:
        raise Refused(f"more than {MAX_PARTS} parts of a question")
    top = given.get("k", "10")
    if not (top.isascii() and top.isdigit() and len(top) < 6 and 1 <= int(top) <= MAX_HITS):
        raise Refused(f"k is not a whole number from 1 to {MAX_HITS}")
    filters = _filters(given)
    Filters(**filters)  # raises UsageError
    return Asked(Question(tuple(parts)), int(top), tuple(filters.items()))


def _sorted_out(parameters: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[Part]]:
    """The parameters that come once at most, and those that steer."""
    given: dict[str, str] = {}
    parts: list[Part] = []
    for name, value in parameters:
        if len(value) > MAX_TEXT:
            raise Refused(f"{name[:20]} has more than {MAX_TEXT} characters")
        if name in STEERING:
            parts.append(_part(name, value))
        elif name not in _ONCE:
            raise Refused(f"unknown parameter {name[:100]!r}")
        elif name in given:
            raise Refused(f"{name} is given twice")
        else:
            given[name] = value
    return given, parts


def _filters(given: Mapping[str, str]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if "bbox" in given:
        filters["bbox"] = tuple(numbers_of("bbox", given["bbox"], 4))
    if ("near" in given) != ("within" in given):
        raise Refused("near and within go together")
    if "near" in given:
        place = numbers_of("near", given["near"], 2)
        filters["near"] = (*place, *numbers_of("within", given["within"], 1))
    return filters


def _part(name: str, value: str) -> Part:
    """A part that steers. A text stays a text: it is never taken for the path of a picture."""
    sign = -1 if name in ("subtract", "unlike") else 1
    if name in ("like", "unlike"):
        return place_part(value, sign)
    weight, what = weighed(value.strip())
    if not what:
        raise Refused(f"{name} says nothing")
    return Part(_text(what), what, sign * weight)


def _text(text: str) -> str:
    if "\0" in text:
        raise Refused("a NUL character")
    return text


def _json(value: Any) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(json_text(value), media_type="application/json", headers=headers)


def _crashed(request: Request, error: Exception) -> Response:
    told = " ".join(f"{type(error).__name__}: {error}".split())
    logger.error("%s: internal error, %s", request.url.path, told, exc_info=error)
    return _trouble(500, "internal error; the server's log tells more")


def _trouble(status: int, reason: str) -> Response:
    headers = {"cache-control": "no-store", **({"retry-after": "1"} if status == 503 else {})}
    text = json.dumps({"error": reason})
    return Response(text, status, media_type="application/json", headers=headers)
