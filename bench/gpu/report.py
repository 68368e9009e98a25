#!/usr/bin/env python3
"""Turns the CSV files of bench/gpu/run.sh into report.md and, where matplotlib is there, report.png."""

import argparse
import csv
from pathlib import Path

MOVED_LIMIT = 0.03  # of the dense ceiling between begin and end

# (what is measured, which rows, % of its floor: works, aim): milestones of the design.
AIMS = [
    ("expert products, 8192 tokens", lambda r: key(r) == ("moe", "experts") and tokens(r) >= 8192, 50, 70),
    ("expert products, 1024 and 2048 tokens", lambda r: key(r) == ("moe", "experts") and 1024 <= tokens(r) <= 2048, 60, 80),
    ("MoE layer, 32 to 512 tokens", lambda r: key(r) == ("moe", "layer") and 32 <= tokens(r) <= 512, 80, 90),
    ("MoE layer, 8 and 16 tokens", lambda r: key(r) == ("moe", "layer") and 8 <= tokens(r) <= 16, 70, 85),
    ("MoE layer, 1 token", lambda r: key(r) == ("moe", "layer") and tokens(r) == 1, 50, 70),
    ("attention, 64k keys and more", lambda r: key(r) == ("attention", "decode") and keys(r) >= 65536, 75, 88),
    ("decoder layers, 1 row", lambda r: key(r) == ("step", "decode") and tokens(r) == 1, 60, 75),
    ("decoder layers, 32 to 128 rows", lambda r: key(r) == ("step", "decode") and tokens(r) >= 32, 65, 80),
    ("decoder layers, prompts of 16 requests", lambda r: key(r) == ("step", "prefill"), 50, 65),
    ("vision layers, 32 images", lambda r: r["section"] == "vision" and r["detail"].startswith("32 "), 45, 60),
]  # fmt: skip


def key(row):
    return row["section"], row["what"]


def tokens(row):
    return int(row["tokens"])


def keys(row):
    words = row["detail"].split()
    return int(words[1]) * int(words[3])


def read_rows(path):
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_ceilings(path):
    ceilings = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(",")
        ceilings[name] = float(value)
    return ceilings


def verdict(ceilings):
    """A sentence that says whether the run counts."""
    begin = ceilings.get("dense_flops_per_second")
    end = ceilings.get("dense_flops_per_second_at_the_end")
    if begin is None or end is None:
        return "**Incomplete**: the dense ceiling was not measured at both ends of the run."
    moved = abs(end / begin - 1)
    figures = (
        f"dense ceiling {begin / 1e12:.0f} TFLOP/s at first, {end / 1e12:.0f} at the end: it moved {100 * moved:.1f} %"
    )
    if moved > MOVED_LIMIT:
        return f"**Invalid**: {figures}, more than {100 * MOVED_LIMIT:.0f} %."
    return f"Valid: {figures}."


def table_of(header, lines):
    marks = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [header, marks, *lines]) + "\n"


def aims(rows):
    """The least and the most of each milestone's rows, Tessera's alone."""
    lines = []
    for name, belongs, works, aim in AIMS:
        shares = [float(r["of_floor_percent"]) for r in rows if r["contender"] == "tessera" and belongs(r)]
        found = f"{min(shares):.0f} to {max(shares):.0f} %" if shares else "not measured"
        lines.append([name, found, f"{works} %", f"{aim} %"])
    times = [
        float(r["median_us"])
        for r in rows
        if r["contender"] == "tessera" and r["what"] == "route+combine" and tokens(r) <= 512
    ]
    found = f"{min(times):.1f} to {max(times):.1f} µs" if times else "not measured"
    lines.append(["routing, sorting, combining, to 512 tokens", found, "10 µs", "3 µs"])
    return table_of(["what", "of its floor", "works", "aim"], lines)


def contenders_beside(rows):
    """One line for each thing measured, one column for each contender: µs and % of the floor."""
    names = sorted({r["contender"] for r in rows}, key=lambda name: (name != "tessera", name))
    things = {}
    for row in rows:
        thing = (row["section"], row["what"], row["shape"], row["tokens"], row["detail"])
        things.setdefault(thing, {})[row["contender"]] = row
    lines = []
    for thing, by_name in things.items():
        cells = []
        for name in names:
            row = by_name.get(name)
            wrong = " WRONG" if row and row["check"] == "WRONG" else ""
            cells.append(
                f"{float(row['median_us']):.1f} ({float(row['of_floor_percent']):.0f} %){wrong}" if row else ""
            )
        floor = next(iter(by_name.values()))
        lines.append([" ".join(thing), f"{float(floor['floor_us']):.1f}, {floor['bound']}", *cells])
    return table_of(["what", "floor µs", *names], lines)


def sample(rows, path):
    """The share of the floor against tokens, an image for each shape's MoE layer; nothing without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    layers = [r for r in rows if key(r) == ("moe", "layer") and r["detail"].startswith("uniform")]
    shapes = list(dict.fromkeys(r["shape"] for r in layers))
    if not shapes:
        return False
    figure, axes = pyplot.subplots(1, len(shapes), figsize=(5 * len(shapes), 4), sharey=True, squeeze=False)
    for axis, shape in zip(axes[0], shapes):
        for name in dict.fromkeys(r["contender"] for r in layers):
            points = [
                (tokens(r), float(r["of_floor_percent"]))
                for r in layers
                if (r["shape"], r["contender"]) == (shape, name)
            ]
            if points:
                axis.plot(*zip(*sorted(points)), marker="o", label=name)
        axis.set(title=f"MoE layer, {shape}", xlabel="tokens")
        axis.set_xscale("log", base=2)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0][0].set_ylabel("% of the floor")
    axes[0][0].set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ceilings", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    ceilings = read_ceilings(flags.ceilings)
    rows = read_rows(flags.rows)
    text = "# Operations on the GPU\n\n" + verdict(ceilings) + "\n\n"
    wrong = sum(row["check"] == "WRONG" for row in rows)
    text += f"{len(rows)} rows; " + (f"**{wrong} with wrong results**.\n\n" if wrong else "no result found wrong.\n\n")
    text += table_of(["ceiling", "value"], [[name, f"{value:.4g}"] for name, value in ceilings.items()]) + "\n"
    text += "Floors count the bytes and products of the routing that was measured. Median µs and % of the floor; "
    text += "contenders ran one after another.\n\n"
    text += aims(rows) + "\n" + contenders_beside(rows)
    if sample(rows, flags.out / "report.png"):
        text += "\n![share of the floor](report.png)\n"
    (flags.out / "report.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
