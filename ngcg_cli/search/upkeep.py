"""Keeping the graph up with the vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ngcg_cli.search import graph
from ngcg_cli.search.format import Manifest
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.records import GraphRecord, file_name
from ngcg_cli.search.snapshot import Snapshot
from ngcg_cli.search.vectors import BLOCK_ROWS


def with_graph(
    view: Snapshot,
    progress: Callable[[int], object] | None = None,
    ready: Callable[[], object] | None = None,
) -> Manifest:
    """Build, extend, rebuild or drop the graph of a state.

    Args:
        view: the state; only the index's writer may call this.
        progress: called with the number of vectors just added, now and then.
        ready: called before the graph's file is put in its place; what it raises ends it.

    Returns:
        The manifest to be committed; the state's own when there is nothing to do.
    """
    manifest, record = view.manifest, view.manifest.graph
    if view.count < graph.MIN_TILES:
        return replace(manifest, graph=None) if record else manifest
    held = record.segments if record and _worth_keeping(view, record) else ()
    new = [s for s in view.segments if (s.name, s.tiles) not in set(held)]
    if record and held and not new and Graph.sound(view.folder, record):
        return manifest
    room = sum(tiles for _, tiles in held) + sum(segment.tiles for segment in new)
    tree = Graph.load(view.folder, record, room) if record and held else None
    if not tree:
        tree, held, new = Graph.empty(view.dim, view.count), (), view.segments
    for segment in new:
        vectors = view.vectors(segment)
        steps = range(0, segment.tiles, BLOCK_ROWS)
        tree.add((vectors[i : i + BLOCK_ROWS] for i in steps), progress)
    name = file_name(manifest.next_name)
    written = GraphRecord(
        name=name,
        dim=view.dim,
        count=tree.count,
        segments=(*held, *((segment.name, segment.tiles) for segment in new)),
        file=tree.save(view.folder, f"graph/{name}.hnsw", ready),
    )
    tree.drop(np.flatnonzero(view.rows_of(written) < 0))
    rows = np.random.default_rng(0).permutation(view.count)[: 3 * graph.PROBES]
    probes = graph.probes_between(view.take(rows))
    written = replace(written, ef=graph.breadth(tree, probes, view.blocks))
    return replace(manifest, graph=written, next_name=manifest.next_name + 1)


def _worth_keeping(view: Snapshot, record: GraphRecord) -> bool:
    """Whether enough of a graph still belongs to the index."""
    dead = int((view.rows_of(record) < 0).sum())
    return record.dim == view.dim and dead <= graph.MAX_DEAD * record.count
