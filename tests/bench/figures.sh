#!/usr/bin/env bash
# Measures every figure of docs/performance.md once more and writes its tables. Some hours of an idle
# machine, most of them for a million tiles; SKIP="search gpu" leaves some out, whose tables stay.
#
#     tests/bench/figures.sh OUT [VAL]
#
# OUT: a folder for the figures, one JSON file each. VAL: a folder with captions.jsonl and images/, for
# recalls, cosines and real-like vectors; without it those of `precision` are of drawn images.
set -uo pipefail
out="$(realpath -m "${1:?a folder for the figures}")"
val="${2:+$(realpath "$2")}"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p "$out"
export OMP_NUM_THREADS=1
run() {
    local name="$1" file="$2"
    shift 2
    [[ " ${SKIP:-} " == *" $name "* ]] && return
    echo "== $name: $*" >&2
    if "$@" >"$out/$file.new"; then
        mv "$out/$file.new" "$out/$file.json"
    else
        echo "$name: a limit is broken, or it failed; see $out/$file.new" >&2
        # Figures that break a limit are figures too.
        python -m json.tool "$out/$file.new" /dev/null 2>/dev/null && mv "$out/$file.new" "$out/$file.json"
    fi
}
run start start python tests/bench/start.py
run index index python tests/bench/index_throughput.py
run memory memory python tests/bench/index_memory.py
run precision precision python tests/bench/precision.py \
    ${val:+--images "$val/images" --captions "$val/captions.jsonl"}
if [[ -n "$val" ]]; then
    for precision in float32 int8; do
        run precision "recall-$precision" \
            ngcg eval "$val/captions.jsonl" --json --ci --no-cache --precision "$precision"
    done
fi
device="$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')"
run gpu gpu python tests/bench/gpu_throughput.py --device "$device" \
    $([[ "$device" == cpu ]] && echo --size small)
search="$out/search.json"
[[ -n "$val" ]] && run search search-real-like python tests/bench/search_at_size.py "$search" \
    --data real-like --pairs "$val/captions.jsonl"
run search search-clustered python tests/bench/search_at_size.py "$search" --data clustered
[[ -f "$search" ]] && run search search-tables python tests/bench/search_at_size.py "$search" \
    --plot docs/images/search-at-size.png
python tests/bench/figures.py "$out"
