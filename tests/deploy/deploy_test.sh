#!/usr/bin/env bash
# Checks what lies in deploy/ as far as the tools of this machine can: a missing tool is a note, not a failure.
# Prints `N passed, N failed`.
#
#   tests/deploy/deploy_test.sh [BINARY_DIR]      default: build/release/bin, for the image's runtime packages
set -euo pipefail

cd "$(dirname "$(readlink -f "$0")")/../.."
binaries="$(readlink -f "${1:-build/release/bin}")"
build="$(dirname "$binaries")"
python=/usr/bin/python3 # Debian's, also where another one comes first
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

# check NAME COMMAND...: passes when the command does; otherwise shows what it wrote.
check() {
  local name="$1" status
  shift
  set +e # a command that is a condition would run on after its faults
  (set -e && "$@") >"$scratch/output" 2>&1
  status=$?
  set -e
  if ((status == 0)); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED $name"
    sed 's/^/    /' "$scratch/output"
  fi
}

# Whether a tool is here; notes it when not.
have() {
  command -v "$1" >/dev/null && return
  echo "skipped: no $1 here: $2"
  return 1
}

# Prometheus and Grafana.

runbook_matches_alerts() {
  diff <(sed -n 's/^ *- alert: //p' deploy/prometheus/alerts.yml | sort) <(sed -n 's/^## //p' deploy/runbook.md | sort)
  local alert anchor
  while read -r alert; do
    anchor="runbook_url: deploy/runbook.md#${alert,,}"
    grep -q "$anchor\$" deploy/prometheus/alerts.yml || { echo "$alert: no $anchor" && return 1; }
  done < <(sed -n 's/^ *- alert: //p' deploy/prometheus/alerts.yml)
}

every_alert_is_tested() {
  diff <(sed -n 's/^ *- alert: //p' deploy/prometheus/alerts.yml | sort) \
    <(sed -n 's/^ *- alertname: //p' deploy/prometheus/alerts_test.yml | sort -u)
}

