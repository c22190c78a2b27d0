#!/usr/bin/env bash
# Does the wheel stand alone? Builds it, installs it (and geopandas) into an environment of its own,
# and runs the snippets of docs/api.md there, away from the repository.
#
#     tests/bench/fresh_wheel.sh [PYTHON] [MORE PIP OPTIONS...]
#     tests/bench/fresh_wheel.sh python3.12 --extra-index-url https://download.pytorch.org/whl/cpu
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${1:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" "$root"
wheel="$(echo "$work"/ngcg-*.whl)"
echo "$(basename "$wheel"): $(($(stat -c %s "$wheel") / 1000000)) MB"
held="$("$python" -m zipfile --list "$wheel")"
for file in py.typed models/tiny/model.safetensors models/tiny/tokenizer.json; do
    grep -q "ngcg_cli/$file" <<<"$held" || { echo "the wheel lacks ngcg_cli/$file" >&2; exit 1; }
done

"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet -c "$root/constraints.txt" "${@:2}" "${wheel}[geopandas]"
mkdir "$work/page"
cd "$work"
unset PYTHONPATH
"$work/venv/bin/ngcg" --version
"$work/venv/bin/python" "$root/tests/api_page.py" "$work/page"
