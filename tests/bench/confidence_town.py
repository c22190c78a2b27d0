"""How well `tiny`'s confidence does on the drawn town, which it was not calibrated on.

    python tests/bench/confidence_town.py val/captions.jsonl

First: the town's captions against captions of scenes that the town has not. Second, harder: the
town's captions, for every second of which the tiles that truly hold what it says are taken out.
Third: sentences about nothing that is seen from above, others than the calibration knows.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import shapely

from ngcg_cli.answers.confidence import NOTHING_HERE, area_under_roc, calibration_error
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.journeys.calibration import load_calibration
from ngcg_cli.journeys.indexing import index_sources
from ngcg_cli.search import TileIndex

TOWN = Path(__file__).parents[2] / "examples" / "town"
ABSENT = (
    *("Desert", "Mountain", "Beach", "Stadium", "BaseballField", "Viaduct", "Center", "Church"),
    *("Resort", "Square", "BareLand"),
)


def main(file: Path) -> None:
    encoder = load_encoder("tiny", "cpu")
    calibration = load_calibration(encoder)
    if calibration is None:
        sys.exit("tiny has no calibration of its own fingerprint")
    with tempfile.TemporaryDirectory() as folder:
        index_sources([str(TOWN / "region.tif")], Path(folder) / "index")
        blocks = list(TileIndex.open(Path(folder) / "index").blocks())
    tiles = np.concatenate([block.vectors for block in blocks])
    shapes = shapely.from_wkb([wkb for block in blocks for wkb in block.tiles.geometry])
    rows = [json.loads(line) for line in (TOWN / "region.jsonl").read_text("utf-8").splitlines()]
    texts = [(text, row["true_at"]) for row in rows for text in row["captions"]]
    vectors = encoder.encode_texts([text for text, _ in texts])
    others = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    absent = [text for row in others if row["scene"] in ABSENT for text in row["captions"]][::4]

    def top(question: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        return allowed[np.argsort(-(tiles[allowed] @ question))[:10]]

    everything = np.arange(len(tiles))

    def firsts(questions: np.ndarray) -> np.ndarray:
        best = [tiles[top(question, everything)] for question in questions]
        chances = [calibration.confidence(q, b)[0] for q, b in zip(questions, best, strict=True)]
        return np.array([chances, [b[0] @ q for q, b in zip(questions, best, strict=True)]])

    def highest(questions: np.ndarray) -> np.ndarray:
        """The highest confidence of each question's ten hits."""
        return np.array(
            [calibration.confidence(q, tiles[top(q, everything)]).max() for q in questions]
        )

    here, gone = firsts(vectors), firsts(encoder.encode_texts(absent))
    print(
        f"captions of the town against {len(absent)} of other scenes: "
        f"AUROC {area_under_roc(here[0], gone[0]):.3f}, "
        f"of the bare cosine {area_under_roc(here[1], gone[1]):.3f}"
    )

    chance, cosine, right, first, present = [], [], [], [], []
    for number, i in enumerate(np.random.default_rng(0).permutation(len(texts))):
        holds = np.zeros(len(tiles), bool)
        for lon, lat in texts[i][1]:
            holds |= shapely.intersects_xy(shapes, lon, lat)
        hidden = number % 2 == 1
        best = top(vectors[i], np.flatnonzero(~holds) if hidden else everything)
        chance.append(calibration.confidence(vectors[i], tiles[best]))
        cosine.append(tiles[best] @ vectors[i])
        right.append(holds[best])
        first.append(np.arange(len(best)) == 0)
        present.append(np.full(len(best), not hidden))
    chance, cosine, right, first, present = map(
        np.concatenate, (chance, cosine, right, first, present)
    )
    a, b = first & present, first & ~present
    print(
        f"half without their true tiles: AUROC {area_under_roc(chance[a], chance[b]):.3f}, "
        f"of the bare cosine {area_under_roc(cosine[a], cosine[b]):.3f}, "
        f"ECE {calibration_error(chance, right):.3f} (right: {right.mean():.3f} of the hits, "
        f"said: {chance.mean():.3f})"
    )

    nowhere = Path(__file__).with_name("nowhere.txt").read_text("utf-8").splitlines()
    lost, asked = highest(encoder.encode_texts(nowhere)), highest(vectors)
    print(
        f"{len(nowhere)} sentences about nothing here: best confidence {np.median(lost):.3f} in "
        f"the median, {lost.max():.3f} at most ({nowhere[0]!r}: {lost[0]:.3f}); told that nothing "
        f"looks like that: {(lost < NOTHING_HERE).mean():.0%}, of the town's captions "
        f"{(asked < NOTHING_HERE).mean():.0%}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
