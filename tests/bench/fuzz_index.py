"""Fuzzes the reading of an index: a damaged or crafted one must be read or refused, never more.

    python tests/bench/fuzz_index.py --inputs 100000 --seed 1

Each input is a small index (with a graph) of which something was changed: bytes of any of its
files, values of the manifest, columns and footprints of a table, headers of vectors, links of the
graph; mostly with the checksums made to fit, as a stranger would. A child with bounded memory opens
it, describes it, searches it every way, reads it back, and in part writes to it. A finding is
anything but success or an error of ngcg's own: a crash, a hang, another exception, a hit that is no
place, or a file outside of the index that was touched. Inputs that lead to one are named by number,
and `--only N` repeats one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

sys.path.insert(0, str(Path(__file__).parents[1]))

from index_edits import manifest_of, record, rewrite
from tile_samples import row_of_tiles, source, tile_at, unit

from ngcg_cli.errors import NgcgError
from ngcg_cli.search import Filters, ModelStamp, TileIndex, graph, ranker

DIM = 8
SECONDS = 10
MEMORY = 4 << 30
ODD: list[Any] = [
    0, 1, -1, 2**31, 2**32 - 1, 2**53, 2**63, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "000001", "../../etc/passwd", "\ud800", "\x1b[2J", "/dev/zero", None, True, [], {},
    [[]], [0] * 1000, "2024", "a" * 5000,
]  # fmt: skip
FILTERS = [
    Filters(),
    Filters(bbox=(9, 49, 11, 51)),
    Filters(near=(50.0, 10.0, 5000.0)),
    Filters(areas=(shapely.box(170, -1, 190, 1),)),
    Filters(source="*.tif", after="2020"),
]


def make(folder: Path) -> None:
    """The sound index that all inputs begin as."""
    index = TileIndex.create(folder, ModelStamp("tiny", "a" * 64, DIM))
    cut = shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    edge = tile_at(cut, 180, 0.5, (179, 0, -179, 1))
    index.put(source("a.tif", acquired="2024"), row_of_tiles(40), unit(40, dim=DIM))
    index.put(source("b.tif"), row_of_tiles(24, step=30), unit(24, seed=1, dim=DIM))
    index.put(source("c.tif"), edge, unit(1, seed=2, dim=DIM))
    index.refresh_graph()


def damage(random_: random.Random, data: bytes) -> bytes:
    """Some bytes changed, cut off, doubled or put in."""
    new = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 4, 16))):
        at = random_.randrange(len(new)) if new else 0
        way = random_.randrange(6)
        if way == 0 and new:
            new[at] ^= 1 << random_.randrange(8)
        elif way == 1 and new:
            new[at] = random_.randrange(256)
        elif way == 2 and len(new) > 8:
            at = min(at, len(new) - 8)
            odd = random_.choice((0, 1, 255, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            struct.pack_into("<Q", new, at, odd)
        elif way == 3:
            del new[at : at + random_.choice((1, 4, 64, 4096))]
        elif way == 4:
            new[at:at] = new[at : at + random_.choice((1, 4, 64, 4096))]
        else:
            new[at:at] = random_.randbytes(random_.choice((1, 4, 64)))
    return bytes(new)


def change_value(random_: random.Random, data: Any) -> None:
    """Another value somewhere in nested data, or one more, or one less."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if not keys:
            return
        key = random_.choice(keys)
        value = data[key]
        if isinstance(value, dict | list) and value and random_.random() < 0.85:
            data = value
            continue
        way = random_.random()
        if way < 0.1:
            del data[key]
        elif way < 0.15 and isinstance(data, dict):
            data[random_.choice(("extra", "tuning", "ef", "path"))] = random_.choice(ODD)
        elif way < 0.4 and isinstance(value, int | float):
            data[key] = value + random_.choice((-1, 1, 1000, -(2**31), 0.5))
        else:
            data[key] = random_.choice(ODD)
        return


