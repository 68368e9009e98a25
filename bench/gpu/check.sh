#!/usr/bin/env bash
# Checks and times everything of the CUDA backend on this machine's GPU and leaves the tiles that it measured, DIR/tiles-GPU.json. Stages
# have time limits and go on after failures; the summary is last, and the exit status 1 when a stage failed.
#   bench/gpu/check.sh [--out DIR] [--seconds N]        default: $OUT or a new directory under /tmp; 520 s in all
# Runs from a bundle (deploy/bundle.sh) on a machine that has a driver and, for peers and reports, python3 with torch; or in the build tree.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$root/bin
[[ -x $bin/operations_test ]] || bin=$root/build/cuda/bin
out=${OUT:-}
seconds=520
while (($# > 0)); do
  case $1 in
    --out) out=$2 ;;
    --seconds) seconds=$2 ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
# A bundle has no models and golden data: those of a clone, where this was called from one.
data=$root
[[ -d $data/models/demo ]] || data=$PWD
out=${out:-$(mktemp -d)}
mkdir -p "$out"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

summary=()
failed=0
# stage NAME LIMIT COMMAND…: at most LIMIT seconds, output to a log; the last lines when it failed.
stage() {
  local name=$1 limit=$2 left=$((seconds - SECONDS)) begin=$SECONDS status=0 word log
  shift 2
  if ((left < 5)); then
    summary+=("left out  $name: no time left")
    return
  fi
  log=$logs/$(printf '%02d-%s' "${#summary[@]}" "${name//[^a-zA-Z0-9]/_}").log
  timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" >"$log" 2>&1 || status=$?
  case $status in
    0) word="ok       " ;;
    124 | 137) word="TIMED OUT" failed=$((failed + 1)) ;;
    *) word="FAILED   " failed=$((failed + 1)) ;;
  esac
  summary+=("$word $name ($((SECONDS - begin)) s): $(grep -E '\[  (PASSED|FAILED) |passed|failed:' "$log" | tail -n 1 || true)")
  echo "$word $name"
  ((status == 0)) || tail -n 25 "$log"
}
skip() { summary+=("skipped   $1: $2"); }

# tests FILTER: fails also where nothing ran, which is what a machine without a usable GPU gives.
tests() {
  local log=$logs/tests.part status=0 passed
  "$bin/operations_test" --gtest_filter="$1" | tee "$log" || status=1
  passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log")
  rm -f "$log"
  if ((${passed:-0} == 0)); then echo "no test ran on a GPU" && return 1; fi
  return "$status"
}

# sanitize TOOL SECONDS FILTER: test by test while there is time; an error in a kernel fails it.
sanitize() {
  local clean=0 all=0 name begin=$SECONDS
  for name in $("$bin/operations_test" --gtest_list_tests --gtest_filter="$3" | awk '/^[^ ]/ {suite = $1} /^ / {print suite $1}'); do
    all=$((all + 1))
    ((SECONDS - begin < $2)) || continue
    timeout "$(($2 - SECONDS + begin))" compute-sanitizer --tool "$1" --error-exitcode 1 "$bin/operations_test" --gtest_filter="$name" ||
      { (($? == 124)) && continue; return 1; }
    clean=$((clean + 1))
  done
  echo "$clean of $all tests passed under $1$( ((clean == all)) || echo "; no time for the others")"
  ((clean > 0))
}

# The demonstration model through the server: a question about an image, twice, must get one answer.
demonstrate() {
  local log=$logs/server.log address='' server_pid
  "$bin/tessera-server" --device cuda --model "$data/models/demo/checkpoint" --vision-tower "$data/models/demo/vision_tower" \
    --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --tile-cache "$tiles" >"$log" 2>&1 &
  server_pid=$!
  for _ in $(seq 300); do
    address=$(sed -n 's/.*serving grpc on \([^ ,]*\),.*/\1/p' "$log")
    [[ -n $address ]] && "$bin/tessera" health --address "$address" >/dev/null 2>&1 && break
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log"
  local image first second
  image=$(find "$data/models/demo/images" -name 'scene*' | sort | head -n 1)
  first=$("$bin/tessera" generate --address "$address" --image "$image" "What is in the picture?")
  second=$("$bin/tessera" generate --address "$address" --image "$image" "What is in the picture?")
  kill -TERM "$server_pid" && wait "$server_pid"
  echo "$first"
  [[ -n $first && $first == "$second" ]] && echo "1 passed"
}

export -f tests sanitize demonstrate
tiles=$out # with run.sh's
export bin data logs tiles

echo "# $(date -u +'%F %R') UTC, bench/gpu/check.sh, $bin"
if command -v nvidia-smi >/dev/null; then nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true; fi
stage "operations on the GPU" 120 bash -c 'set -o pipefail; tests "Devices/*Cuda*"'
stage "rows keep their bits whatever rows are beside them" 40 bash -c 'set -o pipefail; tests "Devices/*DoNotDepend*Cuda*:Devices/*DoNotMatter*Cuda*:Devices/*HaveTheBits*Cuda*"'
if command -v compute-sanitizer >/dev/null; then
  stage "memcheck" 70 bash -c 'set -o pipefail; sanitize memcheck 40 "Devices/*CudaBFloat16:Devices/*CudaBFloat16Fp8*"'
  stage "racecheck" 70 bash -c 'set -o pipefail; sanitize racecheck 40 "Devices/ExpertsTest*CudaBFloat16:Devices/ExpertsTest*CudaBFloat16Fp8Weights:Devices/*AttentionTest*CudaBFloat16:Devices/AttentionTest*CudaBFloat16Fp8Kv:Devices/SampleTest*CudaBFloat16"'
else
  skip "memcheck, racecheck" "compute-sanitizer is not here"
fi
if [[ -x $bin/tessera-golden && -d $data/tests/golden ]] && grep -qae '--device' "$bin/tessera-golden"; then
  stage "golden data on the GPU" 60 "$bin/tessera-golden" --device cuda "$data/tests/golden"
else
  skip "golden data" "no tessera-golden that takes --device, or no tests/golden"
fi
if [[ -x $bin/tessera-server && -d $data/models/demo/checkpoint ]]; then
  stage "demonstration model through the server" 40 bash -c 'set -o pipefail; demonstrate'
else
  skip "demonstration model" "no tessera-server, or no models/demo"
fi
bench_seconds=$((seconds - SECONDS - 10))
if ((bench_seconds > 60)); then
  stage "benchmarks" "$((bench_seconds + 5))" "$here/run.sh" --out "$out" --bin "$bin" --seconds "$bench_seconds"
else
  skip "benchmarks" "no time left"
fi

# One file, since a lent machine gives few back.
for log in "$logs"/*; do
  echo "===== $(basename "$log")"
  cat "$log"
done >"$out/stages.log"
{
  echo "== summary, $SECONDS s; files in $out"
  printf '%s\n' "${summary[@]}"
  find "$out" -maxdepth 1 -name 'tiles-*.json' -printf 'tiles     %p: belongs in cuda/tiles/\n'
} | tee "$out/summary.txt"
((failed == 0))
