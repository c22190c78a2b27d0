"""The JSON API, described as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from ngcg_cli import __version__

MAX_TEXT = 1000
MAX_HITS = 200

_BOX = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
_HIT = {
    "type": "object",
    "required": ["query", "rank", "score", "lon", "lat", "bbox", "source", "window"],
    "properties": {
        "query": {"type": "string"},
        "rank": {"type": "integer", "minimum": 1},
        "score": {"type": "number", "description": "cosine similarity"},
        "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "lon": {"type": "number"},
        "lat": {"type": "number"},
        "bbox": {**_BOX, "description": "west, south, east, north"},
        "tile_m": {"type": ["number", "null"], "description": "side of the tile, metres"},
        "source": {"type": "string"},
        "window": {
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 4,
            "maxItems": 4,
            "description": "column, row, width, height in pixels of the source",
        },
    },
}
_COLLECTION = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "geometry", "properties"],
                "properties": {
                    "type": {"const": "Feature"},
                    "bbox": _BOX,
                    "geometry": {"type": "object"},
                    "properties": _HIT,
                },
            },
        },
    },
}
_SOURCE = {
    "type": "object",
    "properties": {
        "number": {"type": "integer"},
        "path": {"type": "string"},
        "tiles": {"type": "integer"},
        "bbox": {"oneOf": [_BOX, {"type": "null"}]},
    },
}
_INFO = {
    "type": "object",
    "properties": {
        "index": {"type": "string"},
        "model": {"type": "string"},
        "dim": {"type": "integer"},
        "tiles": {"type": "integer"},
        "bbox": {"oneOf": [_BOX, {"type": "null"}]},
        "revision": {"type": "integer"},
        "sources": {"type": "array", "items": _SOURCE},
    },
}


def described() -> dict[str, Any]:
    """What `GET /openapi.json` answers."""
    question = [
        _parameter("q", {"type": "string", "maxLength": MAX_TEXT}, "what to look for"),
        _parameter("k", {"type": "integer", "minimum": 1, "maximum": MAX_HITS, "default": 10},
                   "hits at most"),
        _steering("add", "TEXT or N:TEXT to add to the question, with a weight of N"),
        _steering("subtract", "TEXT or N:TEXT to be away from"),
        _steering("like", "LAT,LON or N:LAT,LON: like the indexed tile there"),
        _steering("unlike", "LAT,LON or N:LAT,LON: unlike the indexed tile there"),
        _parameter("bbox", {"type": "string"}, "W,S,E,N in degrees: only tiles centred there"),
        _parameter("near", {"type": "string"}, "LAT,LON in degrees; needs within"),
        _parameter("within", {"type": "number"}, "metres from near"),
    ]  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "ngcg", "version": __version__},
        "paths": {
            "/api/query": {
                "get": {
                    "summary": "Ranked places, as `ngcg query --format geojson`",
                    "description": "`q`, or a part that steers, has to be given.",
                    "parameters": question,
                    "responses": _responses("application/geo+json", _COLLECTION),
                }
            },
            "/api/info": {
                "get": {
                    "summary": "What the index holds",
                    "responses": _responses("application/json", _INFO),
                }
            },
        },
    }


def _parameter(
    name: str, schema: dict[str, Any], description: str, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema,
    }


def _steering(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "array", "items": {"type": "string", "maxLength": MAX_TEXT}}
    return {**_parameter(name, schema, description), "style": "form", "explode": True}


def _responses(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    error = {"type": "object", "properties": {"error": {"type": "string"}}}
    trouble = {"application/json": {"schema": error}}
    return {
        "200": {"description": "done", "content": {kind: {"schema": schema}}},
        "400": {"description": "a parameter makes no sense", "content": trouble},
        "503": {"description": "too many questions wait", "content": trouble},
    }
