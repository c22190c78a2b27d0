#!/usr/bin/env bash
# The recipe of `tiny`, in one command that resumes:  bash examples/tiny/make.sh DATA OUT [OPTIONS]
set -euo pipefail
data=$(realpath "$1") out=$(realpath -m "$2")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# glibc returns large blocks to the system at each step and faults them in again: keeping them nearly
# doubles the teachers' speed on a CPU.
export MALLOC_TOP_PAD_=500000000 MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
exec python -m examples.tiny.make --data "$data" --out "$out" "$@"
