"""CPU seconds of whole processes: what a question costs from the first import to the last line.

    python tests/bench/start.py [--rounds 5]

The median of the rounds, each of which runs every process in turn: the installed command on an
index of the example town, and `python -c "import torch, transformers"` as the baseline. Prints one
JSON object with a ratio to the baseline for each; exits with 1 when one of `LIMITS` is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: CPU seconds at most; the ratio is that of a query to the baseline.
LIMITS = {"query": 0.9, "models": 0.4, "query, 1,000 lines": 3.0, "ratio": 0.45}


def main() -> None:
    """Make the index, run the rounds, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ngcg = str(Path(sys.executable).with_name("ngcg"))
    rows = [json.loads(line) for line in (ROOT / "examples/town/region.jsonl").open()]
    captions = [caption for row in rows for caption in row["captions"]]
    lines = "".join(f"{captions[i % len(captions)]} {i}\n" for i in range(1000))
    with tempfile.TemporaryDirectory() as folder:
        index = ["--index", str(Path(folder, "town"))]
        _cpu([ngcg, "index", str(ROOT / "examples/town/region.tif"), *index, "-q"])
        ask = ["--format", "jsonl", "-k", "3", *index]
        runs = {
            "query": ([ngcg, "query", "a harbour", *ask], ""),
            "models": ([ngcg, "models"], ""),
            "query, 1,000 lines": ([ngcg, "query", "-", *ask], lines),
            "--help": ([ngcg, "--help"], ""),
            "import torch, transformers": (
                [sys.executable, "-c", "import torch, transformers"],
                "",
            ),
        }
        took: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, (words, stdin) in runs.items():
                took[name].append(_cpu(words, stdin))
    seconds = {name: round(statistics.median(times), 3) for name, times in took.items()}
    baseline = seconds["import torch, transformers"]
    ratios = {name: round(value / baseline, 3) for name, value in seconds.items()}
    print(json.dumps({"rounds": args.rounds, "cpu_seconds": seconds, "ratio_to_import": ratios}))
    kept = ratios["query"] <= LIMITS["ratio"]
    sys.exit(0 if kept and all(seconds[name] <= LIMITS.get(name, 99) for name in runs) else 1)


def _cpu(words: list[str], stdin: str = "") -> float:
    before = os.times()
    subprocess.run(words, input=stdin, text=True, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


if __name__ == "__main__":
    main()
