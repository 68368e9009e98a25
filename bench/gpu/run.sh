#!/usr/bin/env bash
# Measures the CUDA backend on this machine's GPU, in less than ten minutes: ceilings, operations against them, peers in Python where
# torch is there, the dense ceiling again. Every part has its time limit and what is missing is reported, not fatal.
#   bench/gpu/run.sh [--out DIR] [--bin DIR] [--seconds N]
# Writes ceilings.csv, rows.csv, report.md, report.png, log.txt and, of a Hopper GPU, tiles-GPU.json (for cuda/tiles/) to DIR (default: $OUT,
# else bench/results/gpu-DATE). The binaries are those beside this folder in a bundle (deploy/bundle.sh), else build/cuda/bin.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${OUT:-$root/bench/results/gpu-$(date -u +%F)}
bin=$root/bin
[[ -x $bin/gpu_ops_bench ]] || bin=$root/build/cuda/bin
seconds=540
while (($# > 0)); do
  case $1 in
    --out) out=$2 ;;
    --bin) bin=$2 ;;
    --seconds) seconds=$2 ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
mkdir -p "$out"
routing=$(mktemp -d)
trap 'rm -rf "$routing"' EXIT
ceilings=$out/ceilings.csv
rows=$out/rows.csv
rm -f "$ceilings" "$rows" "$out"/report.*
exec > >(tee "$out/log.txt") 2>&1

reserve=25 # seconds for what ends a run: the dense ceiling again and the report
# part NAME LIMIT COMMAND…: runs it for at most LIMIT seconds, and never longer than there are; returns its status.
part() {
  local name=$1 limit=$2 left=$((seconds - reserve - SECONDS)) begin=$SECONDS status=0
  shift 2
  if ((left < 10)); then
    echo "== $name: left out, no time left"
    return 1
  fi
  echo "== $name"
  timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" || status=$?
  echo "== $name: $((SECONDS - begin)) s, exit $status"
  return "$status"
}

gpu_state() {
  command -v nvidia-smi >/dev/null || { echo "nvidia-smi is not here: clocks, power and temperature unknown"; return; }
  echo "GPU: name, driver, SM MHz, memory MHz, W, °C"
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,power.sample,temperature.gpu --format=csv,noheader || true
}

# --cublaslt PATH for each copy that Python packages bring.
cublaslt_flags() {
  command -v python3 >/dev/null || return 0
  python3 - <<'PYTHON' || true
import glob, sysconfig

for path in sorted(glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/**/libcublasLt.so.*", recursive=True)):
    print("--cublaslt", path, sep="\n")
PYTHON
}

# Lines of dense_flops_per_second, by cuBLASLt or, where that is not found, by torch.
dense_ceiling() {
  "$bin/gpu_ceilings" --dense-only "${cublaslt[@]}" | grep '^dense_flops' || { $torch && python3 "$here/peers.py" --dense-ceiling; }
}

has_torch() { command -v python3 >/dev/null && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; }

# operations SECTION LIMIT [FLAGS]: replayed as graphs; where that fails, launched one by one.
operations() {
  local section=$1 limit=$2 status=0
  local command=("$bin/gpu_ops_bench" --ceilings "$ceilings" --csv "$rows" --section "$section" "${@:3}")
  part "operations: $section ${*:3}" "$limit" "${command[@]}" || status=$?
  # 1: rows are there and some were wrong; 124: out of time.
  if ((status > 1 && status != 124)); then
    part "operations: $section ${*:3}, without graphs" "$limit" "${command[@]}" --timing stream || status=$?
  fi
  return "$status"
}

echo "# $(date -u +'%F %R') UTC, $(nproc) cores, bench/gpu/run.sh"
mapfile -t cublaslt < <(cublaslt_flags)
torch=false
if has_torch; then torch=true; fi
failed=()

gpu_state
part ceilings 60 "$bin/gpu_ceilings" "${cublaslt[@]}" >"$ceilings.part" || failed+=(ceilings)
grep -E '^[a-z0-9_]+,' "$ceilings.part" >"$ceilings" || true
grep -vE '^[a-z0-9_]+,' "$ceilings.part" || true
rm -f "$ceilings.part"
grep -q '^dense_flops' "$ceilings" || dense_ceiling >>"$ceilings" || true
cat "$ceilings"
gpu_state

for section in moe:150 attention:60 dense:60 vision:40 step:60 sampling:30; do
  operations "${section%:*}" "${section#*:}" --routing "$routing" --tile-cache "$out" || failed+=("${section%:*}")
  gpu_state
done
if $torch; then
  part peers 150 python3 "$here/peers.py" --ceilings "$ceilings" --routing "$routing" --csv "$rows" || failed+=(peers)
else
  echo "== peers: left out, no torch that sees the GPU"
fi

# Tiles by the rule: timing them for each format would leave no time to measure.
for format in fp8-w8a8 int8 fp8 int4; do
  operations moe,dense,step 60 --weights "$format" || failed+=("$format weights")
done

echo "== dense ceiling again"
dense_ceiling | sed 's/,/_at_the_end,/' >>"$ceilings" || failed+=("dense ceiling at the end")
gpu_state
python3 "$here/report.py" --ceilings "$ceilings" --rows "$rows" --out "$out" || failed+=(report)
echo "== $SECONDS s in all; failed: ${failed[*]:-none}"
((${#failed[@]} == 0))
