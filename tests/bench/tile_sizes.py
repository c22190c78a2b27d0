"""Recall against the size of a tile: indexes one region again and again, cut differently.

    python tests/bench/tile_sizes.py REGION.tif REGION.jsonl OUT [--tiles 75m,100m,150m]

For each size and overlap `ngcg index` and `ngcg eval --protocol places` are run. A large tile holds
a place by chance more often, so the chance of ten random tiles stands beside R@10, and the share of
first hits whose centre lies within 50, 100 and 150 m of the truth tells how near one gets. OUT gets
tile_sizes.json and tile_sizes.png; sizes that are done are not done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

NGCG = [sys.executable, "-m", "ngcg_cli"]


def main(
    region: Annotated[Path, typer.Argument()],
    captions: Annotated[Path, typer.Argument()],
    out: Annotated[Path, typer.Argument()],
    tiles: Annotated[str, typer.Option()] = "75m,100m,125m,150m,200m,300m",
    overlaps: Annotated[str, typer.Option()] = "0.25,0.5",
    model: Annotated[str, typer.Option()] = "tiny",
) -> None:
    """Measure, print a JSON line a size, and plot."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "tile_sizes.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    done = {(row["tile"], row["overlap"]) for row in rows}
    for overlap in map(float, overlaps.split(",")):
        for tile in tiles.split(","):
            if (tile, overlap) not in done:
                rows.append(_measure(region, captions, out, tile, overlap, model))
                kept.write_text(json.dumps(rows, indent=1))
                print(json.dumps(rows[-1]), flush=True)
    _plot(rows, out / "tile_sizes.png")


def _measure(
    region: Path, captions: Path, out: Path, tile: str, overlap: float, model: str
) -> dict[str, Any]:
    index = ["--index", str(out / f"index-{tile}-{overlap:g}")]
    cut = ["--tile", tile, "--overlap", str(overlap), "--model", model]
    made = run_ngcg("index", str(region), *index, *cut, "--json", "-q")
    found = run_ngcg("eval", str(captions), "--protocol", "places", *index, "--json", "-q")
    return {
        "tile": tile,
        "overlap": overlap,
        "tiles": made["tiles"],
        "chance_R@10": round(100 * 10 / made["tiles"] / (1 - overlap) ** 2, 2),
        **found,
    }


def run_ngcg(*args: str) -> dict[str, Any]:
    done = subprocess.run([*NGCG, *args], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
    for overlap, style in zip(sorted({row["overlap"] for row in rows}), "-:", strict=False):
        own = sorted((r for r in rows if r["overlap"] == overlap), key=lambda r: _metres(r["tile"]))
        metres = [_metres(row["tile"]) for row in own]
        for axis, key, colour in (
            (axes[0], "R@10", "C0"),
            (axes[0], "R@1", "C2"),
            (axes[0], "chance_R@10", "0.6"),
            (axes[1], "L@50", "C2"),
            (axes[1], "L@100", "C0"),
            (axes[1], "L@150", "C1"),
        ):
            label = f"{key.replace('_', ' ')}, overlap {overlap:g}"
            axis.plot(metres, [row[key] for row in own], style, marker="o", ms=3, color=colour,
                      label=label)  # fmt: skip
    for axis in axes:
        axis.set_xlabel("tile side, m")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("% of captions")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _metres(tile: str) -> float:
    return 100.0 if tile == "auto" else float(tile.removesuffix("m"))


if __name__ == "__main__":
    typer.run(main)
