"""What `search_at_size.py` measured, as Markdown tables and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngcg_cli.search import (
    graph,
)


def at_target(row: dict[str, Any], kind: str) -> dict[str, float]:
    """The point of a curve that ngcg uses or, where it uses none, the first that is right enough.

    The last point, where none is.
    """
    curve: list[dict[str, float]] = row["curves"][kind]
    if row["ef"]:
        return next(point for point in curve if point["ef"] == row["ef"])
    return next((point for point in curve if point["recall10"] >= 0.99), curve[-1])


def used(row: dict[str, Any]) -> str:
    """Whether ngcg uses a graph for one query at a time, and why not."""
    if row["size"] < graph.MIN_TILES:
        return "no: few tiles"
    if row["ef"]:
        return "yes"
    best = max(point["recall10"] for point in row["curves"]["between"])
    return "no: recall too low" if best < graph.TARGET else "no: exact costs less"


def tables(rows: list[dict[str, Any]]) -> str:
    """Two Markdown tables: what it costs, and what it finds."""
    costs = [
        "| data | tiles | NumPy, ms | exact, ms | in a batch of 64, ms | graph, ms | "
        "NumPy / graph | build, s | load, s | MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    finds = [
        "| data | tiles | ef | graph used | recall@10 held | between | beside | texts |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        point = at_target(row, "held")
        costs.append(
            f"| {row['data']} | {row['size']:,} | {row['numpy_ms']:.2f} | {row['exact_ms']:.2f} | "
            f"{row['exact_batch_ms']:.2f} | {point['ms']:.2f} | "
            f"{row['numpy_ms'] / point['ms']:.1f} | {row['build_s']:.1f} | {row['load_s']:.2f} | "
            f"{row['bytes'] / 1e6:.0f} |"
        )
        recalls = [f"{at_target(row, kind)['recall10']:.4f}" for kind in row["curves"]]
        finds.append(
            f"| {row['data']} | {row['size']:,} | {point['ef']} | "
            f"{used(row)} | {' | '.join([*recalls, '-'][:4])} |"
        )
        if "add_1000_s" in row:
            share = row["add_1000_s"] / row["build_s"]
            finds.append(f"<!-- adding 1,000: {row['add_1000_s']:.2f} s, {share:.5f} of build -->")
    return "\n".join([*costs, "", *finds])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Latency and build time over size, and recall over the graph's breadth of search."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (latency, recall, build) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    colours = {"clustered": "#0072b2", "random": "#d55e00", "real-like": "#009e73"}
    for kind in dict.fromkeys(row["data"] for row in rows):
        mine = sorted((row for row in rows if row["data"] == kind), key=lambda row: row["size"])
        sizes, colour = [row["size"] for row in mine], colours[kind]
        if kind == mine[0]["data"] == rows[0]["data"]:
            exact = [row["exact_ms"] for row in mine]
            latency.plot(sizes, [row["numpy_ms"] for row in mine], "k:", label="NumPy baseline")
            latency.plot(sizes, exact, "k-", label="ngcg, exact")
            batch = [row["exact_batch_ms"] for row in mine]
            latency.plot(sizes, batch, "-", color="0.6", label="ngcg, exact, 64 at once")
        points = [at_target(row, "held") for row in mine]
        latency.plot(sizes, [p["ms"] for p in points], "-", color=colour, label=f"graph, {kind}")
        for size, row, point in zip(sizes, mine, points, strict=True):
            face = colour if used(row) == "yes" else "white"
            latency.plot(size, point["ms"], "o", color=colour, markerfacecolor=face)
        curves = zip(mine[-1]["curves"].items(), ("-", "--", ":", "-."), strict=False)
        for (name, curve), style in curves:
            recall.plot(
                [point["ef"] for point in curve],
                [point["recall10"] for point in curve],
                style,
                color=colour,
                label=f"{kind} {sizes[-1]:,}, {name}",
            )
        build.plot(sizes, [row["build_s"] for row in mine], "o-", color=colour, label=kind)
    latency.set(xscale="log", yscale="log", xlabel="tiles", ylabel="ms a query, one thread")
    latency.set_title("Latency (hollow: the graph is not used)", fontsize=10)
    recall.axhline(0.99, color="0.6", linewidth=0.8)
    recall.set(xscale="log", xlabel="ef", ylabel="recall@10 against exact search")
    recall.set_title("Recall over breadth of search, largest size", fontsize=10)
    build.set(xscale="log", yscale="log", xlabel="tiles", ylabel="processor seconds")
    build.set_title("Building the graph", fontsize=10)
    for axes in (latency, recall, build):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
