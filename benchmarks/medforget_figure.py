"""Gap, leak by class of fact and the ladder of `expunge scenario medforget`, from its tables.

    python benchmarks/medforget_figure.py OUT/table.json [OUT-2/table.json ...] --figure docs/images/medforget.svg
    python benchmarks/medforget_figure.py IMAGES/table.json [IMAGES-2/table.json ...]

Several tables are seeds of one another: means are drawn, with lines from the least to the largest. Prints the tables of
docs/medforget.md too, each number with its standard deviation over the seeds; of `medforget-images` those alone.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

LEVELS = ("institution", "patient", "study", "section")
CLASSES = ("independent", "correlated", "repeated", "inherited")
RUNGS = ("bare question", "+ institution", "+ patient", "+ study date", "+ retained sibling sections")
COLUMNS = {
    "forget": "forget/score",
    "kept": "retain/score",
    "kept beside": "retain/sibling",
    "gap": "gap/score",
    **{f"leak, {kind}": f"leak/{kind}/choice" for kind in CLASSES},
    "said": "leak/independent/said",
    "s": "seconds",
}
OF_PICTURES = {
    "forget": "forget/score",
    "kept": "retain/score",
    "gap": "gap/score",
    "leak of independent: choices": "leak/independent/choice",
    "answers": "leak/independent/said",
    "leak of shown: choices": "leak/shown/choice",
    "answers ": "leak/shown/said",
    "reads pictures never seen": "holdout/shown",
    "s": "seconds",
}


def read(files):
    """Values in each table by (method, metric); methods as they stand."""
    values = defaultdict(list)
    for file in files:
        for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
            values[row["method"], row["metric"]].append(row["value"])
    return values, list(dict.fromkeys(method for method, _ in values))


def shown(each, digits=2):
    """Mean and standard deviation; the value alone, of one seed; nothing, where there is none."""
    if not each:
        return ""
    spread = f" ± {stdev(each):.{digits}f}" if len(each) > 1 else ""
    return f"{mean(each):.{digits}f}{spread}"


def print_table(values, methods, columns, level=""):
    print(f"| method | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for method in methods:
        cells = [
            shown(values.get((method, level + metric), []), digits=0 if metric == "seconds" else 2)
            for metric in columns.values()
        ]
        print(f"| {method} | {' | '.join(cells)} |")


def print_tables(values, methods, levels):
    for level in levels:
        print(f"\n### One {level}\n")
        print_table(values, methods, COLUMNS, f"{level}/")
    for metric in ("exact_match", "rank"):
        print(f"\n{metric}\n\n| level | method | {' | '.join(RUNGS)} |\n|---|---|{'---:|' * len(RUNGS)}")
        for level in levels:
            for method in methods:
                found = [values[method, f"{level}/ladder/{metric}/{rung}"] for rung in RUNGS]
                print(f"| {level} | {method} | {' | '.join(map(shown, found))} |")


def draw(values, methods, levels, file):
    """A column for each level: the gap, the leak by class, and the ladder."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "medforget", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        3, len(levels), figsize=(2.6 * len(levels) + 1, 8.5), layout="constrained", sharey="row"
    )
    places = range(len(methods))
    for (gaps, leaks, ladder), level in zip(panels.T, levels, strict=True):
        each = [values[method, f"{level}/gap/score"] for method in methods]
        gaps.barh(places, list(map(mean, each)), color="C0")
        gaps.hlines(places, list(map(min, each)), list(map(max, each)), color="black", lw=1)
        gaps.set(title=f"one {level}", xlim=(-0.1, 1), xlabel="gap: retain − forget")
        for number, kind in enumerate(CLASSES):
            at = [place + 0.18 * (number - 1.5) for place in places]
            each = [values[m, f"{level}/leak/{kind}/choice"] for m in methods]
            leaks.plot(list(map(mean, each)), at, "osD^"[number], ms=5, label=kind)
            leaks.hlines(at, list(map(min, each)), list(map(max, each)), color="grey", lw=0.7)
        leaks.axvline(0, color="grey", lw=1)
        leaks.set(xlim=(-1.05, 1.05), xlabel="leak of choices")
        for method in methods:
            ranks = [mean(values[method, f"{level}/ladder_leak/rank/{rung}"]) for rung in RUNGS]
            ladder.plot(range(1, 1 + len(RUNGS)), ranks, ".-", lw=1.2, label=method)
        ladder.set(xticks=range(1, 1 + len(RUNGS)), xlabel="rung of the ladder")
    for axes in panels[:2, 0]:
        axes.set_yticks(places, methods)
        axes.invert_yaxis()
    panels[2, 0].set_ylabel("rank minus the retain model's\n(below 0: a leak)")
    panels[1, -1].legend(frameon=False, fontsize=7, bbox_to_anchor=(1, 1), loc="upper left")
    panels[2, -1].legend(frameon=False, fontsize=7, bbox_to_anchor=(1, 1), loc="upper left")
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--figure", type=Path, help="draw it here, as SVG")
    given = parser.parse_args()
    values, methods = read(given.tables)
    levels = [level for level in LEVELS if any(metric.startswith(f"{level}/") for _, metric in values)]
    if not levels:
        print_table(values, methods, OF_PICTURES)
        return
    print_tables(values, methods, levels)
    if given.figure:
        draw(values, methods, levels, given.figure)


if __name__ == "__main__":
    main()
