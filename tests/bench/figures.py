"""Writes the tables of docs/performance.md from the JSON files that `figures.sh` has left.

    python tests/bench/figures.py OUT [--page docs/performance.md]

A table stands between `<!-- figures: NAME -->` and `<!-- end of figures -->` on the page, and is
made of OUT/NAME.json. Where that file is missing or empty, its table stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_PLACE = re.compile(r"(<!-- figures: (\w+) -->\n).*?(\n<!-- end of figures -->)", re.DOTALL)


def main() -> None:
    """Fill in what there is; name what there is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    page = args.page.read_text("utf-8")
    args.page.write_text(filled(page, args.out), "utf-8")


def filled(page: str, out: Path) -> str:
    """The page with the tables that `out` has figures for."""

    def table(found: re.Match[str]) -> str:
        path = out / f"{found[2]}.json"
        if not path.is_file() or not path.stat().st_size:
            print(f"{path} is not there: its table stays", file=sys.stderr)
            return found[0]
        return found[1] + TABLES[found[2]](path) + found[3]

    return _PLACE.sub(table, page)


def _start(path: Path) -> str:
    told = json.loads(path.read_text("utf-8"))
    seconds, ratios = told["cpu_seconds"], told["ratio_to_import"]
    names = {
        "query": '`ngcg query "a harbour" -k 3 --format jsonl`',
        "query, 1,000 lines": "`ngcg query -`, 1,000 lines",
        "models": "`ngcg models`",
        "--help": "`ngcg --help`",
        "import torch, transformers": "the baseline",
    }
    rows = ((text, f"{seconds[name]:.2f}", f"{ratios[name]:.2f}") for name, text in names.items())
    return _table(("command", "processor seconds", "to the baseline"), rows)


def _index(path: Path) -> str:
    told = json.loads(path.read_text("utf-8"))
    names = {
        "index": "`ngcg index`: read, resized, embedded, committed",
        "int8": "`ngcg index --precision int8`",
        "graph": "loop over the exported image graph",
        "torch": "loop in torch",
    }
    kind = "ratios_clock" if told.get("clock") else "ratios_cpu"
    rows = []
    for name, text in names.items():
        cpu = statistics.median(entry["cpu_ms"][name] for entry in told["rounds"])
        ratios = [entry[kind].get(name, 1.0) for entry in told["rounds"]]
        rows.append((text, f"{cpu:.1f}", f"{statistics.median(ratios):.2f}"))
    return _table(("", "processor ms a tile", "speed of `index` to it"), rows)


def _memory(path: Path) -> str:
    told = json.loads(path.read_text("utf-8"))
    names = {
        "small": "512 x 512 pixels",
        "sparse": f"{told['sparse_side']:,} a side, without data",
        "dense": f"{told['dense_side']:,} a side, dense",
    }
    rows = (
        (text, f"{told[name]['tiles']:,}", f"{told[name]['peak_mib']:.0f}",
         f"{told[name]['peak_mib'] / told['small']['peak_mib']:.2f}")
        for name, text in names.items()
    )  # fmt: skip
    return _table(("raster", "tiles", "peak, MiB", "to the small one"), rows)


def _precision(path: Path) -> str:
    told = json.loads(path.read_text("utf-8"))
    ways = ("float32", "int8", "bfloat16")
    lines: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("processor ms an image", lambda way: f"{way['image']['cpu_ms']:.1f}"),
        ("speed, images", lambda way: f"{way['image']['speed_to_float32']:.2f}"),
        ("speed, sentences", lambda way: f"{way['text']['speed_to_float32']:.2f}"),
        ("MB that are read", lambda way: str(way.get("megabytes", ""))),
        ("cosine, images: mean, least", lambda way: _cosines(way["image"])),
        ("cosine, sentences: mean, least", lambda way: _cosines(way["text"])),
    ]
    rows = [(text, *(tell(told[way]) for way in ways)) for text, tell in lines]
    recalls = {way: path.with_name(f"recall-{way}.json") for way in ways}
    found = {way: json.loads(file.read_text("utf-8")) for way, file in recalls.items()
             if file.is_file() and file.stat().st_size}  # fmt: skip
    for side in ("text_to_image", "image_to_text") if found else ():
        for name in ("R@1", "R@5", "R@10"):
            cells = (
                f"{found[way][side][name]:.2f} ({_between(found[way]['ci'][side][name])})"
                if way in found
                else ""
                for way in ways
            )
            rows.append((f"{side.replace('_', ' ')} {name}", *cells))
    return _table(("", *ways), rows)


def _cosines(figures: dict[str, float]) -> str:
    return f"{figures['cosine_mean']:.3f}, {figures['cosine_least']:.3f}"


def _between(interval: list[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _gpu(path: Path) -> str:
    told = json.loads(path.read_text("utf-8"))
    names = {
        "encode": "`Encoder.encode_images`",
        "loop": "bare loop, batches on the device already",
        "compiled": "the same under `torch.compile`",
        "reference": "the method's reference way",
    }
    rows = [
        (text, f"{told['images_per_second'][name]:.0f}",
         f"{told.get(f'encode_to_{name}', 1.0):.2f}")
        for name, text in names.items()
        if name in told["images_per_second"]
    ]  # fmt: skip
    return _table(
        (f"{told['size']}, on {told['on']}", "images a second", "speed of encode to it"), rows
    )


def _search(path: Path) -> str:
    from search_report import tables

    return tables(json.loads(path.read_text("utf-8"))["rows"]).strip()


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---", *["---:"] * (len(heads) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "start": _start,
    "index": _index,
    "memory": _memory,
    "precision": _precision,
    "gpu": _gpu,
    "search": _search,
}

if __name__ == "__main__":
    main()
