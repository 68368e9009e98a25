#!/usr/bin/env bash
# Compares Tessera's tokenizers with the Python libraries that the models use, on random text and random ids.
# usage: tests/tokenizer_fuzz/fuzz.sh [SECONDS] [DIR...]: SECONDS per subject (20); DIR: model directories with a LlamaTokenizer or a
# tokenizer.json. Without them it trains small SentencePiece models of its own.
# Needs the build (build/release) and the network, for pip; not part of tests/run.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds=${1:-20}
shift || true
cmake --build "$root/build/release" --target tokenizer-ids
for version in 4.37 4.46; do
  venv="$root/build/tokenizer_fuzz/$version"
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install -q -r "$here/requirements-$version.txt"
  "$venv/bin/python" "$here/compare.py" --ids "$root/build/release/bin/tokenizer-ids" --seconds "$seconds" "$@"
done
