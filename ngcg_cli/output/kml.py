"""Hits as KML 2.2 (OGC 07-147r2): one folder per question, a pin and a footprint per hit."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ngcg_cli.output.hits import hit_record
from ngcg_cli.output.xml import add, write_xml
from ngcg_cli.search.footprints import geojson_geometry

if TYPE_CHECKING:
    from ngcg_cli.journeys.querying import Answer

_STYLE = "hit"


def write_kml(answers: Iterable[Answer], path: Path) -> None:
    """Writes all questions into one document.

    A viewer shows a description as HTML, so the texts in it are escaped once more than XML asks;
    the balloon shows nothing but the description.
    """
    root = ElementTree.Element("kml", {"xmlns": "http://www.opengis.net/kml/2.2"})
    document = add(root, "Document")
    add(document, "name", "ngcg")
    style = add(document, "Style", id=_STYLE)
    line = add(style, "LineStyle")
    add(line, "color", "ff3c8cff")  # aabbggrr
    add(line, "width", 2)
    add(add(style, "PolyStyle"), "color", "333c8cff")
    add(add(style, "BalloonStyle"), "text", "$[description]")
    for query, hits in answers:
        folder = add(document, "Folder")
        add(folder, "name", query)
        for hit in hits:
            _placemark(folder, hit_record(query, hit), geojson_geometry(hit.footprint))
    write_xml(root, path)


def _placemark(
    folder: ElementTree.Element, record: dict[str, Any], geometry: dict[str, Any]
) -> None:
    mark = add(folder, "Placemark")
    add(mark, "name", f"{record['rank']}. {record['query']}")
    add(mark, "description", _described(record))
    add(mark, "styleUrl", f"#{_STYLE}")
    data = add(mark, "ExtendedData")
    for name, value in record.items():
        if value is not None:
            add(add(data, "Data", name=name), "value", _plain(value))
    shapes = add(mark, "MultiGeometry")
    add(add(shapes, "Point"), "coordinates", _points([record.get("point") or _centre(record)]))
    whole = geometry["type"] == "Polygon"
    for rings in [geometry["coordinates"]] if whole else geometry["coordinates"]:
        polygon = add(shapes, "Polygon")
        add(polygon, "tessellate", 1)
        ring = add(add(polygon, "outerBoundaryIs"), "LinearRing")
        add(ring, "coordinates", _points(rings[0]))


def _described(record: dict[str, Any]) -> str:
    lines = [record["query"], f"rank {record['rank']}, score {record['score']:.3f}"]
    if record.get("confidence") is not None:
        lines[-1] += f", confidence {record['confidence']:.2f}"
    if record.get("explanation"):
        lines.append(record["explanation"])
    lines += [f"{record['lat']:.7f}, {record['lon']:.7f}", record["source"]]
    return "<br>".join(html.escape(line) for line in lines)


def _centre(record: dict[str, Any]) -> list[float]:
    return [record["lon"], record["lat"]]


def _points(points: Iterable[Iterable[float]]) -> str:
    return " ".join(",".join(f"{value:.7f}" for value in point) for point in points)


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
