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
    "relearned, 10 steps": ("relearn", "steps=10 rate=0.001 on=forget", "exact_memorization"),
    "relearned, 30 steps": ("relearn", "steps=30 rate=0.001 on=forget", "exact_memorization"),
    "relearned on retain rows, 30 steps": ("relearn", "steps=30 rate=0.001 on=retain", "exact_memorization"),
    "int8": ("quantize", "int8", "exact_memorization"),
    "nf4": ("quantize", "nf4", "exact_memorization"),
    "rtn4": ("quantize", "rtn4", "exact_memorization"),
    "leak@1": ("sample", "n=8 temperature=1 top_p=1", "leak@1"),
    "leak@8": ("sample", "n=8 temperature=1 top_p=1", "leak@8"),
    "worst prompt, ROUGE-L": ("prompts", "worst", "rougeL_recall"),
    "depth": ("probe", None, "unlearning_depth"),
    "MIA, loss": ("mia", "none", "mia_loss_auc"),
    "MIA, min-k++": ("mia", "none", "mia_min_k_plus_plus_auc"),
}
STEPS, RATE = (0, 10, 30), 1e-3
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
    """Right tokens of the other half, against steps of relearning on one half; a panel for each world."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "attacks", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(worlds), figsize=(4 * len(worlds), 3.5), layout="constrained", squeeze=False, sharey=True
    )
    for panel, (world, methods) in zip(panels[0], worlds.items(), strict=True):
        for number, (method, numbers) in enumerate(methods.items()):
            names = ["none", *(f"steps={step} rate={RATE:g} on=forget" for step in STEPS[1:])]
            values, low, high = zip(*(numbers["curve"][name] for name in names), strict=True)
            ends = [
                [v - a for v, a in zip(values, low, strict=True)],
                [b - v for v, b in zip(values, high, strict=True)],
            ]
            style = {"color": "black", "ls": "--" if method == FIRST else ":"} if method in (FIRST, LAST) else {}
            marker = "osv^DX*"[number % 7]
            panel.errorbar(STEPS, values, ends, marker=marker, ms=5, lw=1.5, elinewidth=0.7, label=method, **style)
        panel.set_xticks(STEPS)
        panel.set_title(world, fontsize=10)
        panel.set_ylim(0, 1.02)
        panel.set_xlabel("steps of relearning on half of the rows")
    panels[0, 0].set_ylabel("right tokens of the other half")
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
