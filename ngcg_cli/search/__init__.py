"""The tile index on disk: add and remove sources, search their tiles (docs/index-format.md)."""

from ngcg_cli.search.blocks import Block
from ngcg_cli.search.filters import Filters
from ngcg_cli.search.hits import Hit
from ngcg_cli.search.index import TileIndex
from ngcg_cli.search.records import ModelStamp, SourceRecord
from ngcg_cli.search.tiles import TileTable

__all__ = ["Block", "Filters", "Hit", "ModelStamp", "SourceRecord", "TileIndex", "TileTable"]
