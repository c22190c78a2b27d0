#!/usr/bin/env bash
# The confidence of the bundled model, made anew: after new weights, and whenever the way changes.
#
#     examples/tiny/confidence.sh TRAIN/captions.jsonl VAL/captions.jsonl [OUT]
#
# TRAIN gives what is compared with. The confidence is fitted on VAL, whose rows of one "scene" are right
# answers to each other, and on a town that is drawn from another seed than that in examples/town,
# so that it knows what imagery unlike photographs does to scores. OUT is the file, by default that
# in the package. Its figures are printed. Takes one or two minutes of one core.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
train="$(realpath "${1:?captions of images to compare with}")"
val="$(realpath "${2:?captions of images to fit on}")"
out="$(realpath "${3:-$here/ngcg_cli/models/tiny/confidence.safetensors}")"
made="$(mktemp -d)"
trap 'rm -rf "$made"' EXIT
mkdir "$made/val"
ln -s "$(dirname "$val")"/* "$made/val/"
places="$made/val/places.jsonl"
rm -f "$places"
sed 's/"scene"/"place"/' "$val" >"$places"
cd "$here"
python -m examples.town.make --out "$made/town" --seed 101
python -m ngcg_cli index "$made/town/region.tif" --index "$made/index" --model tiny --quiet >/dev/null
python -m ngcg_cli calibrate "$places" "$made/town/region.jsonl" --index "$made/index" \
    --background "$train" --model tiny --out "$out" --json
