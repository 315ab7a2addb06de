"""Figures as inline SVG: small, no fonts or colours of their own, readable in light and dark mode and in print.

Matplotlib draws with placeholder colours; each becomes a CSS variable of the page (`var(--ink)`, `var(--s0)`, ...), so
that one SVG serves both modes. Text stays text, in the page's font.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from expunge.report.load import Step
from expunge.report.words import printable

INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{i:02x}" for i in range(7))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LONGEST_CURVE = 400  # points per curve; more are thinned evenly, which the caption says
_CSS = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"} | {c: f"s{i}" for i, c in enumerate(SERIES)}


@dataclass(frozen=True)
class Point:
    """One model in the utility-efficacy plane; `low` and `high` are 95 % intervals where there are any."""

    name: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    reference: bool = False  # the target or the retain model: drawn in ink, not in a series colour


def plane(points: Sequence[Point], x_label: str, y_label: str, kept_from: float | None) -> str:
    """The utility-efficacy plane; the upper right corner is good.

    Args:
        points: target, objectives and retain model.
        x_label: what x is, with its direction.
        y_label: what y is, with its direction.
        kept_from: utility from which the rest counts as kept, drawn as a line; None without a target model.
    """
    figure, axes = _figure("plane", 5.2, 4.2 + 0.25 * ((len(points) + 1) // 2))
    if kept_from is not None:
        axes.axvline(kept_from, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="utility counts as kept")
    series = 0
    for point in points:
        if point.reference:
            color, marker, face = INK, "*" if point.name == "target" else "p", PAPER
        else:
            color = face = SERIES[series % len(SERIES)]
            marker = MARKERS[series % len(MARKERS)]
            series += 1
        axes.errorbar(
            point.x,
            point.y,
            xerr=_whiskers(point.x, point.x_interval),
            yerr=_whiskers(point.y, point.y_interval),
            fmt=marker,
            color=color,
            markerfacecolor=face,
            markeredgecolor=color,
            markersize=9,
            elinewidth=1,
            markeredgewidth=1.5,
            label=_short(point.name),
        )
    axes.set_xlim(*_span([x for p in points for x in (p.x, *(p.x_interval or ()))]))
    axes.set_ylim(*_span([y for p in points for y in (p.y, *(p.y_interval or ()))]))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=11, handletextpad=0.3)
    return _svg(figure, "plane", "Utility-efficacy plane: " + "; ".join(_spoken(p) for p in points))


def curve(name: str, title: str, steps: Sequence[Step], values: Sequence[float | None], log: bool = False) -> str:
    """One quantity over the optimiser steps; gaps where it was not finite.

    Args:
        name: unique on the page, used for element ids.
        title: what is drawn.
        steps: the logged steps.
        values: one per step, None where there is none.
        log: logarithmic axis, for values over several decades.
    """
    figure, axes = _figure(name, 3.4, 2.3, layout="none")  # measuring text for a layout takes longer than drawing
    figure.subplots_adjust(left=0.19, right=0.97, bottom=0.21, top=0.88)
    kept = range(0, len(steps), -(-len(steps) // LONGEST_CURVE))
    x = [steps[i].step for i in kept]
    y = [float("nan") if values[i] is None else values[i] for i in kept]
    axes.plot(x, y, color=SERIES[0], linewidth=1.6, marker="o" if len(x) < 3 else None)
    if log:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")  # the defaults write formulas, or many zeros
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    axes.set_xlabel("optimiser step")
    known = [value for value in values if value is not None]
    return _svg(figure, name, f"{title}: from {known[0]:.4g} at the first to {known[-1]:.4g} at the last logged step")


def _whiskers(value: float, interval: tuple[float, float] | None) -> list[list[float]] | None:
    if interval is None:
        return None
    return [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Axis limits with a margin inside [0, 1]; never so narrow that noise looks like a difference."""
    middle, half = (max(values) + min(values)) / 2, max(max(values) - min(values), 0.3) / 2
    return max(middle - 1.15 * half, min(0.0, *values) - 0.02), min(middle + 1.15 * half, max(1.0, *values) + 0.02)


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= 26 else name[:25] + "…"


def _spoken(point: Point) -> str:
    return f"{printable(point.name)} at {point.x:.2f}, {point.y:.2f}"


def _figure(name: str, width: float, height: float, layout: str = "constrained"):
    """A figure of `width` x `height` inches at 72 units each; not through pyplot, whose state is global."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style(name)):
        figure = Figure(figsize=(width, height), dpi=72, layout=layout)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _style(name: str) -> dict[str, object]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # a model called "$x$" is not a formula
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.labelsize": 11,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "axes.formatter.useoffset": False,
    }


def _svg(figure, name: str, spoken: str) -> str:
    """The figure as an <svg> element: placeholder colours as CSS variables, ids unique on the page, described."""
    import html

    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_style(name)):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#)', rf"\1{name}-", text).replace("url(#", f"url(#{name}-")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r'(style|stroke|fill)="[^"]*"', lambda found: _css(found.group()), text)
    size = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', text).group(1)
    described = f'<svg role="img" aria-label="{html.escape(spoken)}" style="max-width: {float(size) * 1.35:.0f}px" '
    return re.sub(r'^<svg (.*?)(?:width|height)="[\d.]+pt" ', rf"{_escaped(described)}\1", text, count=1)


def _escaped(replacement: str) -> str:
    return replacement.replace("\\", "\\\\")


def _css(attribute: str) -> str:
    for color, variable in _CSS.items():
        attribute = attribute.replace(color, f"var(--{variable})")
    return attribute
