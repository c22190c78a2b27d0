#!/usr/bin/env bash
# Every figure of docs/performance.md once more, one JSON file each, in a folder. Takes an hour or so
# of an idle machine: what depends on nothing but the package comes first.
#
#     tests/bench/figures.sh OUT
set -uo pipefail
out="${1:?a folder for the figures}"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p "$out"
export OMP_NUM_THREADS=1
run() {
    local name="$1"
    shift
    echo "== $name: $*"
    "$@" >"$out/$name.json" || echo "$name: a limit is broken, or it failed" >&2
}
run start python tests/bench/start.py
run index python tests/bench/index_throughput.py
run memory python tests/bench/index_memory.py
run precision python tests/bench/precision.py
run gpu python tests/bench/gpu_throughput.py
for data in real-like clustered; do
    run "search-$data" python tests/bench/search_at_size.py "$out/search.json" --data "$data"
done
