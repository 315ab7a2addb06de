"""What each attack brings back after each method: the table and the figure of docs/attacks.md.

    python benchmarks/attacks.py "embedded example=demo/runs/*/attack.json" "TOFU=tofu/*/attack.json" \
        --json benchmarks/results/attacks.json --figure docs/images/attacks.svg
    python benchmarks/attacks.py --json benchmarks/results/attacks.json --figure docs/images/attacks.svg

Reads files of `expunge attack`, named WORLD=GLOB; a method is called as its file's folder is. Without any it reads what
an earlier call kept in --json.
"""

import argparse
import json
from glob import glob
from pathlib import Path

# heading: attack, setting, metric
COLUMNS = {
    "as asked": ("relearn", "none", "exact_memorization"),
    "relearned, 30 steps at 3e-4": ("relearn", "steps=30 rate=0.0003 on=forget", "exact_memorization"),
    "relearned, 100 at 1e-3": ("relearn", "steps=100 rate=0.001 on=forget", "exact_memorization"),
    "relearned on retain rows, 100 at 1e-3": ("relearn", "steps=100 rate=0.001 on=retain", "exact_memorization"),
    "int8": ("quantize", "int8", "exact_memorization"),
    "nf4": ("quantize", "nf4", "exact_memorization"),
    "rtn4": ("quantize", "rtn4", "exact_memorization"),
    "leak@1": ("sample", "n=32 temperature=1 top_p=1", "leak@1"),
    "leak@32": ("sample", "n=32 temperature=1 top_p=1", "leak@32"),
    "worst prompt, ROUGE-L": ("prompts", "worst", "rougeL_recall"),
    "depth": ("probe", None, "unlearning_depth"),
    "MIA, loss": ("mia", "none", "mia_loss_auc"),
    "MIA, min-k++": ("mia", "none", "mia_min_k_plus_plus_auc"),
}
STEPS, RATES = (0, 10, 30, 100), (3e-4, 1e-3)
FIRST, LAST = "target", "retain"


def kept(path):
    """Of an attack.json: by model, the numbers of the table and of the curves."""
    found = {}
    for row in json.loads(Path(path).read_text())["rows"]:
        own = found.setdefault(row["model"], {})
        for heading, (attack, setting, metric) in COLUMNS.items():
            if (row["attack"], row["metric"]) == (attack, metric) and setting in (None, row["setting"]):
                own[heading] = row["value"]
        if row["attack"] == "relearn" and row["metric"] == "exact_memorization":
            own.setdefault("curve", {})[row["setting"]] = [row["value"], *(row["ci95"] or [None, None])]
    return found


def collected(worlds):
    """By world and method; target and retain model are the same in every file."""
    found = {}
    for world in worlds:
        name, _, pattern = world.partition("=")
        files = {Path(file).parent.name: kept(file) for file in sorted(glob(pattern))}
        if not files:
            raise SystemExit(f"{pattern}: no file")
        any_of_them = next(iter(files.values()))
        methods = {method: models["unlearned"] for method, models in files.items()}
        found[name] = {FIRST: any_of_them["target"], **methods, LAST: any_of_them["retain"]}
    return found


def markdown(worlds):
    for world, methods in worlds.items():
        yield f"\n**{world}**\n"
        yield "| | " + " | ".join(methods) + " |"
        yield "|---|" + "---|" * len(methods)
        for heading in COLUMNS:
            values = (method.get(heading) for method in methods.values())
            yield f"| {heading} | " + " | ".join("-" if v is None else f"{v:.2f}" for v in values) + " |"


def draw(worlds, file):
    """Right tokens of the other half, against steps of relearning on one half; a panel for each world and rate."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "attacks", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    size = (4 * len(RATES), 3 * len(worlds) + 0.5)
    figure, panels = pyplot.subplots(
        len(worlds), len(RATES), figsize=size, layout="constrained", squeeze=False, sharey=True
    )
    for row, (world, methods) in zip(panels, worlds.items(), strict=True):
        for panel, rate in zip(row, RATES, strict=True):
            for number, (method, numbers) in enumerate(methods.items()):
                names = ["none", *(f"steps={step} rate={rate:g} on=forget" for step in STEPS[1:])]
                values = [numbers["curve"][name][0] for name in names]
                style = {"color": "black", "ls": "--" if method == FIRST else ":"} if method in (FIRST, LAST) else {}
                panel.plot(range(len(STEPS)), values, marker="osv^DX*"[number % 7], ms=5, lw=1.5, label=method, **style)
            panel.set_xticks(range(len(STEPS)), STEPS)
            panel.set_title(f"{world}, rate {rate:g}", fontsize=10)
            panel.set_ylim(0, 1.02)
        row[0].set_ylabel("right tokens of the other half")
    for panel in panels[-1]:
        panel.set_xlabel("steps of relearning on half of the forget rows")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", metavar="WORLD=GLOB")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="draw it here, as SVG")
    options = parser.parse_args()
    if options.worlds:
        options.json.write_text(json.dumps(collected(options.worlds), indent=1) + "\n")
    worlds = json.loads(options.json.read_text())
    print("\n".join(markdown(worlds)))
    if options.figure:
        draw(worlds, options.figure)


if __name__ == "__main__":
    main()
