#!/usr/bin/env bash
# Installs what is missing, builds, starts the server on the demonstration model, asks it about an image, prints the answer as it
# comes, and stays up until Ctrl-C. With --once it ends after the answer.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
once=false
case "${1:-}" in
  --once) once=true ;;
  "") ;;
  *) echo "usage: deploy/demo.sh [--once]" >&2; exit 2 ;;
esac

"$root/deploy/install_packages.sh" build
cd "$root"
echo "== building (build/release; the first time takes some minutes)"
log=$(mktemp)
if ! { cmake --preset release && cmake --build --preset release --target tessera-server tessera; } >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  exit 1
fi

server_pid=
stop() {
  if [[ -n $server_pid ]] && kill -TERM "$server_pid" 2>/dev/null; then wait "$server_pid" || true; fi
  rm -f "$log"
}
trap stop EXIT

listen=127.0.0.1:50051 http=127.0.0.1:8080
if $once; then listen=127.0.0.1:0 http=127.0.0.1:0; fi
echo "== starting the server"
build/release/bin/tessera-server --model models/demo/checkpoint --vision-tower models/demo/vision_tower \
  --listen "$listen" --http-listen "$http" >"$log" 2>&1 &
server_pid=$!

address='' http_address=''
for _ in $(seq 300); do
  if line=$(grep -o 'serving grpc on [^ ,]*, http on [^ ]*' "$log"); then
    address=${line#serving grpc on }
    address=${address%%,*}
    http_address=${line##* }
    break
  fi
  kill -0 "$server_pid" 2>/dev/null || break
  sleep 0.1
done
for _ in $(seq 600); do
  [[ -n $address ]] && build/release/bin/tessera health --address "$address" >/dev/null 2>&1 && break
  kill -0 "$server_pid" 2>/dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.1
done

# The first entry of questions.json: {"image": "…", "question": "…", "answer": "…"}.
first() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" models/demo/images/questions.json | head -n 1; }
image=$(first image)
question=$(first question)
echo "== gRPC on $address, metrics on http://$http_address/metrics"
echo "== models/demo/images/$image: $question"
build/release/bin/tessera generate --address "$address" --image "models/demo/images/$image" "$question"

if ! $once; then
  echo "== the server stays up; try: build/release/bin/tessera chat --image models/demo/images/$image   (Ctrl-C ends)"
  wait "$server_pid"
fi
