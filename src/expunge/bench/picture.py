"""The relearning figure: how much of what was forgotten a few steps of fine-tuning bring back, a line a method."""

from collections.abc import Callable, Sequence
from pathlib import Path

from expunge.files import whole_file
from expunge.report.words import printable, wording
from expunge.sweep.picture import GRID, INK, REFERENCE, look
from expunge.sweep.table import Line, Spread


def write_relearning(
    file: Path, table: Sequence[Line], metric: str, curve: Callable[[Line], list[tuple[int, Spread]]]
) -> bool:
    """Write the figure; False where no method was attacked that way."""
    if not any(len(curve(line)) > 1 for line in table if line.role == "unlearned"):
        return False
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "bench", "font.size": 10}):
        rows = -(-len(table) // 3)
        figure = Figure(figsize=(7.0, 4.2 + 0.24 * rows), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        method = 0
        for line in table:
            if line.role == "unlearned":
                marker, colour = look(method)
                method += 1
            else:
                marker, colour = REFERENCE[line.role], INK
            points = curve(line)
            axes.errorbar(
                [step for step, _ in points],
                [one.mean for _, one in points],
                yerr=[one.std or 0.0 for _, one in points],
                marker=marker,
                color=colour,
                markerfacecolor=colour if line.role == "unlearned" else "white",
                linestyle="-" if line.role == "unlearned" else (0, (4, 3)),
                linewidth=1.2,
                capsize=2.5,
                label=printable(line.name).replace("$", r"\$"),
            )
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("steps of fine-tuning on every second forget row")
        axes.set_ylabel(f"{wording(metric).label} on the others (lower is better)")
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, handletextpad=0.4)
        with whole_file(file) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
    return True
