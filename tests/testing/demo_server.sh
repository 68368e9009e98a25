# Sourced by scripts that need a running server: start_demo_server ROOT BINDIR LOG [FLAG…] serves the demonstration model on free ports and sets
# $server_pid, $address (gRPC) and $http once it answers; stop_demo_server ends it and waits.
# shellcheck shell=bash disable=SC2034

server_pid=
address=
http=

start_demo_server() {
  local root=$1 bin=$2 log=$3 line=
  shift 3
  "$bin/tessera-server" --model "$root/models/demo/checkpoint" --vision-tower "$root/models/demo/vision_tower" \
    --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 "$@" >"$log" 2>&1 &
  server_pid=$!
  for _ in $(seq 1200); do
    if line=$(grep -o 'serving grpc on [^ ,]*, http on [^ ]*' "$log"); then
      address=${line#serving grpc on }
      address=${address%%,*}
      http=${line##* }
      "$bin/tessera" health --address "$address" >/dev/null 2>&1 && return 0
    fi
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  return 1
}

stop_demo_server() {
  if [[ -n $server_pid ]] && kill -TERM "$server_pid" 2>/dev/null; then wait "$server_pid" || true; fi
  server_pid=
}
