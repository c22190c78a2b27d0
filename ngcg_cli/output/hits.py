"""Ranked hits to jsonl, csv, geojson or a table, query by query as they come.

Every format is a generator of text: a piece a query, so that a pipe sees hits at once. Degrees
have 7 decimals (a centimetre), scores 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from ngcg_cli.output.formats import HitFormat
from ngcg_cli.plain import csv_line, json_text
from ngcg_cli.search.hits import degrees

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer
    from ngcg_cli.search import Hit

CSV_FIELDS = (
    *("query", "rank", "score", "lon", "lat", "west", "south", "east", "north"),
    *("source", "column", "row", "width", "height", "tile_m", "confidence"),
    *("point_lon", "point_lat", "explanation"),
)


Answers: TypeAlias = "Iterable[Answer]"


def hit_record(query: str, hit: Hit) -> dict[str, Any]:
    """The fields of a hit, as jsonl and GeoJSON properties show them."""
    return {"query": query, **hit.as_dict()}


def as_jsonl(answers: Answers) -> Iterator[str]:
    """One JSON object a line, a query's hits together."""
    for query, hits in answers:
        yield "".join(json_text(hit_record(query, hit)) + "\n" for hit in hits)


def as_csv(answers: Answers) -> Iterator[str]:
    """A header line, then one line per hit."""
    yield csv_line(CSV_FIELDS)
    for query, hits in answers:
        yield "".join(csv_line(_flat(query, hit)) for hit in hits)


def as_geojson(answers: Answers) -> Iterator[str]:
    """One FeatureCollection (RFC 7946) over all queries: a feature a hit, a line each."""
    yield '{"type": "FeatureCollection", "features": ['
    separator = "\n"
    for query, hits in answers:
        piece = ""
        for hit in hits:
            piece += separator + json_text(feature(query, hit))
            separator = ",\n"
        yield piece
    yield "\n]}\n"


def as_table(answers: Answers) -> Iterator[str]:
    """A table a query, for people; colour only on a terminal."""
    from ngcg_cli.output.table import hits_table

    for query, hits in answers:
        if hits:
            yield hits_table(query, hits) + "\n"


FORMATS: dict[HitFormat, Callable[[Answers], Iterator[str]]] = {
    "table": as_table,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "geojson": as_geojson,
}


def write_answers(answers: Answers, hit_format: HitFormat | None, stream: TextIO) -> None:
    """Writes each query's hits as soon as they are there.

    Args:
        answers: the queries with their hits; drawn from one by one.
        hit_format: None means a table on a terminal, otherwise jsonl.
        stream: where to, normally stdout.
    """
    chosen = hit_format or ("table" if stream.isatty() else "jsonl")
    coming = iter(answers)
    # Drawn before a format says its head: where the first question fails, nothing is written.
    first = list(islice(coming, 1))
    for piece in FORMATS[chosen](chain(first, coming)):
        stream.write(piece)
        stream.flush()


def feature(query: str, hit: Hit) -> dict[str, Any]:
    """A hit as a GeoJSON feature: its footprint, and its fields as properties."""
    return {**hit.__geo_interface__, "properties": hit_record(query, hit)}


def _flat(query: str, hit: Hit) -> list[Any]:
    places = [f"{degrees(value):.7f}" for value in (hit.lon, hit.lat, *hit.bbox)]
    chance = "" if hit.confidence is None else f"{hit.confidence:.4f}"
    point = [f"{degrees(value):.7f}" for value in hit.point or ()] or ["", ""]
    why = hit.explanation or ""
    tile = [hit.source, *hit.window, f"{hit.tile_m:.1f}"]
    return [query, hit.rank, f"{hit.score:.6f}", *places, *tile, chance, *point, why]
