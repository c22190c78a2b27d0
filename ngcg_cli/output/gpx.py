"""Hits as GPX 1.1: a waypoint a hit, for a receiver to walk to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ngcg_cli.output.hits import hit_record
from ngcg_cli.output.xml import add, write_xml

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer


def write_gpx(answers: Iterable[Answer], path: Path) -> None:
    """Writes all questions into one file; the question is a waypoint's comment.

    The elements stand in the order of the schema, topografix.com/GPX/1/1.
    """
    root = ElementTree.Element(
        "gpx", {"xmlns": "http://www.topografix.com/GPX/1/1", "version": "1.1", "creator": "ngcg"}
    )
    for query, hits in answers:
        for hit in hits:
            record = hit_record(query, hit)
            lon, lat = record.get("point") or (record["lon"], record["lat"])
            # Its longitudes end before 180.
            lon = -180.0 if lon == 180 else lon
            waypoint = add(root, "wpt", lat=f"{lat:.7f}", lon=f"{lon:.7f}")
            add(waypoint, "name", f"{record['rank']} {query}")
            add(waypoint, "cmt", query)
            told = f"rank {record['rank']}, score {record['score']:.3f}"
            if record.get("confidence") is not None:
                told += f", confidence {record['confidence']:.2f}"
            if record.get("explanation"):
                told += f". {record['explanation']}"
            add(waypoint, "desc", told)
            add(waypoint, "src", record["source"])
    write_xml(root, path)
