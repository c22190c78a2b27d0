"""The tile index: add and remove sources, search their tiles (docs/index-format.md).

`Store` is what commands and journeys need of one, `open_index` and its like find it by its name.
"""

from ngcg_cli.search.blocks import Block
from ngcg_cli.search.filters import Filters
from ngcg_cli.search.hits import Hit
from ngcg_cli.search.index import TileIndex
from ngcg_cli.search.records import ModelStamp, SourceRecord
from ngcg_cli.search.store import Store, create_index, index_exists, open_index
from ngcg_cli.search.tiles import TileTable

__all__ = [
    "Block",
    "Filters",
    "Hit",
    "ModelStamp",
    "SourceRecord",
    "Store",
    "TileIndex",
    "TileTable",
    "create_index",
    "index_exists",
    "open_index",
]
