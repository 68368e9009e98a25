#!/usr/bin/env bash
# Whether every C++ and CUDA source is what clang-format 14 makes of it; with --fix makes it so. Debian 12's, since versions differ.
#   tests/format.sh [--fix]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ $(clang-format --version) == *"version 14."* ]] || { echo "format: clang-format 14 is needed" >&2; exit 1; }
mode=(--dry-run --Werror)
[[ ${1:-} == --fix ]] && mode=(-i)
git ls-files -z '*.h' '*.cc' '*.cu' '*.cuh' | xargs -0 -n 50 -P 2 clang-format "${mode[@]}"
