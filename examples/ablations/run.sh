#!/usr/bin/env bash
# The paper's questions, each a row of one table:
#
#   bash examples/ablations/run.sh TRAIN VAL OUT [ROW...]
#
# TRAIN and VAL are what `ngcg train` and `ngcg eval` take as DATA. Without ROWs, all of them; a ROW
# may be a pattern ('temperature-*'). OUT gets ablations.csv, ablations.png and one folder per row.
# Interrupted, the same command goes on where it stopped; rows that are done are skipped.
#
#   MODEL=tiny          the backbone of all rows but those that compare backbones
#   BACKBONES=          others to compare with it, such as "smolvlm-256m smolvlm-500m"
#   SEEDS=0             several ("0 1 2") give each row a mean and a spread
#   EPOCHS=1            BATCH=64
#   TRAIN="ngcg train"  such as "torchrun --nproc-per-node 4 -m ngcg_cli train"
#   TRAIN_OPTIONS=      for every training, such as "--micro-batch 8 --views drone"
#   EVAL_OPTIONS=       for every measurement, such as "--views drone --ci"
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
train=$1 val=$2 out=$3
shift 3
EPOCHS=${EPOCHS:-1}
# shellcheck source=examples/ablations/row.sh
source "$(dirname "${BASH_SOURCE[0]}")/row.sh"

rows=(
  "untrained"
  "reference"
  "pooling-mean --pooling mean"
  "pooling-query --pooling query"
  "tuning-full --tuning full"
  "scaling-1 --alpha 16"
  "scaling-2 --alpha 32"
  "scaling-4 --alpha 64"
  "scaling-16 --alpha 256"
  "dora-off --no-dora"
  "temperature-0.01 --temperature 0.01"
  "temperature-0.07 --temperature 0.07"
  "temperature-learned --learn-temperature"
  "direction-one-way --direction text-to-image"
  "batches-shuffle --batches shuffle"
  "published --direction text-to-image --batches shuffle --augment none --batch-size 10 --warmup 0.01"
)
for name in ${BACKBONES:-}; do
  rows+=("backbone-${name//\//--} --model $name")
done
prepare "${rows[@]}"

for line in "${rows[@]}"; do
  read -ra options <<<"$line"
  row=${options[0]}
  for wanted in "${@:-*}"; do
    # shellcheck disable=SC2053  # a pattern is meant
    if [[ $row == $wanted ]]; then
      measure "$row" "$train" "${options[@]:1}"
      break
    fi
  done
done
finish
