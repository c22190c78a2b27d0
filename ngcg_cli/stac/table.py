"""A table of STAC items: stac-geoparquet, a row an item, `assets` a column of structs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ngcg_cli.errors import NgcgError, RasterError
from ngcg_cli.stac.items import Item, made

MAX_ROWS = 1_000_000
# Bytes of the columns that are read, unpacked.
MAX_BYTES = 4 * 2**30
_ROWS = 512
_WANTED = ("id", "datetime", "start_datetime", "end_datetime", "updated", "assets")


def items_of_table(address: str, data: bytes | None) -> Iterator[Item | tuple[str, NgcgError]]:
    """The items of a table, and of those that make no sense where they stand and why.

    Args:
        address: of the table; hrefs start from there.
        data: its bytes; None where it is a file.

    Raises:
        RasterError: it is damaged, too large, or no table of items.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(address if data is None else pa.BufferReader(data))
        schema, facts = file.schema_arrow, file.metadata
        _check(address, schema, facts)
        columns = [name for name in _WANTED if name in schema.names]
        for batch in file.iter_batches(_ROWS, columns=columns):
            for row in _rows(batch):
                try:
                    yield _item(row, address)
                except NgcgError as error:
                    yield f"{address}#{str(row.get('id'))[:200]}", error
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise RasterError(
            f"is no sound Parquet: {' '.join(str(error).split())[:200]}",
            where=address,
            hint="Write it anew.",
        ) from error


def _check(address: str, schema: Any, facts: Any) -> None:
    import pyarrow as pa

    if "id" not in schema.names or "assets" not in schema.names:
        raise RasterError(
            "is Parquet, but no table of STAC items: it lacks the columns id and assets",
            where=address,
            hint="Give stac-geoparquet, or a raster.",
        )
    if not pa.types.is_struct(schema.field("assets").type):
        raise RasterError(
            f"its column assets is {str(schema.field('assets').type)[:40]}, not a struct",
            where=address,
            hint="Give stac-geoparquet.",
        )
    size = sum(
        group.column(at).total_uncompressed_size
        for group in map(facts.row_group, range(facts.num_row_groups))
        for at in range(group.num_columns)
        if group.column(at).path_in_schema.split(".")[0] in _WANTED
    )
    if facts.num_rows > MAX_ROWS or size > MAX_BYTES:
        raise RasterError(
            f"has {facts.num_rows:,} items in {size / 2**20:,.0f} MiB; {MAX_ROWS:,} in "
            f"{MAX_BYTES // 2**20:,} MiB are read",
            where=address,
            hint="Give a part of it.",
        )


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows as Python has them; times to the microsecond, which Python's own are."""
    import pyarrow as pa

    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        columns[name] = column.to_pylist()
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _item(row: dict[str, Any], address: str) -> Item:
    try:
        when = (_moment(row.get(name)) for name in ("datetime", "start_datetime", "end_datetime"))
        at, start, end = when
        return made(
            row["id"], address, False, (at, start, end), row.get("updated"), row["assets"] or {}
        )
    except (ValueError, TypeError, OverflowError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RasterError(f"is no valid STAC item: {reason[:200]}", where=address) from error


def _moment(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value))
