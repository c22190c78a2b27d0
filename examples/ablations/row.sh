# Sourced by run.sh and one_scene.sh: train, measure and keep one row, or skip it when that is done.

MODEL=${MODEL:-tiny}
SEEDS=${SEEDS:-0}
BATCH=${BATCH:-64}
read -ra TRAIN <<<"${TRAIN:-ngcg train}"
read -ra TRAIN_OPTIONS <<<"${TRAIN_OPTIONS:-}"
read -ra EVAL_OPTIONS <<<"${EVAL_OPTIONS:-}"
tools=$(dirname "${BASH_SOURCE[0]}")
failed=()

# prepare ROW...: notes the rows for table.py, a name and its options each. What else decides the
# figures is noted too, and must be the same when the script is called again.
prepare() {
  local settings="train=$train val=$val MODEL=$MODEL EPOCHS=$EPOCHS BATCH=$BATCH \
TRAIN_OPTIONS=${TRAIN_OPTIONS[*]} EVAL_OPTIONS=${EVAL_OPTIONS[*]}"
  mkdir -p "$out"
  if [ -s "$out/settings.txt" ] && [ "$settings" != "$(<"$out/settings.txt")" ]; then
    echo "$out: measured with other settings, see settings.txt there; choose another OUT" >&2
    exit 2
  fi
  echo "$settings" >"$out/settings.txt"
  printf '%s\n' "$@" >"$out/rows.txt"
}

# The exit status of ngcg: 3 is "done, but some images could not be read", which it has named.
run() {
  local status=0
  "$@" || status=$?
  [ $status -ne 130 ] || exit 130 # interrupted: the same command goes on from here
  [ $status -eq 3 ] || return $status
}

# measure ROW DATA [OPTION...]: once for each seed. A row "untrained" is measured as it is.
measure() {
  local row=$1 data=$2 seed seeds=$SEEDS
  shift 2
  [ "$row" != untrained ] || seeds=0
  for seed in $seeds; do
    local folder=$out/$row/seed-$seed
    if [ ! -s "$folder/eval.json" ]; then
      echo "$row, seed $seed" >&2
      one "$folder" "$row" "$data" "$seed" "$@" || failed+=("$row/seed-$seed")
    fi
  done
}

one() {
  local folder=$1 row=$2 data=$3 seed=$4 model=$MODEL
  shift 4
  mkdir -p "$folder"
  if [ "$row" != untrained ]; then
    model=$folder/checkpoint
    if [ ! -s "$folder/train.json" ]; then
      # A row's own options come last and win.
      run "${TRAIN[@]}" "$data" --out "$model" --model "$MODEL" --batch-size "$BATCH" \
        --epochs "$EPOCHS" --seed "$seed" "${TRAIN_OPTIONS[@]}" "$@" --resume --json \
        >"$folder/part" || return 1
      mv "$folder/part" "$folder/train.json"
    fi
  fi
  run ngcg eval "$val" --model "$model" "${EVAL_OPTIONS[@]}" --json >"$folder/part" || return 1
  mv "$folder/part" "$folder/eval.json"
  rm -f "$folder/checkpoint/resume.safetensors" # a finished run needs its moments no more
}

finish() {
  python "$tools/table.py" "$out"
  if [ ${#failed[@]} -gt 0 ]; then
    echo "not measured: ${failed[*]}; the same command tries them again" >&2
    exit 3
  fi
}
