#!/usr/bin/env bash
# The CUDA backend where there is no GPU: every kernel has a test (kernels.py), compiles for every GPU it is meant for without spills and warnings
# (cuda/compile_kernel.sh), and the server that has them all starts and says what is missing.
#   tests/cuda/compile_check.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python3 tests/cuda/kernels.py
if ! command -v nvcc >/dev/null; then
  echo "skipped: no nvcc"
  exit 0
fi
export CCACHE_NOHASHDIR=1 # objects of other presets serve this one
cmake --preset cuda >/dev/null
begin=$SECONDS
cmake --build --preset cuda --target tessera_cuda
echo "compile_check: kernels in $((SECONDS - begin)) s"
cmake --build --preset cuda --target tessera-server

server=build/cuda/bin/tessera-server
$server --list-devices
if nvidia-smi -L 2>/dev/null | grep -q GPU; then
  echo "skipped: there is a GPU"
  exit 0
fi
$server --list-devices | grep -q '^cuda: no usable GPU: '
status=0
said=$($server --model models/demo/checkpoint --device cuda --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 2>&1) || status=$?
echo "$said"
((status == 1))
grep -q 'no usable GPU: .*; use --device cpu' <<<"$said"