every_panel_of_the_runbook_exists() {
  "$python" - <<'PYTHON'
import json, re, sys
panels = {p["title"] for p in json.load(open("deploy/grafana/tessera.json"))["panels"]}
text = open("deploy/runbook.md").read()
looks = re.findall(r"\*\*Look at\.\*\*(.*?)\n\n", text, re.S)
named = {" ".join(name.split()) for look in looks for name in re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", look)}
missing = sorted(named - panels - {"Targets"})
sys.exit(f"no such panels: {missing}" if missing or not named else 0)
PYTHON
}

check_monitoring() {
  check "runbook and alerts" runbook_matches_alerts
  check "every alert is tested" every_alert_is_tested
  check "panels named in the runbook" every_panel_of_the_runbook_exists
  check "dashboard" "$python" tests/deploy/check_dashboard.py
  if have promtool "Prometheus' configuration and alerts"; then
    check "prometheus.yml" promtool check config deploy/prometheus/prometheus.yml
    check "alerts.yml" promtool check rules deploy/prometheus/alerts.yml
    check "alerts_test.yml" promtool test rules deploy/prometheus/alerts_test.yml
  fi
}

# Kubernetes.

rule_is_generated() {
  local overlay=deploy/kubernetes/overlays/monitoring
  diff "$overlay/prometheus_rule.yaml" <("$overlay/generate_prometheus_rule.sh")
}

check_kubernetes() {
  local overlay
  check "prometheus_rule.yaml" rule_is_generated
  if ! "$python" -c 'import yaml' 2>/dev/null; then
    echo "skipped: no python3-yaml here: Kubernetes files"
    return
  fi
  check "Kubernetes files" "$python" tests/deploy/check_kubernetes.py deploy/kubernetes
  have kubectl "kustomize" || return 0
  for overlay in base overlays/monitoring; do
    check "kustomize $overlay" kubectl kustomize "deploy/kubernetes/$overlay" -o "$scratch/rendered.yaml"
  done
}

# Packages and the image.

# install_packages.sh on a machine that `dpkg-query` says has nothing but g++; leaves what was run in $scratch/calls.
# shellcheck disable=SC2016 # the stand-ins expand it
install_on_bare_machine() {
  mkdir -p "$scratch/bin"
  printf '#!/bin/sh\ncase "$*" in *" g++") printf "ii ";; *) exit 1;; esac\n' >"$scratch/bin/dpkg-query"
  printf '#!/bin/sh\necho "${0##*/} $*" >>"%s"\n' "$scratch/calls" >"$scratch/bin/apt-get"
  printf '#!/bin/sh\nexec "$@"\n' >"$scratch/bin/sudo"
  cp "$scratch/bin/apt-get" "$scratch/bin/systemctl"
  chmod +x "$scratch"/bin/*
  : >"$scratch/calls"
  PATH="$scratch/bin:$PATH" deploy/install_packages.sh "$@"
}

installs_what_is_missing() {
  install_on_bare_machine build
  grep -q '^apt-get update' "$scratch/calls"
  grep -q '^apt-get install .* cmake ' "$scratch/calls"
  ! grep -qE ' g\+\+( |$)| shellcheck| libdnnl2' "$scratch/calls"
}

installs_nothing_twice() {
  : >"$scratch/calls"
  printf '#!/bin/sh\nprintf "ii "\n' >"$scratch/bin/dpkg-query"
  PATH="$scratch/bin:$PATH" deploy/install_packages.sh all | grep -q 'nothing is missing'
  [[ ! -s "$scratch/calls" ]]
}

refuses_unknown_group() {
  ! deploy/install_packages.sh everything
}

# Packages of the libraries that the programs load directly, against the group `runtime`.
runtime_packages_suffice() {
  local file library
  ldd "$binaries/tessera-server" "$binaries/tessera" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u >"$scratch/libraries"
  while read -r library; do
    # One of the two paths is unknown to dpkg where /lib is a link to /usr/lib.
    file="$(awk -v name="$library" '$1 == name { print $2; exit }' "$scratch/libraries")"
    dpkg-query --search "$(readlink -f "$file")" "$file" 2>/dev/null | head -n 1 | cut -d: -f1 || true
  done < <(objdump --private-headers "$binaries/tessera-server" "$binaries/tessera" | awk '$1 == "NEEDED" { print $2 }' | sort -u) |
    sort -u | grep -vxE 'libc6|libgcc-s1' >"$scratch/needed"
  [[ -s "$scratch/needed" ]]
  comm -23 "$scratch/needed" <(awk '$1 == "runtime" { print $2 }' deploy/packages.txt | sort) >"$scratch/lacking"
  cat "$scratch/lacking"
  [[ ! -s "$scratch/lacking" ]]
}

check_packages() {
  check "install_packages.sh installs what is missing" installs_what_is_missing
  check "install_packages.sh does nothing twice" installs_nothing_twice
  check "install_packages.sh refuses an unknown group" refuses_unknown_group
  if [[ -x "$binaries/tessera-server" && -x "$binaries/tessera" ]] && have objdump "runtime packages"; then
    check "runtime packages" runtime_packages_suffice
  else
    echo "skipped: the programs are not built: runtime packages"
  fi
}

# What a build becomes for those who do not build.

package_is_whole() {
  (cd "$scratch" && cpack --config "$build/CPackConfig.cmake" -B "$scratch/package")
  local package root="$scratch/package_root"
  package="$(ls "$scratch"/package/tessera_*.deb)"
  dpkg-deb --extract "$package" "$root"
  "$root/usr/bin/tessera-server" --version
  "$root/usr/bin/tessera" --help >/dev/null
  grep -q '^ExecStart=/usr/bin/tessera-server ' "$root/usr/lib/systemd/system/tessera.service"
  [[ -f $root/usr/share/tessera/proto/tessera/v1/generation.proto && -f $root/usr/share/doc/tessera/copyright ]]
  dpkg-deb --field "$package" Depends | grep -q 'libgrpc++1.51, '
  (($(stat --format=%s "$package") < 15000000))
}

client_library_is_usable() {
  cmake --install "$build" --prefix "$scratch/prefix"
  cmake -S tests/deploy/client_example -B "$scratch/client" -DCMAKE_PREFIX_PATH="$scratch/prefix"
  cmake --build "$scratch/client"
  local status=0
  "$scratch/client/client_example" 127.0.0.1:1 || status=$?
  ((status == 3)) # it runs, and nobody answers there
}

check_what_is_shipped() {
  if [[ ! -f $build/CPackConfig.cmake || ! -x $binaries/tessera-server || ! -x $binaries/tessera ]]; then
    echo "skipped: the programs are not built: package, bundle, client library"
    return
  fi
  if have dpkg-deb "the package"; then
    check "package" package_is_whole
  fi
  if have patchelf "the bundle"; then
    check "bundle for the CPU" deploy/bundle.sh --cpu "$build" "$scratch/bundle"
  fi
  check "client library" client_library_is_usable
}

# Systemd and shell. `systemd-analyze verify` writes faults and exits with 0, so any line is a fault. The program need not be
# installed here, so another one stands in for it.
unit_is_valid() {
  sed 's#/usr/local/bin/tessera-server#/bin/true#' deploy/systemd/tessera.service >"$scratch/tessera.service"
  systemd-analyze verify --man=no "$scratch/tessera.service" >"$scratch/faults" 2>&1
  cat "$scratch/faults"
  [[ ! -s "$scratch/faults" ]]
}

check_scripts() {
  if have systemd-analyze "tessera.service"; then
    check "tessera.service" unit_is_valid
  fi
  if have shellcheck "shell scripts"; then
    local scripts
    mapfile -t scripts < <(find deploy tests .ci -name "*.sh" -o -path .ci/run | sort)
    check "shellcheck" shellcheck "${scripts[@]}"
  fi
}

check_monitoring
check_kubernetes
check_packages
check_what_is_shipped
check_scripts
echo "$passed passed, $failed failed"
((failed == 0))
