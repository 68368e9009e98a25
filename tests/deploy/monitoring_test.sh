#!/usr/bin/env bash
# The server under a real Prometheus: /metrics is well formed, every query of the dashboard brings figures, every alert rule
# evaluates and none fires. Exit status 77: skipped, for a tool, a program or the model is not there.
#
#   tests/deploy/monitoring_test.sh [BINARY_DIR]      default: build/release/bin
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
binaries="${1:-build/release/bin}"
model=models/demo/checkpoint
tower=models/demo/vision_tower
python=/usr/bin/python3 # Debian's, also where another one comes first
scratch="$(mktemp -d)"
started=()

clean_up() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap clean_up EXIT

skip() {
  echo "skipped: $*"
  exit 77
}

fail() {
  {
    echo "FAILED $*"
    tail -n 20 "$scratch"/*.log || true
  } >&2
  exit 1
}

# The body of a page; fails when its status is not 200.
fetch() {
  "$python" -c 'import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=5).read().decode())' \
    "$1" 2>/dev/null
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  local deadline=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@" >/dev/null; do
    ((SECONDS < deadline)) || fail "$what: not within the time given"
    sleep 0.5
  done
}

check_needs() {
  local need
  for need in prometheus promtool "$python"; do
    command -v "$need" >/dev/null || skip "no $need here"
  done
  for need in "$binaries/tessera-server" "$binaries/tessera"; do
    [[ -x "$need" ]] || skip "$need is not built"
  done
  [[ -f "$model/model.safetensors" ]] || skip "$model holds no weights"
}

is_serving() {
  kill -0 "${started[0]}" 2>/dev/null || fail "the server ended"
  grep -q 'serving grpc on' "$scratch/server.log"
}

# Sets grpc and http to the addresses that the server chose.
start_server() {
  "$binaries/tessera-server" --model "$model" --vision-tower "$tower" --listen 127.0.0.1:0 \
    --http-listen 127.0.0.1:0 --kv-cache-mib 256 2>"$scratch/server.log" &
  started+=($!)
  wait_for 30 "the server's ports" is_serving
  read -r grpc http < <(sed -n 's/.*serving grpc on \([^ ,]*\), http on \([^ ,]*\).*/\1 \2/p' "$scratch/server.log")
  wait_for 120 "the model" fetch "http://$http/readyz"
}

# deploy/prometheus/prometheus.yml, with this server's address and faster. Sets prometheus.
start_prometheus() {
  local port
  cp deploy/prometheus/alerts.yml "$scratch/"
  sed -e "s/127.0.0.1:8080/$http/" -e 's/_interval: .*/_interval: 1s/' deploy/prometheus/prometheus.yml \
    >"$scratch/prometheus.yml"
  grep -q "$http" "$scratch/prometheus.yml" || fail "prometheus.yml names no target to replace"
  port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  prometheus="http://127.0.0.1:$port"
  prometheus --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/data" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn 2>"$scratch/prometheus.log" &
  started+=($!)
  wait_for 30 "Prometheus" fetch "$prometheus/-/ready"
  wait_for 30 "the first scrape" has_scraped
}

has_scraped() {
  fetch "$prometheus/api/v1/query?query=tessera_model_load_seconds" | grep -q '"metric"'
}

ask() {
  "$binaries/tessera" generate --address "$grpc" --timeout 60s --max-tokens 24 "$@" >>"$scratch/answers.log" \
    2>&1 || fail "tessera generate $*"
}

# Text and images; the same image twice, so that caches have something to find.
make_traffic() {
  local images image
  shopt -s nullglob
  images=(models/demo/images/*.jpg models/demo/images/*.png)
  ((${#images[@]} > 0)) || images=(tests/golden/images/jpeg_q95_sub0.jpg tests/golden/images/png_interlaced_rgb.png)
  ask "What can you do?"
  for image in "${images[@]:0:2}"; do
    ask --image "$image" "What is in this image?"
    ask --image "$image" "Which colours do you see?"
  done
  ask --no-stream "Name three colours."
}

main() {
  check_needs
  start_server
  start_prometheus
  make_traffic
  fetch "http://$http/metrics" >"$scratch/metrics"
  promtool check metrics <"$scratch/metrics" || fail "promtool check metrics"
  sleep 4 # a few scrapes and evaluations of the rules
  "$python" tests/deploy/check_dashboard.py --prometheus "$prometheus" --window 5m
}

main "$@"
