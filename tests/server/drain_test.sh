#!/usr/bin/env bash
# The drain of a real server ends by its time, and a second signal ends it at once, whatever is being decoded.
#   tests/server/drain_test.sh [BINDIR]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${1:-$root/build/release/bin}
work=$(mktemp -d)
clients=()
# shellcheck source=tests/testing/demo_server.sh
source "$root/tests/testing/demo_server.sh"
# shellcheck disable=SC2317 # the trap calls it
clean_up() {
  kill "${clients[@]}" 2>/dev/null || true
  if [[ -n $server_pid ]]; then kill -KILL "$server_pid" 2>/dev/null || true; fi
  wait
  rm -rf "$work"
}
trap clean_up EXIT

# A lossless WebP of 8192 × 8192 pixels of one colour: hundreds of milliseconds, and one call of the decoder.
printf 'RIFF\x14\0\0\0WEBPVP8L\x08\0\0\0\x2f\xff\xdf\xff\x07\x88\x88\x08' >"$work/blank.webp"

# start TIMEOUT: a server with a minute of decoding before it.
start() {
  start_demo_server "$root" "$bin" "$work/server.log" --drain-timeout "$1"
  clients=()
  for _ in $(seq 16); do
    "$bin/tessera" generate --address "$address" --image "$work/blank.webp" --image "$work/blank.webp" \
      --image "$work/blank.webp" --image "$work/blank.webp" --image "$work/blank.webp" \
      "What is it?" >/dev/null 2>&1 &
    clients+=($!)
  done
  for _ in $(seq 600); do
    curl -sf "http://$http/metrics" | awk '/^tessera_requests_waiting/ {n = $2} END {exit n < 12}' && return
    sleep 0.1
  done
  echo "FAIL the requests do not arrive" >&2
  return 1
}

failed=0
# ends WHAT EXIT-CODE MOST: the server ends with that code within MOST seconds; four are for a busy machine.
ends() {
  local what=$1 expected=$2 most=$(($3 + 4)) begin=$SECONDS code=0
  while kill -0 "$server_pid" 2>/dev/null && ((SECONDS - begin <= most)); do sleep 0.05; done
  if kill -0 "$server_pid" 2>/dev/null; then
    echo "FAIL $what: the process is there after $((SECONDS - begin)) s" >&2
    kill -KILL "$server_pid"
    failed=1
  fi
  wait "$server_pid" || code=$?
  echo "$what: exit code $code after $((SECONDS - begin)) s"
  if [[ $code != "$expected" ]]; then
    echo "FAIL $what: exit code $code, expected $expected" >&2
    failed=1
  fi
  server_pid=
  wait "${clients[@]}" 2>/dev/null || true
}

start 2s
kill -TERM "$server_pid"
ends "a drain of 2 s" 0 2

start 60s
kill -TERM "$server_pid"
sleep 0.5
kill -TERM "$server_pid"
ends "a second SIGTERM" 143 0

start 60s
kill -INT "$server_pid"
sleep 0.5
kill -INT "$server_pid"
ends "a second SIGINT" 130 0
[[ $failed -eq 0 ]]
