#!/usr/bin/python3
"""Who may include whom: the tables "Who may include whom" of DESIGN.md against every #include of the product.

    tests/include_rules.py [ROOT]

Fails on an #include that no row allows, an arrow of the table that nobody uses, a folder of sources that has no row, a cycle between
folders, a cycle between files, and a library's header outside the folders that may know it.
"""

import pathlib
import re
import sys

SOURCES = (".h", ".cc", ".cu", ".cuh")
TREES = ("engine", "server", "client", "cuda")
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]', re.MULTILINE)


def table_rows(text, header):
    """The rows, as lists of the `quoted` words of each cell, of the table with this header line."""
    lines = text.split("\n")
    begin = lines.index(header)
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")])
    return rows


def folder_of(path, folders):
    """The deepest folder of the table that holds the file; None where there is none."""
    holders = [folder for folder in folders if path.startswith(folder + "/")]
    return max(holders, key=len, default=None)


def find_cycle(graph):
    """Some cycle as a list of nodes, the first again at the end; empty where there is none."""
    done, path = set(), []

    def walk(node):
        if node in path:
            return path[path.index(node) :] + [node]
        if node in done:
            return []
        path.append(node)
        for other in sorted(graph.get(node, ())):
            cycle = walk(other)
            if cycle:
                return cycle
        path.pop()
        done.add(node)
        return []

    for node in sorted(graph):
        cycle = walk(node)
        if cycle:
            return cycle
    return []


def check(root):
    design = (root / "DESIGN.md").read_text()
    allowed = {row[0][0]: set(row[1]) for row in table_rows(design, "| folder | may include | holds |")}
    libraries = table_rows(design, "| headers of | only in |")
    files = {
        str(path.relative_to(root)): path.read_text()
        for tree in TREES
        for path in sorted((root / tree).rglob("*"))
        if path.suffix in SOURCES
    }
    faults = [f"DESIGN.md: {folder}: {other} has no row" for folder in allowed for other in allowed[folder] - set(allowed)]
    used, file_graph, folder_graph = set(), {}, {}
    for name, text in files.items():
        folder = folder_of(name, allowed)
        if folder is None:
            faults.append(f"{name}: its folder has no row in DESIGN.md")
            continue
        for header in INCLUDE.findall(text):
            for prefixes, owners in libraries:
                if header.startswith(tuple(prefixes)) and not name.startswith(tuple(owner + "/" for owner in owners)):
                    faults.append(f"{name}: #include of {header}, which only {', '.join(owners)} may know")
            if header not in files:
                continue
            file_graph.setdefault(name, set()).add(header)
            other = folder_of(header, allowed)
            if other in (folder, None):
                continue
            folder_graph.setdefault(folder, set()).add(other)
            used.add((folder, other))
            if other not in allowed[folder]:
                faults.append(f"{name}: #include of {header}, but {folder} may not include {other}")
    faults += [f"DESIGN.md: {folder} does not include {other}" for folder in allowed for other in sorted(allowed[folder]) if (folder, other) not in used]
    for graph in (folder_graph, file_graph):
        cycle = find_cycle(graph)
        if cycle:
            faults.append("a cycle: " + " → ".join(cycle))
    if not files or not libraries:
        faults.append("no sources or no tables: this checks nothing")
    return faults


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    faults = check(root)
    print("\n".join(faults) or "include rules hold")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