def change_table(random_: random.Random, path: Path) -> None:
    """A column of a table with odd values, of another type or coding; or footprints damaged."""
    table = pq.read_table(path)
    name = random_.choice([*table.column_names, "geometry", "geometry"])
    values = table[name].to_pylist()
    how: dict[str, Any] = {"compression": random_.choice(("snappy", "snappy", "zstd", "none"))}
    if name == "geometry" and random_.random() < 0.8:
        for at in range(len(values)):
            if random_.random() < 0.5:
                values[at] = damage(random_, values[at])
        column = pa.array(values, pa.binary())
    elif random_.random() < 0.7 and not isinstance(values[0], bytes | str):
        odd = random_.choice(
            [None, 0, -1, 1 << 62, 400, *([1e308, np.nan] if name != "row" else [])]
        )
        kind = table[name].type
        values[random_.randrange(len(values))] = odd
        column = pa.array(values, kind, safe=False) if odd is None else pa.array(
            np.array(values, float).astype(kind.to_pandas_dtype(), copy=False), kind
        )  # fmt: skip
    else:
        column = pa.array([random_.choice(("x", "", "y" * 999))] * len(values))
    table = table.set_column(table.column_names.index(name), name, column)
    if random_.random() < 0.2:
        table = table.drop_columns([random_.choice(table.column_names)])
    if random_.random() < 0.2:
        table = pa.concat_tables([table] * 2).slice(0, random_.randrange(2 * len(table)))
    how["row_group_size"] = random_.choice((1, 7, 4096))
    how["use_dictionary"] = random_.random() < 0.5
    pq.write_table(table, path, **how)


def spoil(random_: random.Random, folder: Path) -> str:
    """Changes something in an index; says what."""
    names = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]
    kind = random_.choice(("bytes", "bytes", "manifest", "table", "graph", "vectors", "odd"))
    data = manifest_of(folder)
    at: Any = data["sources"][random_.randrange(3)]["segments"][0]
    changed: tuple[dict[str, Any], str, str] | None = None
    if kind == "manifest":
        for _ in range(random_.choice((1, 1, 2, 5))):
            change_value(random_, data)
        rewrite(folder, data)
    elif kind == "table":
        changed = (at, "table", f"tiles/{at['name']}.parquet")
        change_table(random_, folder / changed[2])
    elif kind == "graph":
        changed = (data["graph"], "file", f"graph/{data['graph']['name']}.hnsw")
        path = folder / changed[2]
        raw = bytearray(path.read_bytes())
        where = random_.randrange(0, 96) if random_.random() < 0.5 else random_.randrange(len(raw))
        struct.pack_into("<B", raw, where, random_.randrange(256))
        path.write_bytes(damage(random_, bytes(raw)) if random_.random() < 0.3 else raw)
    elif kind == "vectors":
        changed = (at, "vectors", f"vectors/{at['name']}.npy")
        raw = (folder / changed[2]).read_bytes()
        cut = random_.choice((128, len(raw)))
        (folder / changed[2]).write_bytes(damage(random_, raw[:cut]) + raw[cut:])
    elif kind == "odd":
        name = random_.choice([*names, "vectors", "tiles", "graph", ".partial-manifest.json"])
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        outside = folder.parent / "outside"
        way = random_.randrange(4)
        if way == 0:
            path.symlink_to(outside / "000001.npy")
        elif way == 1:
            os.mkfifo(path)
        elif way == 2:
            path.symlink_to("/dev/zero")
        else:
            path.symlink_to(outside)
    else:
        name = random_.choice(names)
        (folder / name).write_bytes(damage(random_, (folder / name).read_bytes()))
        for segment in [s for one in data["sources"] for s in one["segments"]]:
            for part, file in (("table", "tiles/{}.parquet"), ("vectors", "vectors/{}.npy")):
                if name == file.format(segment["name"]):
                    changed = (segment, part, name)
        kind = f"bytes of {name.split('/')[0]}"
    if changed and random_.random() < 0.9:
        changed[0][changed[1]] = record(folder, changed[2])
        rewrite(folder, data)
    return kind


