#!/usr/bin/env bash
# Installs what is missing, builds the release preset and runs every test. Can run twice. Prints "N passed, N failed" last.
#   tests/run.sh            everything a clone can check; golden data beside the clone (../shared/golden) adds its cases
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$root # objects of one preset serve the others
passed=0
failed=0

# check NAME COMMAND…: one line per check, its output only when it fails.
check() {
  local name=$1 log
  shift
  log=$(mktemp)
  local begin=$SECONDS
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok   $name ($((SECONDS - begin)) s)"
  else
    failed=$((failed + 1))
    echo "FAIL $name ($((SECONDS - begin)) s)"
    tail -n 60 "$log"
  fi
  rm -f "$log"
}

# in_two_shards TEST…: half of its cases in each of two processes.
in_two_shards() {
  GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=0 "$@" &
  local first=$! status=0
  GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=1 "$@" || status=1
  wait "$first" || status=1
  return "$status"
}

deploy/install_packages.sh all || exit 1
echo "== build"
cmake --preset release >/dev/null && cmake --build --preset release || exit 1
bin=build/release/bin

echo "== test"
check "include rules" tests/include_rules.py
check "formatted as .clang-format says" tests/format.sh
check "engine" $bin/engine_test
check "operations where OpenMP gives one thread" env OMP_THREAD_LIMIT=1 $bin/engine_test --gtest_filter='Devices/*'
# Only products have other kernels on Ampere than on Hopper, or for 8-bit weights; logits are float32 everywhere; an 8-bit cache is widened
# alike for both types, and cuts are the same for them.
same='*AttentionTest*Ampere*:*DoNotMatter*HopperFloat16*:*CutsOfLong*Fp8Kv:*Neighbours*AmpereFloat16*Weights:*RowsTest*Ampere*:*GraphCacheTest*Ampere*:*SampleTest*Float16:*Route*Weights:*Ties*Weights:*WeightedSum*Weights:*Route*W8A8:*Ties*W8A8:*WeightedSum*W8A8'
check "CUDA operations on an emulated GPU" in_two_shards $bin/cuda_emulated_test --gtest_filter="-$same"
check "a whole model on it" $bin/tessera-golden-emulated --device cuda tests/golden/models/qwen3_vl_moe
check "CUDA kernels: tested, compiled, none spills" tests/cuda/compile_check.sh
check "server" $bin/server_test
check "a drain ends by its time, a second signal at once" tests/server/drain_test.sh
check "client" $bin/client_test
check "server as a process: log, signals, flags, too little memory" tests/server/process_test.py $bin
check "published models by their headers" tests/published_models_test.py $bin/tessera-server
check "clients of released versions" tests/compatibility/api_test.py $bin
check "golden data of the clone" $bin/tessera-golden tests/golden
check "demonstration model: quality over gRPC" tests/quality.sh 60
check "soak: 300 requests, cancels and deadlines" tests/soak/soak.sh 300
check "attacks beside a client that must not notice" tests/abuse/abuse.py
check "deployment files" tests/deploy/deploy_test.sh
check "monitoring: every query returns data" tests/deploy/monitoring_test.sh
shared=../shared/golden
if [[ -d $shared ]]; then
  check "golden data beside the clone" $bin/tessera-golden $shared/images $shared/models $shared/modern $shared/tokenizers
fi

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
