"""Keeping the graph up with the vectors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ngcg_cli.search import graph
from ngcg_cli.search.format import Manifest, file_name
from ngcg_cli.search.graph import Graph
from ngcg_cli.search.records import GraphRecord, SegmentRecord, Tuning
from ngcg_cli.search.snapshot import Snapshot
from ngcg_cli.search.vectors import BLOCK_ROWS


def with_graph(view: Snapshot, progress: Callable[[int], object] | None = None) -> Manifest:
    """Build, extend, rebuild or drop the graph of a state, and measure what it costs.

    Args:
        view: the state; only the index's writer may call this.
        progress: called with the number of vectors just added, now and then.

    Returns:
        The manifest to be committed; the state's own when there is nothing to do.
    """
    manifest, folder = view.manifest, view.folder
    record = manifest.graph
    if view.count < graph.MIN_TILES:
        return replace(manifest, graph=None) if record else manifest
    live = {segment.name: segment for segment in view.segments}
    tree: Graph | None = None
    held: tuple[tuple[str, int], ...] = ()
    new: list[SegmentRecord] = []
    if record and record.dim == manifest.model.dim:
        dead = sum(tiles for name, tiles in record.segments if name not in live)
        held = record.segments
        in_graph = set(held)
        new = [segment for name, segment in live.items() if (name, segment.tiles) not in in_graph]
        fresh = not new and dead <= graph.MAX_DEAD * record.count and record.tuning is not None
        if (fresh or _useless(view, record)) and Graph.sound(folder, record):
            return manifest
        if dead <= graph.MAX_DEAD * record.count:
            room = record.count + sum(segment.tiles for segment in new)
            tree = Graph.load(folder, record, room_for=room)
        if tree and not new:
            return replace(manifest, graph=_tuned(view, record, None))
    before = record.tuning if record and tree else None
    if not tree:
        tree, held, new = Graph.empty(manifest.model.dim, view.count), (), view.segments
    for segment in new:
        vectors = view.vectors(segment)
        steps = range(0, segment.tiles, BLOCK_ROWS)
        tree.add((vectors[i : i + BLOCK_ROWS] for i in steps), progress)
    segments = (*held, *((segment.name, segment.tiles) for segment in new))
    name = file_name(manifest.next_name)
    file = tree.save(folder, f"graph/{name}.hnsw")
    written = GraphRecord(name, manifest.model.dim, tree.count, segments, file)
    del tree  # measuring loads it anew: once in memory is enough
    written = _tuned(view, written, before)
    return replace(manifest, graph=written, next_name=manifest.next_name + 1)


def _useless(view: Snapshot, record: GraphRecord) -> bool:
    """Whether the graph was measured to be of no use for an index of about this size.

    Then work on it would be wasted at every run: it is left as it is, until the index has become
    so much larger or smaller that the measurement may turn out otherwise.
    """
    tuning = record.tuning
    if not tuning or tuning.ef is not None:
        return False
    return 1 / graph.RETRY < view.count / tuning.count < graph.RETRY


def _tuned(view: Snapshot, record: GraphRecord, before: Tuning | None) -> GraphRecord:
    """The record with what its graph needs and costs; measured, unless it has hardly grown."""
    if before and record.count <= (1 + graph.MAX_GROWTH) * before.count:
        return replace(record, tuning=before)
    began = time.process_time()
    tree = Graph.load(view.folder, record)
    if not tree:
        return record
    load = time.process_time() - began
    tree.drop(np.flatnonzero(view.rows_of(record) < 0))
    rows = np.random.default_rng(0).permutation(view.count)[: 3 * graph.PROBES]
    probes = graph.probes_between(view.take(rows))
    return replace(record, tuning=graph.tune(tree, probes, view.blocks, load))
