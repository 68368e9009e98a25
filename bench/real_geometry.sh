#!/usr/bin/env bash
# A random-weight checkpoint at a published model's full geometry through the real server: load time against reading the file, memory,
# eight image chats at once, and what an arriving image does to the others' inter-token time.
#   bench/make_checkpoint.py stablelm-1.6b-4e /tmp/stablelm-4e
#   [DTYPE=float16] bench/real_geometry.sh /tmp/stablelm-4e [BINDIR]                     DTYPE: bfloat16 without
set -euo pipefail
shopt -s extglob nullglob

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
model=$1
bin=${2:-$root/build/release/bin}
images=("$root"/models/demo/images/scene*.*)
arrivals=("$root"/tests/golden/models/moe_llava_phi/images/{wide.png,tall.jpg,square.png,gray.png}) # not seen before: nothing is cached
work=$(mktemp -d)
server_pid=
stop() {
  if [[ -n $server_pid ]] && kill -TERM "$server_pid" 2>/dev/null; then wait "$server_pid" || true; fi
  rm -rf "$work"
}
trap stop EXIT
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.1f", b - a}'; }
resident() { awk '/VmHWM|VmRSS/ {printf "%s %.2f GiB  ", $1, $2 / 1048576}' "/proc/$server_pid/status"; echo; }

echo "# $(date -u +%F) $(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) cores, ${DTYPE:-bfloat16}, load average $(cut -d' ' -f1 /proc/loadavg)"
weights=("$model"/*.@(safetensors|bin) "$model"/vision_tower/*.safetensors)
tower=()
if [[ -d $model/vision_tower ]]; then tower=(--vision-tower "$model/vision_tower"); fi
bytes=$(cat "${weights[@]}" | wc -c)

# start WHERE: reads the files, then starts the server, both from the disk or both from the page cache.
start() {
  if [[ $1 == disk ]]; then sync && echo 3 >/proc/sys/vm/drop_caches; fi
  local begin
  begin=$(now)
  cat "${weights[@]}" >/dev/null
  echo "reading $((bytes / 1000000)) MB from $1: $(since "$begin") s"
  if [[ $1 == disk ]]; then echo 3 >/proc/sys/vm/drop_caches; fi
  begin=$(now)
  "$bin/tessera-server" --model "$model" "${tower[@]}" --dtype "${DTYPE:-bfloat16}" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --max-context 2048 \
    >"$work/server.log" 2>&1 &
  server_pid=$!
  until grep -q 'ready after' "$work/server.log"; do
    kill -0 "$server_pid" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.1
  done
  echo "ready from $1: $(since "$begin") s; $(grep -o 'ready after.*' "$work/server.log")"
}
if [[ -w /proc/sys/vm/drop_caches ]]; then
  start disk
  kill -TERM "$server_pid" && wait "$server_pid"
  cat "${weights[@]}" >/dev/null
fi
start "page cache"
echo "memory when ready: $(resident)"
address=$(sed -n 's/.*serving grpc on \([^,]*\),.*/\1/p' "$work/server.log")

run() { "$bin/tessera" bench --address "$address" --seed 1 --ignore-eos --timeout 600s "$@"; }
echo "== one text request: time to first token and inter-token time"
run --requests 1 --concurrency 1 --prompt "Describe the harbour." --max-tokens 16 2>/dev/null
echo "== eight image chats at once"
run --requests 8 --concurrency 8 --image "${images[@]}" --image-share 1 --prompt "What is in the picture?" --max-tokens 16 2>/dev/null
echo "memory after them: $(resident)"
echo "== four text streams alone"
run --requests 4 --concurrency 4 --prompt "Tell a long story." --max-tokens 150 --json "$work/idle.json" 2>/dev/null
echo "== four text streams while images arrive"
(for image in "${arrivals[@]}"; do
  sleep 1
  "$bin/tessera" generate --address "$address" --image "$image" --max-tokens 4 --ignore-eos --json "And this one?" |
    grep -E '"(image_tokens|cached_tokens|encode_ms|prefill_ms)"' | tr -d '\n' >&2
  echo >&2
done) &
images=$!
run --requests 4 --concurrency 4 --prompt "Tell a long story." --max-tokens 150 --json "$work/busy.json" 2>/dev/null
wait "$images"
python3 - "$work/idle.json" "$work/busy.json" <<'PYTHON'
import json, sys
idle, busy = (json.load(open(path)) for path in sys.argv[1:])
for key in ("p50_itl_ms", "p99_itl_ms"):
    if key in idle and key in busy:
        print(f"{key}: alone {idle[key]:.1f}, while images arrive {busy[key]:.1f}: {busy[key] / idle[key]:.2f}x")
PYTHON
