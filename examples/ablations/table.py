"""The measured rows under a folder as one table and one picture.

python examples/ablations/table.py OUT

Reads OUT/rows.txt (a row's name and options a line) and OUT/ROW/seed-N/{train,eval}.json, writes
OUT/ablations.csv and, where matplotlib is installed, OUT/ablations.png.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

_SIDES = {"text_to_image": "t2i ", "image_to_text": "i2t ", "overall": ""}


def main(out: Path) -> None:
    """Writes table and picture."""
    rows = [row for line in (out / "rows.txt").read_text().splitlines() if (row := read(out, line))]
    if not rows:
        sys.exit(f"{out}: no row is measured yet")
    names = list(dict.fromkeys(name for row in rows for name in row if name != "scores"))
    with (out / "ablations.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(out / "ablations.csv")
    try:
        picture(rows, out / "ablations.png")
    except ImportError:
        print("no picture: pip install 'ngcg[plot]'", file=sys.stderr)
    else:
        print(out / "ablations.png")


def read(out: Path, line: str) -> dict[str, Any] | None:
    """A row's means over its seeds, and the spread of its score; None when it is not measured."""
    name, _, options = line.partition(" ")
    evaluated = [json.loads(f.read_text()) for f in sorted(out.glob(f"{name}/seed-*/eval.json"))]
    if not evaluated:
        return None
    trained = [json.loads(f.read_text()) for f in sorted(out.glob(f"{name}/seed-*/train.json"))]
    figures = [flat(result) for result in evaluated]
    score = "mean" if "mean" in figures[0] else "R@1"
    scores = [row[score] for row in figures]
    return {
        "question": name.partition("-")[0],
        "row": name,
        "options": options,
        "seeds": len(evaluated),
        "trainable_parameters": trained[0]["trainable_parameters"] if trained else 0,
        "train_seconds": round(fmean(t["seconds"] for t in trained)) if trained else 0,
        **{key: round(fmean(row[key] for row in figures), 2) for key in figures[0]},
        "lowest": min(scores),
        "highest": max(scores),
        "scores": scores,
    }


def flat(result: dict[str, Any]) -> dict[str, float]:
    """The figures of `ngcg eval --json` side by side; cvg-text's are those over all queries."""
    figures = {
        prefix + name: value
        for side, prefix in _SIDES.items()
        for name, value in result.get(side, {}).items()
        if name != "count"
    }
    return figures | ({"mean": result["mean"]} if "mean" in result else {})


def picture(rows: list[dict[str, Any]], target: Path) -> None:
    """A dot a seed and a bar a mean, row under row; the reference's spread is shaded."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1 + 0.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        scores = row["scores"]
        axes.plot(scores, [place] * len(scores), "o", color="tab:blue", alpha=0.5)
        axes.plot([fmean(scores)], [place], "|", color="black", markersize=14)
        if row["row"] == "reference":
            axes.axvspan(row["lowest"], row["highest"], color="tab:orange", alpha=0.25)
            axes.axvline(fmean(scores), color="tab:orange", linewidth=1)
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("mean recall, %" if "mean" in rows[0] else "R@1, %")
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
