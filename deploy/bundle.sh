#!/usr/bin/env bash
# Makes a directory that runs on another x86-64 machine with a GPU, wherever it is put: programs, the shared libraries they need, and
# bench/gpu/check.sh, which checks and times everything there.
#   deploy/bundle.sh [--engine-only] BUILD_DIR OUT_DIR
# BUILD_DIR is e.g. build/cuda. --engine-only leaves out what needs gRPC. OUT_DIR must not exist or be a bundle that is replaced.
#
# What is not in it, and must be there: glibc and libstdc++ (of this release or newer; an older copy beside a newer system breaks both), the
# driver, and for peers torch. oneDNN is left out too, by a stand-in that says so: it is 40 MB of products for the CPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "bundle: $*" >&2
  exit 1
}

engine_only=false
if [[ ${1:-} == --engine-only ]]; then
  engine_only=true
  shift
fi
(($# == 2)) || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
build=$1
out=$2
marker=.tessera-bundle
programs=(operations_test gpu_ops_bench gpu_ceilings)
limit=20000000
if ! $engine_only; then
  programs+=(tessera-server tessera tessera-golden)
  limit=60000000
fi
# Not taken along: the system's, and whatever belongs to CUDA or its driver.
of_the_machine='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s|cuda|cudart|cublas.*|cudnn.*|nv.*|nccl))\.so'

command -v patchelf >/dev/null || fail "patchelf is missing: deploy/install_packages.sh build"
[[ -d $build/bin ]] || fail "$build/bin is no directory"
if [[ -e $out ]]; then
  [[ -e $out/$marker ]] || fail "$out exists and is no bundle"
  rm -rf "$out"
fi
mkdir -p "$out/bin" "$out/lib" "$out/bench/gpu"
touch "$out/$marker"

# A libdnnl that has the names this bundle's programs ask for and ends the process when one is called.
make_onednn_stand_in() {
  local name=$1 source
  source=$(mktemp --suffix=.c)
  {
    echo '#include <stdio.h>'
    echo '#include <stdlib.h>'
    nm -D --undefined-only "$out"/bin/* | sed -n 's/.* U \(dnnl_[a-z0-9_]*\)$/\1/p' | sort -u | while read -r symbol; do
      printf 'void %s(void) { fputs("this bundle is for a GPU and has no oneDNN; use --device cuda\\n", stderr); abort(); }\n' "$symbol"
    done
  } >"$source"
  "${CC:-gcc}" -shared -fPIC -O1 -s "-Wl,-soname,$name" -o "$out/lib/$name" "$source"
  rm -f "$source"
}

# Whatever the programs load, libraries of libraries too, but for what is of_the_machine.
copy_libraries() {
  local name path
  for program in "$out"/bin/*; do
    env -u LD_LIBRARY_PATH ldd "$program" | awk '$2 == "=>" {print $1, $3}'
  done | sort -u | while read -r name path; do
    [[ $name =~ $of_the_machine ]] && continue
    [[ $path == not ]] && fail "$name is found nowhere"
    case $name in
      libdnnl.so.*) make_onednn_stand_in "$name" ;;
      libOpenCL.so.*) ;; # of oneDNN alone
      *) install -m 755 "$path" "$out/lib/$name" ;;
    esac
  done
}

for program in "${programs[@]}"; do
  if [[ -x $build/bin/$program ]]; then
    install -m 755 "$build/bin/$program" "$out/bin/$program"
  else
    echo "bundle: left out, not built: $program"
  fi
done
strip --strip-all "$out"/bin/*
copy_libraries
strip --strip-debug "$out"/lib/*
# --force-rpath: a DT_RPATH also holds for libraries of libraries, unlike a DT_RUNPATH.
for program in "$out"/bin/*; do patchelf --force-rpath --set-rpath "\$ORIGIN/../lib" "$program"; done
for library in "$out"/lib/*; do patchelf --force-rpath --set-rpath "\$ORIGIN" "$library"; done
cp "$root"/bench/gpu/*.sh "$root"/bench/gpu/*.py "$out/bench/gpu/"

# Every program starts, from elsewhere, with the bundle's own libraries.
verify() {
  local program flag copy
  copy=$(mktemp -d)
  cp -r "$out/." "$copy/"
  for program in "$copy"/bin/*; do
    case $(basename "$program") in
      *_test) flag=--gtest_list_tests ;;
      *) flag=--help ;;
    esac
    # Benchmarks know no --help and answer 2 with their usage; 127 and signals mean that it did not start.
    local status=0
    (cd / && env -u LD_LIBRARY_PATH "$program" "$flag") >"$copy/log" 2>&1 || status=$?
    ((status < 3)) || { cat "$copy/log" >&2; fail "$(basename "$program") does not start: exit $status"; }
    ldd_out=$(env -u LD_LIBRARY_PATH ldd "$program")
    while read -r name _ path _; do
      [[ $name =~ $of_the_machine || $path == "$copy"/* ]] || fail "$(basename "$program") loads $name from $path"
    done < <(awk '$2 == "=>"' <<<"$ldd_out")
  done
  rm -rf "$copy"
}
verify

bytes=$(find "$out" -type f -printf '%s\n' | awk '{sum += $1} END {print sum + 0}')
find "$out/bin" "$out/lib" -type f -printf '%s %P\n' | sort -rn | head -n 12
echo "bundle: $out, $((bytes / 1000)) kB of at most $((limit / 1000)); newest glibc needed: $(
  find "$out/bin" "$out/lib" -type f -exec objdump -T {} + 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -V | tail -n 1)"
((bytes <= limit)) || fail "too large"
