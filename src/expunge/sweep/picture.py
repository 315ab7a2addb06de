"""The picture of a sweep: what is kept against what is forgotten, a point for each method with bars over its seeds."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from expunge.files import whole_file
from expunge.report.words import printable
from expunge.sweep.table import QUALITY, Line, Spread, better, label, leading

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")
"""Twelve shapes that are told apart without colour."""
COLOURS = ("#0072b2", "#d55e00", "#007a5a", "#b8578f", "#8a6d00", "#3d7fbf", "#7a4fb5")
REFERENCE = {"target": "*", "retain": "8"}
INK, GRID = "#16191d", "#d9dde2"
LEAST_SPAN = 0.2  # of an axis: noise must not look like a difference
LEAST_P = 1e-20  # smaller p-values are drawn at the bottom


def look(method: int) -> tuple[str, str]:
    """Marker and colour of the n-th method: twelve shapes first, and then the same in other colours."""
    return MARKERS[method % len(MARKERS)], COLOURS[(method + method // len(MARKERS)) % len(COLOURS)]


def write_picture(folder: Path, table: Sequence[Line]) -> Path | None:
    """Write sweep.svg; None where nothing that can be drawn was measured."""
    utility, forgetting = leading(table)
    if utility is None or forgetting is None:
        return None
    vertical = [forgetting]
    if any(QUALITY in line.numbers for line in table if line.role == "unlearned"):
        vertical.append(QUALITY)
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "sweep", "font.size": 10, "axes.formatter.useoffset": False}):
        methods = sum(line.role == "unlearned" for line in table)
        columns = 2 if len(vertical) > 1 else 1
        rows = -(-len(table) // columns)
        drawn, legend = 4.2, 0.24 * rows + 0.2  # inches
        figure = Figure(figsize=(5.6 * len(vertical) + 0.4, drawn + legend), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, len(vertical), squeeze=False)[0]
        for each, name in zip(axes, vertical, strict=True):
            _draw(each, table, utility, name)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, handletextpad=0.4)
        seeds = max((s.n for line in table if line.role == "unlearned" for s in line.numbers.values()), default=1)
        said = f"{methods} methods; bars: standard deviation over up to {seeds} seeds" if seeds > 1 else "one seed each"
        figure.suptitle(said, fontsize=10, color=INK)
        path = folder / "sweep.svg"
        with whole_file(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
    return path


def _draw(axes: Any, table: Sequence[Line], x: str, y: str) -> None:
    number = 0
    for line in table:
        if line.role == "unlearned":
            marker, colour = look(number)
            face = colour
            number += 1
        else:
            marker, colour, face = REFERENCE[line.role], INK, "white"
        across, up = line.numbers.get(x), line.numbers.get(y)
        drawn = across is not None and up is not None
        style = {"marker": marker, "color": colour, "markerfacecolor": face, "markersize": 9, "markeredgewidth": 1.4}
        at = (across.mean, _height(up, y)) if across is not None and up is not None else (math.nan, math.nan)
        axes.errorbar(
            *at,
            xerr=across.std if drawn and across is not None else None,
            yerr=_bar(up, y) if drawn and up is not None else None,
            linestyle="none",
            elinewidth=1.1,
            capsize=2.5,
            label=_words(line, drawn),
            **style,
        )
    _widen(axes.get_xlim, axes.set_xlim)
    if y != QUALITY:
        _widen(axes.get_ylim, axes.set_ylim)
    axes.set_xlabel(f"{label(x)} (higher is better)")
    axes.set_ylabel(f"{label(y)} ({better(y)} is better)")
    if y == QUALITY:
        axes.set_yscale("log")
        axes.set_ylabel(f"{label(y)}, p-value (higher is better)")
        axes.axhline(0.05, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    elif better(y) == "lower":
        axes.invert_yaxis()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _widen(limits: Callable[[], tuple[float, float]], set_to: Callable[[float, float], Any]) -> None:
    low, high = limits()
    if high - low < LEAST_SPAN:
        middle = (low + high) / 2
        set_to(middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2)


def _height(one: Spread, name: str) -> float:
    return max(one.mean, LEAST_P) if name == QUALITY else one.mean


def _bar(one: Spread, name: str) -> Any:
    """The standard deviation; on a logarithmic axis its lower end stays on it."""
    if one.std is None or name != QUALITY:
        return one.std
    height = _height(one, name)
    return [[min(one.std, height - min(height, LEAST_P))], [one.std]]


def _words(line: Line, drawn: bool) -> str:
    name = printable(line.name).replace("$", r"\$")
    name = name if len(name) <= 44 else name[:43] + "…"
    return name if drawn else f"{name} (not measured)"
