#!/usr/bin/env bash
# tests/demo_quality against a server of its own.
#   tests/quality.sh [SCENES] [BINDIR]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${2:-$root/build/release/bin}
log=$(mktemp)
# shellcheck source=tests/testing/demo_server.sh
source "$root/tests/testing/demo_server.sh"
trap 'stop_demo_server; rm -f "$log"' EXIT
start_demo_server "$root" "$bin" "$log"
"$root/tests/demo_quality" --address "$address" --scenes "${1:-250}"
