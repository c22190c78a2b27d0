"""The picture of a run: loss and validation recall over the steps."""

from __future__ import annotations

import json
from pathlib import Path

from ngcg_cli.errors import NgcgError

PLOT_FILE = "training.png"


def plot_run(metrics: Path, target: Path) -> None:
    """Draw `metrics.jsonl` as a PNG: the loss, and the validation figures if there are any.

    Raises:
        NgcgError: matplotlib, an extra, is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NgcgError(
            "no plot was drawn because matplotlib is missing",
            hint="pip install 'ngcg[plot]'",
        ) from error
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    names = sorted({name for row in rows for name in row if name.startswith("val_")})
    figure = Figure(figsize=(6.4, 3.2 * (1 + bool(names))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + bool(names), 1, sharex=True, squeeze=False)[:, 0]
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    axes[0].plot(*zip(*losses, strict=True))
    axes[0].set_ylabel("InfoNCE loss")
    for name in names:
        values = [(row["step"], row[name]) for row in rows if name in row]
        axes[1].plot(*zip(*values, strict=True), marker="o", markersize=3, label=name[4:])
    if names:
        axes[1].set_ylabel("validation recall, %")
        axes[1].legend(fontsize="small", ncols=2)
    axes[-1].set_xlabel("step")
    figure.savefig(target, dpi=150)
