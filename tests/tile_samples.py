"""What the tests of indexes share: tiles, vectors and sources made on the spot."""

import numpy as np
import shapely

from ngcg_cli.search import Hit, ModelStamp, SourceRecord, TileTable

DIM = 16


MODEL = ModelStamp("tiny", "a" * 64, DIM)


def unit(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def source(path: str = "a.tif", **other: object) -> SourceRecord:
    defaults = {"size": 10, "mtime_ns": 20, "tile": "100px", "overlap": 0.0, "min_valid": 0.5}
    return SourceRecord(path=path, **{**defaults, **other})


def row_of_tiles(count: int, west: float = 10.0, south: float = 50.0, step: int = 100) -> TileTable:
    """Tiles of 100 px = 0.001 degrees, from west to east, `step` px apart."""
    left = west + np.arange(count) * step * 1e-5
    bbox = np.column_stack(
        [left, np.full(count, south), left + 0.001, np.full(count, south + 0.001)]
    )
    window = np.array([[i * step, 0, 100, 100] for i in range(count)], np.int64).reshape(-1, 4)
    return TileTable(
        lon=left + 0.0005,
        lat=np.full(count, south + 0.0005),
        bbox=bbox,
        window=window,
        geometry=[shapely.to_wkb(shapely.box(*edges)) for edges in bbox],
    )


def tile_at(polygon: shapely.Geometry, lon: float, lat: float, bbox: tuple) -> TileTable:
    return TileTable(
        lon=np.array([lon]),
        lat=np.array([lat]),
        bbox=np.array([bbox]),
        window=np.array([[0, 0, 100, 100]]),
        geometry=[shapely.to_wkb(polygon)],
    )


def ranked(count: int) -> np.ndarray:
    """Vectors that the first axis ranks in order, best first."""
    angle = np.linspace(0, 1, count)
    vectors = np.zeros((count, DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
    return vectors


ASKED = np.eye(1, DIM, dtype=np.float32)


def places(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.source, hit.window[0]) for hit in hits]
