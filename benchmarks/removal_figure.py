"""What removal keeps, and what relearning brings back: against `reset`, the price, the model's size, the forget set's.

    python benchmarks/removal_figure.py --figure docs/images/removal.svg

Reads what `python benchmarks/removal.py` wrote, with and without `--base`, for several sizes and numbers of authors.
Every run is a point; the line goes through the means over seeds. Prints the table of how removal's cost grows.
"""

import argparse
import json
from pathlib import Path

from removal import COLUMNS, FEWER, FROM_BASE, FROM_NOTHING, RETRAINED, RETRAINING, table

RESULTS = Path("benchmarks/results")
# file, methods, directions, passes of the left panels, reset of the right ones, words, marker
SERIES = (
    ("removal.json", FROM_NOTHING, "all", 10, 0.7, "learned from nothing", "o"),
    ("removal-base.json", FROM_BASE, "all", 5, 0.8, "towards a base", "s"),
    ("removal-others.json", FROM_NOTHING, "forget", 4, 0.4, "from nothing, along=forget, other authors", "^"),
)
# what grows, and the files
GROWTH = {
    "parameters in millions": ("removal-others.json", "removal-8m.json", "removal-30m.json"),
    "authors forgotten, of 20": ("removal-1-author.json", "removal-others.json", "removal-5-authors.json"),
}
RECIPE, SUPPRESSION = "along 0.4, 4 passes", "NPO+GD"
RELEARNED = COLUMNS["100 at 1e-3"]
SETTINGS = {"name", "reset", "every", "along", "held"}


def points(models, methods, along, passes, reset, axis):
    """The runs of RESET on all matrices that differ in one setting alone: (x, method, run)."""
    for run in models.values():
        objective, train = methods.get(run["method"], ("", {}))
        if not isinstance(objective, dict) or set(objective) - SETTINGS:
            continue
        if (
            objective["held"] != "both"
            or objective["along"] != along
            or ("reset" not in objective and not run.get("choice"))
        ):
            continue
        amount = objective.get("reset", (run.get("choice") or {}).get("reset"))
        if axis == "reset" and train["num_train_epochs"] == passes:
            yield amount, run["method"], run
        if axis == "price" and amount == reset and run["method"] != "RESET, chosen":
            yield 100 * run["passes"] / RETRAINING["num_train_epochs"], run["method"], run


def load(name):
    """Models and setting."""
    found = json.loads((RESULTS / name).read_text())
    return found["models"], found["about"]


def kept(run, models):
    return run["model_utility"] / models["target"]["model_utility"]


def relearned(run, models):
    return run[RELEARNED]


def relearned_gently(run, models):
    return run[COLUMNS["30 steps at 3e-4"]]  # the other attack destroys the largest model


def grown(panel, value, axis):
    """Retrained models, removal and suppression against what grows."""
    ticks = set()
    for method, marker, words in (
        (RETRAINED, "_", "retrained"),
        (RECIPE, "^", RECIPE),
        (SUPPRESSION, "x", SUPPRESSION),
    ):
        points = []
        for name in GROWTH[axis]:
            models, about = load(name)
            x = about["parameters"] / 1e6 if axis.startswith("parameters") else about["setting"]["forgotten"]
            points += [(x, value(run, models)) for run in models.values() if run["method"] == method]
        ticks |= {x for x, _ in points}
        panel.plot(*zip(*points, strict=True), marker, color="black", ms=9 if marker == "_" else 6, label=words)
    panel.set_xscale("log")
    panel.set_xticks(sorted(ticks), [f"{x:.3g}" for x in sorted(ticks)])
    panel.minorticks_off()


def growth_table():
    """A line for each size, number of authors and method."""
    rows = {}
    for name in dict.fromkeys(file for files in GROWTH.values() for file in files):
        models, about = load(name)
        words = f"{about['parameters'] / 1e6:.1f} M, {about['setting']['forgotten']} of 20: "
        for method in ("target", RETRAINED, *FEWER, RECIPE, SUPPRESSION):
            rows |= {
                words + key: run | {"method": words + method} for key, run in models.items() if run["method"] == method
            }
    return table(rows, {**COLUMNS, "seconds": "seconds"})


def draw(file):
    """Eight panels: both values against what is chosen and paid, and against what grows."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "removal", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 4, figsize=(14, 6), layout="constrained", sharex="col", sharey="row")
    for number, (name, methods, along, passes, reset, words, marker) in enumerate(SERIES):
        (models, _), colour = load(name), f"C{number}"
        retrained = [relearned(run, models) for run in models.values() if run["method"] == RETRAINED]
        for row, value in zip(panels, (kept, relearned), strict=True):
            for panel, axis in zip(row[:2], ("reset", "price"), strict=True):
                found = sorted(
                    (x, method, value(run, models))
                    for x, method, run in points(models, methods, along, passes, reset, axis)
                )
                means = {}
                for x, method, y in found:
                    means.setdefault(method, []).append((x, y))
                centres = sorted(tuple(sum(v) / len(each) for v in zip(*each, strict=True)) for each in means.values())
                panel.plot(*zip(*centres, strict=True), "-", color=colour, lw=1)
                panel.plot([x for x, *_ in found], [y for *_, y in found], marker, color=colour, ms=6, label=words)
                if value is relearned:
                    label = f"retrained, {len(retrained)} models"
                    panel.axhspan(min(retrained), max(retrained), color=colour, alpha=0.3, label=label)
    for row, value in zip(panels, (kept, relearned_gently), strict=True):
        for panel, axis in zip(row[2:], GROWTH, strict=True):
            grown(panel, value, axis)
    for panel in panels[0]:
        panel.axhline(0.98, color="grey", ls="--", lw=1, label="98 %")
    panels[0, 0].set_ylabel("model utility over the target's")
    panels[1, 0].set_ylabel("right tokens after relearning\n(100 steps at 1e-3)")
    panels[1, 0].set_xlabel("reset\n(10 passes; towards a base 5, along=forget 4)")
    panels[1, 1].set_xlabel("price in % of tuned retraining\n(reset = 0.7; towards a base 0.8, along=forget 0.4)")
    for panel, axis in zip(panels[1, 2:], GROWTH, strict=True):
        panel.set_xlabel(f"{axis}\n(relearning: 30 steps at 3e-4)")
    for panel in (panels[0, 1], panels[1, 0], panels[1, 2]):
        panel.legend(frameon=False, fontsize=8)
    for panel in panels.flat:
        panel.set_ylim(bottom=0)
    for panel in panels[:, :2].flat:
        panel.set_xlim(left=0)
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, required=True, help="draw it here, as SVG")
    draw(parser.parse_args().figure)
    print(growth_table())


if __name__ == "__main__":
    main()
