#!/usr/bin/env bash
# Runs a compiler of kernels (nvcc with -Xptxas=-v) and fails on what it only mentions: register spills, serialised wgmma (C75xx), any warning.
#   compile_kernel.sh COMPILER ARGUMENT...
set -uo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$@" >"$log" 2>&1
status=$?
if ((status != 0)); then
  grep -v '^ptxas info' "$log" >&2
  exit "$status"
fi
if grep -iE 'warning|\(C75[0-9]{2}\)' "$log" >&2; then
  echo "compile_kernel: warnings" >&2
  exit 1
fi
# The line after a kernel's name tells its spills.
if awk '/Compiling entry function/ {entry = $0} /spill/ && !/ 0 bytes spill stores, 0 bytes spill loads/ {print entry; print; found = 1} END {exit !found}' "$log" >&2; then
  echo "compile_kernel: registers spill" >&2
  exit 1
fi
