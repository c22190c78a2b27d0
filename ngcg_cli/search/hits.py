"""From rankings to hits: filters, one hit for one place, and what is told of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ngcg_cli.search.extent import Mask
from ngcg_cli.search.filters import HALFWAY_ROUND, Filters, geodesic
from ngcg_cli.search.footprints import Polygon, areas, geojson_geometry, pieces, square_side
from ngcg_cli.search.overlap import distinct
from ngcg_cli.search.ranker import Ranker
from ngcg_cli.search.snapshot import Snapshot
from ngcg_cli.search.tiles import Ints, TileColumns
from ngcg_cli.search.vectors import Vectors

# Ranks held at once, over all queries of a step: bounds memory when both are many.
_MAX_RANKED = 2_000_000


@dataclass(frozen=True, slots=True)
class Hit:
    """A tile found.

    Attributes:
        rank: from 1.
        score: cosine similarity.
        lon, lat: the tile's centre, degrees, WGS 84.
        bbox: west, south, east, north; west > east across the antimeridian.
        source: path of the raster, as it was indexed.
        window: column, row, width, height in the raster's pixels.
        footprint: its polygons as they are stored, cut at the antimeridian: of each its exterior
            ring and then its holes, closed rings of (lon, lat).
        confidence: the chance that it is right, 0 to 1; None where the model has no calibration.
        point: (lon, lat) of what was asked for within the tile, where that was looked for.
        explanation: a sentence that says why, where that was asked for; empty where none could be
            had.
        vector: the tile's (dim,) unit vector, for the steps after the search.
    """

    rank: int
    score: float
    lon: float
    lat: float
    bbox: tuple[float, float, float, float]
    source: str
    window: tuple[int, int, int, int]
    footprint: list[Polygon]
    confidence: float | None = None
    point: tuple[float, float] | None = None
    explanation: str | None = None
    vector: Vectors | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        place = f"lon={degrees(self.lon)}, lat={degrees(self.lat)}"
        return f"Hit(rank={self.rank}, score={self.score:.3f}, {place}, source={self.source!r})"

    def as_dict(self) -> dict[str, Any]:
        """What every format shows of it: degrees with 7 decimals (a centimetre), scores with 6."""
        chance, point = self.confidence, self.point
        record: dict[str, Any] = {
            "rank": self.rank,
            "score": round(float(self.score), 6),
            "lon": degrees(self.lon),
            "lat": degrees(self.lat),
            "bbox": [degrees(value) for value in self.bbox],
            "source": self.source,
            "window": [int(value) for value in self.window],
            "tile_m": round(self.tile_m, 1),
            "confidence": None if chance is None else round(float(chance), 4),
        }
        if point is not None:
            record["point"] = [degrees(x) for x in point]
        return record if self.explanation is None else {**record, "explanation": self.explanation}

    @property
    def tile_m(self) -> float:
        """Side of a square of the tile's area on the ground, metres."""
        return square_side(self.footprint)

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        """A GeoJSON feature (RFC 7946): geopandas, shapely and many others take it as it is."""
        record = self.as_dict()
        return {
            "type": "Feature",
            "bbox": record["bbox"],
            "geometry": geojson_geometry(self.footprint),
            "properties": record,
        }


def degrees(value: float) -> float:
    """Rounded to 7 decimals, and never -0.0."""
    return round(float(value), 7) + 0.0


