"""A scenario's figure: what its page draws, a line for each method over the tasks, or a bar for each; where the same
methods answer several requests, one of the two numbers that are drawn against the other, a panel for each request.

    python benchmarks/scenario_figure.py benchmarks/results/scenarios/muse-0.json --figure docs/images/muse.svg

Takes the `table.json` of one or more runs of `expunge scenario NAME`, which differ in their seed: drawn are means, with
the lowest and the highest, or with a bar's 95 % interval where there is one seed. `--table` prints the means of the
page's table as Markdown.
"""

import argparse
import json
import textwrap
from dataclasses import replace
from pathlib import Path

from expunge.scenarios import SCENARIOS


def read(files):
    """The scenario, drawing what was measured, values by method and metric for each seed, the last seed's intervals."""
    found, intervals, names = {}, {}, set()
    for file in files:
        table = json.loads(Path(file).read_text(encoding="utf-8"))
        names.add(table["scenario"])
        for row in table["rows"]:
            found.setdefault(row["method"], {}).setdefault(row["metric"], []).append(row["value"])
            intervals[row["method"], row["metric"]] = row["ci95"]
    (name,) = names
    scenario = SCENARIOS[name]
    measured = {key.partition("@")[0] for metrics in found.values() for key in metrics}
    return replace(scenario, drawn=tuple(m for m in scenario.drawn if m in measured)), found, intervals


def mean(values):
    return sum(values) / len(values)


def draw(scenario, found, intervals, file):
    """A panel for each metric that is drawn."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": scenario.name, "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    drawn = scenario.drawn
    figure, panels = pyplot.subplots(1, len(drawn), figsize=(11, 3.6), layout="constrained")
    for panel, metric in zip(panels, drawn, strict=True):
        panel.set_title(textwrap.fill(scenario.labels[metric], 120 // len(drawn)), loc="left", fontsize=9)
        followed = {m: points for m in found if (points := curve(found[m], metric))}
        for number, (method, points) in enumerate(followed.items()):
            low, high = ([end(values) for values in points.values()] for end in (min, max))
            panel.fill_between(list(points), low, high, color=f"C{number}", alpha=0.15, linewidth=0)
            panel.plot(list(points), list(map(mean, points.values())), "o-", color=f"C{number}", label=method)
        if followed:
            panel.set_xlabel(scenario.step)
            panel.locator_params(axis="x", integer=True)
            continue
        shown = [method for method in found if metric in found[method]]
        for at, method in enumerate(shown):
            values = found[method][metric]
            low, high = min(values), max(values)
            if len(values) == 1 and intervals[method, metric]:
                low, high = intervals[method, metric]
            spread = [[max(0, mean(values) - low)], [max(0, high - mean(values))]]
            panel.barh(at, mean(values), 0.6, xerr=spread, color="C0", error_kw={"elinewidth": 1})
        panel.set_yticks(range(len(shown)), shown)
        panel.invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, metadata={"Date": None})


def draw_plane(scenario, found, file):
    """Of the two metrics that are drawn, one against the other; dashed: the target model's, which is the first."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": scenario.name, "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    requests = {}
    for method, metrics in found.items():
        request, _, name = method.partition(": ")
        requests.setdefault(request, {})[name] = [metrics[metric] for metric in scenario.drawn]
    figure, panels = pyplot.subplots(
        1, len(requests), figsize=(11, 4.2), layout="constrained", sharex=True, sharey=True
    )
    for panel, (request, methods) in zip(panels, requests.items(), strict=True):
        (_, target), *rest = methods.items()
        panel.axvline(mean(target[0]), color="black", linewidth=0.8, linestyle="--", label="target model")
        terms = list(dict.fromkeys(name.removesuffix("+GD").removesuffix("+KL") for name, _ in rest))
        for name, (across, up) in rest:
            number = terms.index(name.removesuffix("+GD").removesuffix("+KL"))
            hollow = {"markerfacecolor": "none", "markersize": 10} if name.endswith("+KL") else {"markersize": 6}
            panel.errorbar(
                mean(across),
                mean(up),
                xerr=[[mean(across) - min(across)], [max(across) - mean(across)]],
                yerr=[[mean(up) - min(up)], [max(up) - mean(up)]],
                marker="X" if "+" not in name else "soD^vP"[number % 6],
                color=f"C{number}",
                elinewidth=0.8,
                linestyle="none",
                label=name,
                **hollow,
            )
        panel.set_title(f"{request} to be forgotten", loc="left", fontsize=10)
        panel.set_xlabel(scenario.labels[scenario.drawn[0]])
    panels[0].set_ylabel(scenario.labels[scenario.drawn[1]])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(file, metadata={"Date": None})


def curve(metrics, metric):
    """Values by task, of a method that was followed."""
    return {int(key.partition("@")[2]): values for key, values in metrics.items() if key.startswith(f"{metric}@")}


def print_table(scenario, found):
    shown = [metric for metric in scenario.labels if any(metric in metrics for metrics in found.values())]
    print("| method | " + " | ".join(scenario.labels[metric] for metric in shown) + " |")
    print("|---" * (len(shown) + 1) + "|")
    for method, metrics in found.items():
        cells = []
        for metric in shown:
            values = metrics.get(metric)
            spread = f" ({min(values):.2f} to {max(values):.2f})" if values and len(values) > 1 else ""
            cells.append(f"{mean(values):.2f}{spread}" if values else "–")
        print(f"| {method} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="table.json of each seed")
    parser.add_argument("--figure", help="draw it here, as SVG")
    parser.add_argument("--table", action="store_true", help="print the means")
    given = parser.parse_args()
    scenario, found, intervals = read(given.tables)
    if given.figure:
        if all(": " in method for method in found):
            draw_plane(scenario, found, given.figure)
        else:
            draw(scenario, found, intervals, given.figure)
    if given.table:
        print_table(scenario, found)


if __name__ == "__main__":
    main()
