"""Several indexes into one, where one of them is no folder: block by block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ngcg_cli.errors import TileIndexError, UsageError
from ngcg_cli.search.blocks import Block
from ngcg_cli.search.files import PARTIAL, flush_folder, unwritable
from ngcg_cli.search.merge import MergeReport, check_models, choose
from ngcg_cli.search.milvus.name import is_milvus, parse
from ngcg_cli.search.records import SourceRecord
from ngcg_cli.search.store import Store, create_index, index_exists, open_index


def transfer(names: Sequence[str], out: str) -> MergeReport:
    """Join indexes of one model, in folders or in Milvus; they stay as they are.

    A new folder appears whole or not at all. In Milvus a source counts once it is whole; what an
    interruption left out, or half done, the next run finishes: what is there already stays.

    Raises:
        TileIndexError: no index, indexes of different models, or `out` cannot be written.
        UsageError: an index is named twice.
    """
    places = [_place(name) for name in (*names, out)]
    if len(set(places)) < len(places):
        raise UsageError("an index is named twice", hint="Name each index once.")
    taken = not is_milvus(out) and os.path.lexists(out)
    if taken and (not os.path.isdir(out) or os.listdir(out)):
        raise TileIndexError(
            "is there already", where=out, hint="Give --out a folder that is not there yet."
        )
    indexes = [open_index(name) for name in names]
    for index in indexes[1:]:
        check_models(indexes[0], index)
    model = indexes[0].model
    report = MergeReport(out, model.name, model.dim)
    chosen = choose(indexes, report)
    if is_milvus(out):
        store = open_index(out) if index_exists(out) else create_index(out, model)
        check_models(indexes[0], store)
        _fill(store, indexes, chosen)
    else:
        store = _new_folder(Path(out), indexes, chosen)
    report.tiles, report.sources = store.tile_count, len(store.sources())
    return report


def _place(name: str) -> str:
    return parse(name).whole if is_milvus(name) else os.path.realpath(name)


def _new_folder(out: Path, indexes: list[Store], chosen: list[tuple[int, SourceRecord]]) -> Store:
    work = out.with_name(f"{PARTIAL}{out.name}")
    try:
        shutil.rmtree(work, ignore_errors=True)  # left by one that was killed
        try:
            store = create_index(work, indexes[0].model)
            _fill(store, indexes, chosen)
            work.replace(out)  # onto an empty folder, too
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        flush_folder(out.parent)
    except OSError as error:
        raise unwritable(out, error) from error
    return open_index(out)


def _fill(store: Store, indexes: list[Store], chosen: list[tuple[int, SourceRecord]]) -> None:
    """Put the chosen sources into a store, but for those that it holds as they are."""
    with store.writing():
        held = {source.path: _facts(source) for source in store.sources()}
        for number, index in enumerate(indexes):
            wanted = {
                source.path
                for at, source in chosen
                if at == number and held.get(source.path) != _facts(source)
            }
            if wanted:
                for block in _unfinished(index.blocks()):
                    if block.source.path in wanted:
                        store.commit([block])
        store.refresh_graph()


def _unfinished(blocks: Iterator[Block]) -> Iterator[Block]:
    """Each block's source is told as incomplete until the last of it, so that none ends halfway."""
    last = next(blocks, None)
    for block in blocks:
        if last is not None:
            more = block.source.path == last.source.path and not block.fresh
            begun = replace(last.source, complete=False, done=0)
            yield replace(last, source=begun) if more else last
        last = block
    if last is not None:
        yield last


def _facts(source: SourceRecord) -> SourceRecord:
    return replace(source, segments=())