def find(
    view: Snapshot,
    ranker: Ranker,
    queries: Vectors,
    top: int,
    filters: Filters,
    exact: bool,
    keep_overlaps: bool,
) -> list[list[Hit]]:
    """The hits for each query: `TileIndex.search` on one committed state, arguments checked.

    Ranks a few times `top` tiles, and goes deeper only for queries whose hits mostly overlapped.
    """
    keep = view.allowed(filters)
    candidates = view.count if keep is None else int(keep.sum())
    hits: list[list[Hit]] = [[] for _ in queries]
    if not candidates:
        return hits
    k = min(candidates, top if keep_overlaps else 4 * top + 16)
    waiting = np.arange(len(queries))
    while len(waiting):
        deeper: list[int] = []
        step = max(1, _MAX_RANKED // k)
        for part in (waiting[i : i + step] for i in range(0, len(waiting), step)):
            rows, scores = ranker.rank(queries[part], k, keep, exact)
            tiles = np.unique(rows[rows >= 0])
            columns = view.columns(tiles)
            kept = rows >= 0
            if not keep_overlaps:
                kept = _distinct(view, rows, tiles, columns, top)
            done = (kept.sum(axis=1) >= top) | (k >= candidates)
            deeper.extend(part[~done].tolist())
            kept[~done] = False
            _fill(hits, part, view, rows, scores, kept, tiles, columns)
        waiting = np.array(deeper, np.int64)
        k = min(candidates, 4 * k)
    return hits


def nearest(view: Snapshot, lat: float, lon: float) -> tuple[Vectors, float] | None:
    """The vector (dim,) of the tile whose centre is nearest to a point, and metres to it.

    Reads the tables of the tiles that may be the nearest: a search that widens until it finds some.
    """
    metres = 1_000.0
    while view.count:
        keep = view.allowed(Filters(near=(lat, lon, metres)))
        rows = np.flatnonzero(keep) if keep is not None else np.empty(0, np.int64)
        if len(rows):
            columns = view.columns(rows)
            away = geodesic(columns.lon, columns.lat, lat, lon)
            best = int(np.argmin(away))
            return view.take(rows[best : best + 1])[0], float(away[best])
        if metres > HALFWAY_ROUND:
            break
        metres *= 8
    return None


def _distinct(view: Snapshot, rows: Ints, tiles: Ints, columns: TileColumns, top: int) -> Mask:
    shapes, known = np.empty(len(tiles), object), np.zeros(len(tiles), bool)

    def footprints(wanted: Ints) -> npt.NDArray[np.object_]:
        new = np.unique(wanted[~known[wanted]])
        if len(new):
            shapes[new] = areas(view.geometry(tiles[new]), columns.lon[new])
            known[new] = True
        return shapes[wanted]

    tile = np.where(rows >= 0, np.searchsorted(tiles, rows), -1)
    source = view.segment_source[view.segment_of(tiles)]
    return distinct(tile, columns, source, footprints, top)


def _fill(
    hits: list[list[Hit]],
    part: Ints,
    view: Snapshot,
    rows: Ints,
    scores: Vectors,
    kept: Mask,
    tiles: Ints,
    columns: TileColumns,
) -> None:
    """Append the kept ranks (in order) to the hits of their queries, `part`."""
    query, rank = np.nonzero(kept)
    tile = np.searchsorted(tiles, rows[query, rank])
    shown = np.unique(tile)
    wkbs = view.geometry(tiles[shown])
    vector_of = dict(zip(shown.tolist(), view.take(tiles[shown]), strict=True))
    lons, lats = columns.lon.tolist(), columns.lat.tolist()
    stored = {t: pieces(wkb) for t, wkb in zip(shown.tolist(), wkbs, strict=True)}
    paths = [source.path for source in view.manifest.sources]
    source_of = view.segment_source[view.segment_of(tiles)]
    for q, t, score in zip(part[query].tolist(), tile.tolist(), scores[kept].tolist(), strict=True):
        west, south, east, north = columns.bbox[t].tolist()
        column, row, width, height = columns.window[t].tolist()
        hits[q].append(
            Hit(
                rank=len(hits[q]) + 1,
                score=score,
                lon=lons[t],
                lat=lats[t],
                bbox=(west, south, east, north),
                source=paths[source_of[t]],
                window=(column, row, width, height),
                footprint=stored[t],
                vector=vector_of[t],
            )
        )
