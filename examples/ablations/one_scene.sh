#!/usr/bin/env bash
# Does LoRA on the pictures of one scene help to tell pictures of that scene apart?
#
#   bash examples/ablations/one_scene.sh TRAIN VAL OUT [SCENE]
#
# TRAIN and VAL are folders with a captions.jsonl whose lines have a "scene". Three rows, all measured
# on VAL's pictures of SCENE alone: the model as it is (untrained), adapted on TRAIN's pictures of the
# scene (scene), and, as the control, adapted on as many pictures of the other scenes (others).
# Without SCENE it is the one with the most pictures in VAL. MODEL, SEEDS ("0 1 2" here), EPOCHS (2),
# BATCH, TRAIN_OPTIONS and EVAL_OPTIONS are those of run.sh.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
train=$1 val=$2 out=$3
SEEDS=${SEEDS:-0 1 2}
EPOCHS=${EPOCHS:-2}
# shellcheck source=examples/ablations/row.sh
source "$(dirname "${BASH_SOURCE[0]}")/row.sh"

python - "$train/captions.jsonl" "$val/captions.jsonl" "$out" "${4:-}" <<'PYTHON'
import json, sys
from collections import Counter
from pathlib import Path

train, val = (
    [json.loads(line) for line in Path(name).read_text().splitlines() if line.strip()]
    for name in sys.argv[1:3]
)
out, scene = Path(sys.argv[3]), sys.argv[4]
scene = scene or Counter(row["scene"] for row in val).most_common(1)[0][0]
of_scene = [row for row in train if row["scene"] == scene]
others = [row for row in train if row["scene"] != scene]
# Evenly spread over the file, and so over the scenes, which the file holds one after the other.
spread = [others[i * len(others) // len(of_scene)] for i in range(len(of_scene))]
gallery = [row for row in val if row["scene"] == scene]
if not (of_scene and gallery):
    sys.exit(f"no pictures of scene {scene!r}")
print(f"{scene}: {len(of_scene)} pictures to train on, {len(gallery)} to measure on", file=sys.stderr)
out.mkdir(parents=True, exist_ok=True)
for name, rows in (("scene", of_scene), ("others", spread), ("val", gallery)):
    (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
PYTHON

TRAIN_OPTIONS+=(--images "$train")
EVAL_OPTIONS+=(--images "$val")
train="$train, ${4:-the largest scene}" val=$out/val.jsonl
prepare untrained scene others
for row in untrained scene others; do
  measure "$row" "$out/$row.jsonl"
done
finish
