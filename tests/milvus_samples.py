"""What the tests of Milvus share: blocks, and what is held."""

from tile_samples import row_of_tiles, source, unit

from ngcg_cli.search import Block, Store


def block(path: str, count: int = 3, fresh: bool = True, **facts: object) -> Block:
    return Block(
        source(path, **facts), row_of_tiles(count), unit(count, seed=sum(map(ord, path))), fresh
    )


def held(store: Store) -> dict[str, int]:
    return {record.path: record.tiles for record in store.sources()}


def rows(store: Store) -> int:
    inside = store._engine  # type: ignore[attr-defined]
    return int(inside.count(inside.place.collection, "part >= 0"))
