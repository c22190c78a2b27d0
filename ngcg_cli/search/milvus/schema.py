"""The rows of tiles in Milvus: what a collection of them looks like, and a tile as one row."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import numpy as np

from ngcg_cli.search.blocks import Block
from ngcg_cli.search.milvus.engine import Engine, Row
from ngcg_cli.search.records import SourceRecord
from ngcg_cli.search.vectors import Vectors

# Characters of a footprint as base64: Milvus takes texts of 65,535 bytes.
MOST_FOOTPRINT = 65_535
TYPES = {
    "id": "VARCHAR",
    "part": "INT64",
    "row": "INT64",
    "lon": "DOUBLE",
    "lat": "DOUBLE",
    "bbox": "ARRAY",
    "window": "ARRAY",
    "footprint": "VARCHAR",
}


def row(block: Block, vectors: Vectors, part: int, at: int, first: int) -> Row:
    """The tile at position `at` of a block, as a row of a part that begins at `first`."""
    tiles = block.tiles
    return {
        "id": _key(block.source, np.asarray(tiles.window[at]).tolist(), part),
        "part": part,
        "row": at - first,
        "lon": float(tiles.lon[at]),
        "lat": float(tiles.lat[at]),
        "bbox": [float(edge) for edge in tiles.bbox[at]],
        "window": [int(number) for number in tiles.window[at]],
        "footprint": base64.b64encode(tiles.geometry[at]).decode(),
        "vector": vectors[at],
    }


def _key(source: SourceRecord, window: Sequence[int], part: int) -> str:
    """A tile's key: the same however often the same step writes it, so that it is there once.

    The part's number is in it because tiles of a source that is made anew must not replace those
    that count until then; a step that was interrupted and is done again gives the same numbers.
    """
    facts = (source.path, source.tile, source.overlap, source.min_valid, *window, part)
    told = "\0".join(map(str, facts)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(told, digest_size=16).hexdigest()


def types(dim: int) -> dict[str, str]:
    """Field -> type of a collection of tiles with vectors of `dim` numbers."""
    return {**TYPES, "vector": f"FLOAT_VECTOR({dim})"}


def index_params(engine: Engine) -> Row:
    """Flat in this process; on a server, which may hold very many, a graph (HNSW)."""
    if engine.embedded:
        return {"index_type": "FLAT", "metric_type": "IP"}
    params = {"M": 16, "efConstruction": 200}
    return {"index_type": "HNSW", "metric_type": "IP", "params": params}


def fields(dim: int) -> list[Row]:
    """The fields of such a collection, as `Engine.create` takes them."""
    return [
        {"field_name": "id", "datatype": "VARCHAR", "max_length": 32, "is_primary": True},
        {"field_name": "part", "datatype": "INT64"},
        {"field_name": "row", "datatype": "INT64"},
        {"field_name": "lon", "datatype": "DOUBLE"},
        {"field_name": "lat", "datatype": "DOUBLE"},
        _array("bbox", "DOUBLE"),
        _array("window", "INT64"),
        {"field_name": "footprint", "datatype": "VARCHAR", "max_length": MOST_FOOTPRINT},
        {"field_name": "vector", "datatype": "FLOAT_VECTOR", "dim": dim},
    ]


def _array(name: str, kind: str) -> Row:
    return {"field_name": name, "datatype": "ARRAY", "element_type": kind, "max_capacity": 4}
