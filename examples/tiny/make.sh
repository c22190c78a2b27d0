#!/usr/bin/env bash
# The recipe of `tiny`, in one command that resumes:  bash examples/tiny/make.sh DATA OUT [OPTIONS]
set -euo pipefail
if [ $# -lt 2 ] || [ ! -d "$1" ]; then
    echo "usage: bash examples/tiny/make.sh DATA OUT [OPTIONS]; DATA is the folder that README.md describes" >&2
    exit 2
fi
data=$(realpath "$1") out=$(realpath -m "$2")
shift 2
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

# The vocabularies: names of mapped features (npm, ISC) and English glosses (Debian's WordNet).
sources=$out/sources
mkdir -p "$sources"
if [ ! -d "$sources/id-tagging-schema" ]; then
    (cd "$sources" && rm -f ./*.tgz && npm pack --silent @openstreetmap/id-tagging-schema@6 && tar -xzf ./*.tgz)
    mv "$sources/package" "$sources/id-tagging-schema"
fi
if [ ! -d "$sources/wordnet" ]; then
    (cd "$sources" && apt-get -qq download wordnet-base && dpkg -x wordnet-base_*.deb unpacked)
    mv "$sources/unpacked/usr/share/wordnet" "$sources/wordnet"
fi

# glibc returns large blocks to the system at each step and faults them in again: keeping them nearly
# doubles the speed of large convolutions on a CPU.
export MALLOC_TOP_PAD_=500000000 MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
exec python -m examples.tiny.make --data "$data" --out "$out" "$@"
