#!/usr/bin/env bash
# Installs what of packages.txt is missing; says what it does, and does nothing when all is there.
#
#   deploy/install_packages.sh [build|test|lint|runtime|all]...    default: build test
set -euo pipefail

list="$(dirname "$(readlink -f "$0")")/packages.txt"

fail() {
  echo "install_packages: $*" >&2
  exit 1
}

# Names of one group's packages, or of every group's.
packages_of() {
  awk -v group="$1" 'NF == 2 && $1 !~ /^#/ && (group == "all" || $1 == group) { print $2 }' "$list"
}

is_installed() {
  [[ "$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$1" 2>/dev/null)" == ?i* ]]
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo "$@"
  fi
}

install() {
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    fail "neither root nor sudo here; let an administrator run: apt-get install $*"
  fi
  echo "install_packages: installing $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends -qq -o Dpkg::Use-Pty=0 "$@"
}

# Debian's package starts a Prometheus on port 9090; the tests need only the programs.
stop_new_prometheus() {
  if [[ " $* " == *" prometheus "* && -d /run/systemd/system ]]; then
    echo "install_packages: the new prometheus service is not needed; disabling it"
    as_root systemctl disable --now --quiet prometheus.service
  fi
}

main() {
  command -v apt-get >/dev/null || fail "no apt-get: packages.txt names what to install by other means (Debian 12's names)"
  (($# > 0)) || set -- build test
  local group package missing=()
  for group in "$@"; do
    case "$group" in
      build | test | lint | runtime | all) ;;
      *) fail "unknown group \"$group\": use build, test, lint, runtime or all" ;;
    esac
    while read -r package; do
      is_installed "$package" || missing+=("$package")
    done < <(packages_of "$group")
  done
  if ((${#missing[@]} == 0)); then
    echo "install_packages: nothing is missing of: $*"
    return
  fi
  install "${missing[@]}"
  stop_new_prometheus "${missing[@]}"
}

main "$@"