def use(random_: random.Random, folder: Path) -> str:
    """Everything that is done with an index; says how far it came."""
    index = TileIndex.open(folder)
    index.describe(check=random_.random() < 0.5)
    for filters in random_.sample(FILTERS, 2):
        for hits in index.search(unit(3, seed=5, dim=DIM), 10, filters):
            for hit in hits:
                assert abs(hit.lon) <= 180
                assert abs(hit.lat) <= 90
                assert np.isfinite(hit.score)
                rings = [ring for polygon in hit.footprint for ring in polygon]
                assert all(np.isfinite(np.array(ring)).all() for ring in rings)
    index.search(unit(2, seed=6, dim=DIM), 10)  # by now by the graph
    index.nearest(50, 10)
    if random_.random() < 0.2:
        sum(len(block.tiles) for block in index.blocks())
    if random_.random() < 0.2:
        index.drop(["b.tif"])
        index.put(source("d.tif"), row_of_tiles(9, west=30), unit(9, seed=3, dim=DIM))
        index.refresh_graph()
        return "written"
    return "read with damage" if index.damaged() else "read"


def work(folder: Path, seed: int, numbers: range, until: float, told: Any) -> None:
    """The child: tries inputs, and says before each which, after it what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # of odd numbers
    sound = folder / "sound"
    outside = folder / "outside"
    keep = {p.name: p.read_bytes() for p in outside.iterdir()}
    for number in numbers:
        if time.monotonic() > until:
            return
        random_ = random.Random(seed * 1_000_000_007 + number)
        place = folder / "index"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound, place)
        kind = spoil(random_, place)
        told.send(("begin", number, kind))
        signal.alarm(SECONDS)
        try:
            outcome = use(random_, place)
        except NgcgError as error:
            outcome = "refused" if "\n" not in str(error) else f"FOUND many lines: {error}"
        except BaseException:
            outcome = f"FOUND {traceback.format_exc(limit=-4)}"
        signal.alarm(0)
        if {p.name: p.read_bytes() for p in outside.iterdir()} != keep:
            outcome = "FOUND a file outside was touched"
        told.send(("end", number, outcome))


def main() -> None:
    """Run children over the inputs until all are done; tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--only", type=int)
    args = parser.parse_args()
    # Graphs for few tiles, loaded at once.
    graph.MIN_TILES, ranker.LOAD_RATE = 30, float("inf")
    ranker.Ranker._pays = _always  # type: ignore[method-assign]
    graph.fit = lambda tree, queries, *_, **__: graph.Fit(56, 1.0, 0.0)
    counts: Counter[tuple[str, str]] = Counter()
    found: list[str] = []
    began = time.monotonic()
    until = began + 60 * args.minutes
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        make(folder / "sound")
        (folder / "outside").mkdir()
        for victim in ("000001.npy", "000001.parquet", "thesis.npy"):
            (folder / "outside" / victim).write_text(victim)
        first, last = (args.only, args.only + 1) if args.only is not None else (0, args.inputs)
        while first < last and time.monotonic() < until:
            reader, writer = multiprocessing.Pipe(duplex=False)
            part = range(first, min(first + 2000, last))
            child = multiprocessing.get_context("fork").Process(
                target=work, args=(folder, args.seed, part, until, writer)
            )
            child.start()
            writer.close()
            kind = "start"
            try:
                while True:
                    what, number, text = reader.recv()
                    if what == "begin":
                        kind = text
                        continue
                    first = number + 1
                    counts[kind, text if not text.startswith("FOUND") else "FOUND"] += 1
                    if text.startswith("FOUND"):
                        found.append(f"{number}: {kind}: {text}")
            except EOFError:
                child.join()
            if child.exitcode:
                found.append(f"{first}: {kind}: ended with {child.exitcode}")
                counts[kind, "FOUND"] += 1
                first += 1
    table: dict[str, dict[str, int]] = {}
    for (kind, outcome), count in sorted(counts.items()):
        table.setdefault(kind, {})[outcome] = count
    told = {"inputs": sum(counts.values()), "findings": len(found), "outcomes": table}
    print(json.dumps({**told, "found": found[:20], "seconds": round(time.monotonic() - began)}))
    sys.exit(bool(found))


def _always(self: Any, record_: Any, queries: int, tiles: int, k: int) -> bool:
    """`Ranker._pays` that loads the graph at its second search, and uses it."""
    if self._graph is None and self._spent:
        self._graph = self._load(record_)
        if self._graph is None:
            self._record = None
    return self._graph is not None and tiles > 0


if __name__ == "__main__":
    main()
