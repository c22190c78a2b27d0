"""The installed `ngcg index`, killed at thirty random moments, with a query after each.

    python tests/bench/kill_thirty.py [--kills 30] [--seed 0]

Over drawn rasters and a small model with random weights. Each kill must leave an index that opens,
answers, and holds whole tiles of an undisturbed run, each once and none lost again; each run that
comes to its end must leave exactly those. Prints one JSON object with where the kills fell.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from killing import tell_kills
from samples import write_raster
from small_models import write_smolvlm


def main() -> None:
    """Make the model and the rasters, kill, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="a model folder; by default one is drawn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model
        if model is None:
            model = folder / "model"
            write_smolvlm(model)
        for seed in range(6):
            write_raster(folder / "rasters" / f"{seed}.tif", seed, west=500_000.0 + 500 * seed)
        story = tell_kills(folder / "rasters", model, folder, args.kills, args.seed)
    print(json.dumps({"kills": args.kills, "seed": args.seed, **asdict(story)}))


if __name__ == "__main__":
    main()
