#!/usr/bin/env bash
# Makes a directory that runs on another x86-64 machine, wherever it is put: programs and the shared libraries they need.
#   deploy/bundle.sh --cpu BUILD_DIR OUT_DIR              the server and its client, for machines without a GPU; e.g. of build/release
#   deploy/bundle.sh [--engine-only] BUILD_DIR OUT_DIR    for a GPU, e.g. of build/cuda, with bench/gpu/check.sh, which checks and times
#                                                         everything there; --engine-only leaves out what needs gRPC
# OUT_DIR must not exist or be a bundle that is replaced.
#
# What is not in it, and must be there: glibc and libstdc++ (of this release or newer; an older copy beside a newer system breaks both), the
# driver of a GPU, and for peers torch. A GPU's has no oneDNN either, but a stand-in that says so: it is 40 MB of products for the CPU.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "bundle: $*" >&2
  exit 1
}

kind=gpu
case ${1:-} in
  --cpu) kind=cpu && shift ;;
  --engine-only) kind=engine && shift ;;
esac
(($# == 2)) || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
build=$1
out=$2
marker=.tessera-bundle
case $kind in
  cpu) programs=(tessera-server tessera) limit=90000000 ;;
  gpu) programs=(operations_test gpu_ops_bench gpu_ceilings tessera-server tessera tessera-golden) limit=60000000 ;;
  engine) programs=(operations_test gpu_ops_bench gpu_ceilings) limit=20000000 ;;
esac
# Not taken along: the system's, and whatever belongs to CUDA or its driver.
of_the_machine='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s|cuda|cudart|cublas.*|cudnn.*|nv.*|nccl))\.so'

command -v patchelf >/dev/null || fail "patchelf is missing: deploy/install_packages.sh build"
[[ -d $build/bin ]] || fail "$build/bin is no directory"
if [[ -e $out ]]; then
  [[ -e $out/$marker ]] || fail "$out exists and is no bundle"
  rm -rf "$out"
fi
mkdir -p "$out/bin" "$out/lib"
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
      libdnnl.so.* | libOpenCL.so.*) # the latter is oneDNN's
        if [[ $kind == cpu ]]; then
          install -m 755 "$path" "$out/lib/$name"
        elif [[ $name == libdnnl* ]]; then
          make_onednn_stand_in "$name"
        fi
        ;;
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
if [[ $kind != cpu ]]; then
  mkdir -p "$out/bench/gpu"
  cp "$root"/bench/gpu/*.sh "$root"/bench/gpu/*.py "$out/bench/gpu/"
fi

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
