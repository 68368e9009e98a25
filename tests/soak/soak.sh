#!/usr/bin/env bash
# Mixed image and text requests with random cancels and deadlines against the demonstration model: every request gets one final
# status, sequences are preempted, everything is given back, memory does not grow.
#   tests/soak/soak.sh [--attacks] [REQUESTS] [BINDIR]
# --attacks: those of tests/abuse take turns beside it, at the lowest priority on one core; the load goes on until each had its turn.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
attacks=
if [[ ${1:-} == --attacks ]]; then
  attacks=yes
  shift
fi
requests=${1:-10000}
bin=${2:-$root/build/release/bin}
work=$(mktemp -d)
# shellcheck source=tests/testing/demo_server.sh
source "$root/tests/testing/demo_server.sh"
attackers_pid=
stop_attackers() {
  if [[ -n $attackers_pid ]] && kill "$attackers_pid" 2>/dev/null; then wait "$attackers_pid" || true; fi
  attackers_pid=
}
trap 'stop_attackers; stop_demo_server; rm -rf "$work"' EXIT
# A cache that the load fills at once: blocks are evicted, sequences preempted, and memory has its full size from the beginning.
start_demo_server "$root" "$bin" "$work/server.log" --kv-cache-mib 32

# metric NAME: the sum over its samples.
metric() { curl -sf "http://$http/metrics" | awk -v name="$1" '$1 ~ "^"name"({|$)" {sum += $2} END {print sum + 0}'; }
resident() { awk '/VmRSS/ {print $2}' "/proc/$server_pid/status"; }

# load REQUESTS SEED PROMPT-FLAGS…
load() {
  local count=$1 seed=$2
  shift 2
  "$bin/tessera" bench --address "$address" --concurrency 64 --requests "$count" --seed "$seed" \
    --image "$root"/models/demo/images/scene*.* --image-share 0.5 --cancel-share 0.1 --deadline-share 0.1 "$@" --json "$work/bench.json" >"$work/bench.log" 2>&1 ||
    { cat "$work/bench.log" >&2; return 1; }
  grep -A 6 '"statuses"' "$work/bench.json"
}

load $((requests / 10 > 500 ? requests / 10 : 500)) 1 --prompt-tokens 60 --max-tokens 40
before=$(resident)
if [[ -n $attacks ]]; then
  nice -n 19 taskset -c 0 "$root/tests/abuse/attacks.py" all "$address" "$http" >"$work/attacks.log" 2>&1 &
  attackers_pid=$!
fi
load $((requests / 2)) 2 --prompt "What is in the image?" --max-tokens 40 # prefixes and images are shared
load $((requests / 2)) 3 --prompt-tokens 60 --max-tokens 40               # random words: little is
load $((requests / 20 > 128 ? requests / 20 : 128)) 4 --prompt "What is in the image?" --max-tokens 400 --ignore-eos # answers outgrow the cache
failed=0
kinds_of_attack() { grep ': under way' "$work/attacks.log" | sort -u | wc -l; }
if [[ -n $attacks ]]; then
  all_kinds=$("$root/tests/abuse/attacks.py" list | wc -l)
  for ((round = 0; round < 5 * all_kinds && $(kinds_of_attack) < all_kinds; ++round)); do load 500 "$((5 + round))" --prompt-tokens 60 --max-tokens 40; done
  echo "attacks: $(grep -c ': under way' "$work/attacks.log" || true), of $(kinds_of_attack) kinds"
  if (($(kinds_of_attack) < all_kinds)); then
    cat "$work/attacks.log" >&2
    echo "FAIL only $(kinds_of_attack) of $all_kinds kinds of attack had their turn" >&2
    failed=1
  fi
  if ! kill -0 "$attackers_pid"; then
    cat "$work/attacks.log" >&2
    echo "FAIL the attackers ended before the load" >&2
    failed=1
  fi
  stop_attackers
  sleep 10 # for what they left to be given back
fi
after=$(resident)

preemptions=$(metric tessera_preemptions_total)
echo "preemptions: $preemptions"
if [[ $preemptions == 0 ]]; then
  echo "FAIL no sequence was preempted" >&2
  failed=1
fi
expect_zero() {
  local value
  value=$(metric "$1")
  if [[ $value != 0 ]]; then
    echo "FAIL $1 is $value after the load" >&2
    failed=1
  fi
}
sleep 1
expect_zero tessera_requests_running
expect_zero tessera_requests_waiting
expect_zero tessera_kv_cache_usage_ratio
echo "resident memory: $before KiB before the load, $after KiB after it"
if grep -q __asan_init "$bin/tessera-server"; then
  echo "memory is judged by the check for leaks: the address sanitizer keeps what is freed"
elif ((after > before + before / 5 + 65536)); then
  echo "FAIL memory grew" >&2
  failed=1
fi
kill -TERM "$server_pid"
if ! wait "$server_pid"; then # a sanitizer's check for leaks, too
  cat "$work/server.log" >&2
  echo "FAIL the server did not end as it should" >&2
  failed=1
fi
server_pid=
[[ $failed -eq 0 ]]
