"""LLMU's scenarios, small: what is still said of what was unlearned, and what is kept, a bar for each method.

    python benchmarks/llmu_figure.py --figure docs/images/llmu.svg

Reads benchmarks/results/llmu/NAME-SEED.json, each the `table.json` of `expunge scenario NAME --small --seed SEED`.
Bars are means over seeds, with the lowest and the highest. `--table` prints the means as Markdown.
"""

import argparse
import json
from pathlib import Path

RESULTS = Path("benchmarks/results/llmu")
PANELS = {
    "harmful": ("harmful_rate", "harmful answers"),
    "copyright": ("recited", "passages recited"),
    "hallucinations": ("hallucination_rate", "hallucinations"),
}
KEPT = "normal/rougeL_recall"
SERIES = (
    ("forget", "unlearned prompts"),
    ("unseen", "unseen, similar prompts"),
    (KEPT, "normal: ROUGE-L with the target"),
)


def read():
    """Values by scenario, method and metric, one for each seed."""
    found = {}
    for file in sorted(RESULTS.glob("*.json")):
        table = json.loads(file.read_text(encoding="utf-8"))
        for row in table["rows"]:
            methods = found.setdefault(table["scenario"], {})
            methods.setdefault(row["method"], {}).setdefault(row["metric"], []).append(row["value"])
    return found


def draw(found, file):
    """A panel for each scenario."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "llmu", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(11, 4.2), layout="constrained", sharey=True)
    names = max(found.values(), key=len)  # copyright has one method fewer
    for panel, (scenario, (rate, words)) in zip(panels, PANELS.items(), strict=True):
        methods = found[scenario]
        for number, (prompts, label) in enumerate(SERIES):
            metric = prompts if "/" in prompts else f"{prompts}/{rate}"
            for at, values in enumerate(methods.values()):
                mean = sum(values[metric]) / len(values[metric])
                spread = [[mean - min(values[metric])], [max(values[metric]) - mean]]
                where, named = at + (number - 1) * 0.27, {"label": label} if at == 0 else {}
                panel.barh(where, mean, 0.25, xerr=spread, color=f"C{number}", error_kw={"elinewidth": 1}, **named)
        panel.set_title(f"{scenario}: {words}", loc="left", fontsize=10)
        panel.set_xlim(0, 1.05)
        panel.set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, metadata={"Date": None})


def show(found):
    """Means over seeds and, where they differ, the lowest and the highest."""
    for scenario, methods in found.items():
        metrics = dict.fromkeys(metric for values in methods.values() for metric in values)
        print(f"\n{scenario}\n| method | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}")
        for method, values in methods.items():
            print(f"| {method} | {' | '.join(_cell(values.get(metric)) for metric in metrics)} |")


def _cell(values):
    if values is None:
        return "–"
    mean, low, high = (f"{value:.2f}" if value < 1e6 else f"{value:.1e}" for value in _summary(values))
    return mean if low == high else f"{mean} [{low}, {high}]"


def _summary(values):
    return sum(values) / len(values), min(values), max(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="draw it here, as SVG")
    parser.add_argument("--table", action="store_true", help="print the means")
    options = parser.parse_args()
    found = read()
    if options.figure:
        draw(found, options.figure)
    if options.table:
        show(found)


if __name__ == "__main__":
    main()
