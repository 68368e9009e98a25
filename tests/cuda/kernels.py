#!/usr/bin/env python3
"""Every __global__ function of cuda/kernels has a test, a caller, and a place in the list of what no GPU has run yet.

Only text is read.

kernels.py             checks; exit status 1 and a line for each fault
kernels.py --update    also writes the table of bench/results/UNRUN.md anew
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "cuda" / "kernels"
UNRUN = ROOT / "bench" / "results" / "UNRUN.md"
RUN = ROOT / "bench" / "results" / "RUN.md"  # what a GPU has run: "kernel" in backquotes, with card and date
EMULATED = ROOT / "tests" / "emulated" / "CMakeLists.txt"
TABLE_HEAD = "| file | kernel | runs in |\n| --- | --- | --- |\n"

# The suite of tests/engine/backend whose operations launch a file's kernels, by the first word of the file's name.
SUITES = {
    "argmax": "RowsTest",
    "attention": "AttentionTest",
    "copy": "LinearTest",
    "sample": "SampleTest",
    "lora": "LoraTest",
    "norm": "RowsTest",
    "product": "ExpertsTest",
    "quantize": "LinearTest",
    "rope": "AttentionTest",
    "route": "ExpertsTest",
    "rows": "RowsTest",
}


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def kernels_in(text):
    """Names of the __global__ functions that `text` defines."""
    text = re.sub(r"__launch_bounds__\s*\([^()]*(\([^()]*\)[^()]*)*\)", "", text)
    return re.findall(r"__global__\s+(?:static\s+)?void\s+(\w+)\s*\(", text)


def all_kernels():
    """(file, kernel) pairs, headers included, since kernels that several files instantiate lie there."""
    found = []
    for path in sorted([*KERNELS.glob("*.cu"), *KERNELS.glob("*.h"), *KERNELS.glob("*.cuh")]):
        found += [(path.name, name) for name in kernels_in(without_comments(path.read_text()))]
    return found


def suite_of(file):
    return SUITES.get(Path(file).stem.split("_")[0])


def faults_of_tests(kernels):
    """Each file's suite is there, and each .cu is compiled into the tests that run where there is no GPU."""
    faults = []
    tests = "".join(path.read_text() for path in (ROOT / "tests/engine/backend").glob("*_test.cc"))
    for file in sorted({file for file, _ in kernels}):
        suite = suite_of(file)
        if suite is None:
            faults.append(f"cuda/kernels/{file}: no test suite; add its first word to SUITES in tests/cuda/kernels.py")
        elif f"TEST_P({suite}," not in tests:
            faults.append(f"cuda/kernels/{file}: tests/engine/backend has no test of {suite}")
    if not EMULATED.exists():
        return faults + ["tests/emulated/CMakeLists.txt is not there: no kernel is tested without a GPU"]
    cmake = EMULATED.read_text()
    for path in sorted(KERNELS.glob("*.cu")):
        globbed = "/kernels/*.cu)" in cmake and not re.search(rf"REMOVE_ITEM[^)]*{path.name}", cmake)
        if not globbed and path.name not in re.sub(r"REMOVE_ITEM[^)]*\)", "", cmake):
            faults.append(f"cuda/kernels/{path.name}: not compiled into the emulated tests")
    return faults


def faults_of_callers(kernels):
    """Each kernel is launched, and each launch function that a header declares is called."""
    faults = []
    sources = {
        path: without_comments(path.read_text()) for folder in (KERNELS.parent, KERNELS) for path in folder.glob("*.*")
    }
    kernel_text = "".join(text for path, text in sources.items() if path.parent == KERNELS)
    for file, name in kernels:
        if len(re.findall(rf"\b{name}\b", kernel_text)) < 2:
            faults.append(f"cuda/kernels/{file}: nothing launches {name}")
    for path in sorted(KERNELS.glob("*.h")):
        for name in re.findall(r"^void (\w+)\([^)]*\bStream stream\);", sources[path], flags=re.MULTILINE):
            calls = sum(len(re.findall(rf"(?<!void )\b{name}\(", text)) for text in sources.values())
            if calls == 0:
                faults.append(f"cuda/kernels/{path.name}: nothing calls {name}()")
    return faults


def names_in(path):
    return set(re.findall(r"`(\w+)`", path.read_text())) if path.exists() else set()


def faults_of_lists(kernels):
    """Each kernel is in one of the two lists; the lists hold no others."""
    unrun, run = names_in(UNRUN), names_in(RUN)
    names = {name for _, name in kernels}
    faults = [
        f"{name}: neither in {UNRUN.name} nor in {RUN.name}; tests/cuda/kernels.py --update"
        for name in sorted(names - unrun - run)
    ]
    faults += [f"{name}: in {UNRUN.name} and in {RUN.name}" for name in sorted(unrun & run)]
    faults += [f"{name}: listed, but cuda/kernels has no such kernel" for name in sorted((unrun | run) - names)]
    return faults


def update(kernels):
    """Writes UNRUN.md's table: what is not in RUN.md."""
    run = names_in(RUN)
    head = UNRUN.read_text().partition(TABLE_HEAD)[0]
    lines = [
        f"| cuda/kernels/{file} | `{name}` | operations_test --gtest_filter='Devices/{suite_of(file)}*Cuda*' |\n"
        for file, name in kernels
        if name not in run
    ]
    UNRUN.write_text(head + TABLE_HEAD + "".join(lines))


def main():
    kernels = all_kernels()
    if "--update" in sys.argv[1:]:
        update(kernels)
    faults = faults_of_tests(kernels) + faults_of_callers(kernels) + faults_of_lists(kernels)
    if not kernels:
        faults.append("cuda/kernels holds no kernels: the rules check nothing")
    for fault in faults:
        print(fault)
    print(f"{len(kernels)} kernels, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
