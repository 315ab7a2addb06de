"""What removal keeps, and what relearning brings back, against `reset` and against the passes that were paid.

    python benchmarks/removal_figure.py --figure docs/images/removal.svg

Reads what `python benchmarks/removal.py` wrote. Every run is a point; the line goes through the means over seeds.
"""

import argparse
import json
from pathlib import Path

from removal import COLUMNS, FROM_NOTHING

VALUES = {"MU": "model utility", "100 at 1e-3": "right tokens after relearning\n(100 steps at 1e-3)"}
AGAINST = {"reset": "reset (10 passes)", "passes": "passes over the retain set (reset = 0.7)"}


def points(models, axis):
    """The runs of RESET on all matrices that differ in this setting alone: (x, run)."""
    for run in models.values():
        objective, train = FROM_NOTHING.get(run["method"], ({}, {}))
        if (
            not isinstance(objective, dict)
            or objective["name"] != "RESET"
            or set(objective) - {"name", "reset", "every"}
        ):
            continue
        if run["method"] == "NoT":
            continue
        if axis == "reset" and train["num_train_epochs"] == 10 and "reset" in objective:
            yield objective["reset"], run
        if axis == "passes" and objective.get("reset") == 0.7:
            yield run["passes"], run


def draw(models, file):
    """Four panels."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "removal", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(8, 6), layout="constrained", sharex="col", sharey="row")
    retrained = [run for run in models.values() if run["method"] == "retrained"]
    for row, (title, words) in zip(panels, VALUES.items(), strict=True):
        key = COLUMNS[title]
        for panel, (axis, along) in zip(row, AGAINST.items(), strict=True):
            found = sorted((x, run["method"], run[key]) for x, run in points(models, axis))
            means = {}
            for x, method, y in found:
                means.setdefault(method, []).append((x, y))
            centres = sorted(tuple(sum(v) / len(each) for v in zip(*each, strict=True)) for each in means.values())
            panel.plot(*zip(*centres, strict=True), "-", color="C0", lw=1)
            panel.plot([x for x, *_ in found], [y for *_, y in found], "o", color="C0", ms=6, label="RESET, each run")
            low, high = (limit(run[key] for run in retrained) for limit in (min, max))
            panel.axhspan(low, high, color="C1", alpha=0.25)
            panel.axhline(low, color="C1", ls="--", lw=1, label=f"retrained: {len(retrained)} models, 20 passes")
            panel.axhline(high, color="C1", ls="--", lw=1)
            panel.set_xlabel(along)
            panel.set_xlim(left=0)
        row[0].set_ylabel(words)
        row[0].set_ylim(0, 1.03 if title == "MU" else None)
    panels[0, 0].legend(frameon=False, loc="lower left")
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/removal.json"))
    parser.add_argument("--figure", type=Path, required=True, help="draw it here, as SVG")
    asked = parser.parse_args()
    draw(json.loads(asked.json.read_text())["models"], asked.figure)


if __name__ == "__main__":
    main()
