"""Figures as inline SVG: small, in the page's fonts and colours, readable in light and dark mode and in print.

Matplotlib draws with placeholder colours; each becomes a CSS variable of the page (`var(--ink)`, `var(--s0)`, ...), so
that one SVG serves both modes. Text stays text, in the page's font: it may be wider than matplotlib's, so that room is
left around it.
"""

import html
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expunge.report.comparison import Step

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType
from expunge.report.words import interval, number, printable

INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{i:02x}" for i in range(7))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LABEL, TICK = 11, 10  # sizes of text
LETTER = 0.62  # width of a letter, in sizes: that of a wide font
MARKER = 12  # pixels around the middle of a point that its marker needs
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


@dataclass(frozen=True)
class Line:
    """One method's values, `y` at each `x`."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """One method's value, with its 95 % interval where there is one."""

    name: str
    value: float
    interval: tuple[float, float] | None = None


def look(series: int) -> tuple[str, str]:
    """Colour and marker of the n-th run: both change from one to the next, and 49 differ."""
    return SERIES[series % len(SERIES)], MARKERS[(series + series // len(SERIES)) % len(MARKERS)]


def plane(points: Sequence[Point], x_label: str, y_label: str, kept_from: float | None) -> str:
    """The utility-efficacy plane; the upper right corner is good.

    Args:
        points: target, retain model and runs.
        x_label: what x is; higher is better.
        y_label: what y is; higher is better.
        kept_from: utility from which the rest counts as kept, drawn as a line; None without a target model.
    """
    width, drawn, legend = 5.6, 3.9, 0.25 * ((len(points) + 1) // 2) + 0.1  # inches
    height = drawn + legend
    figure, axes = _figure("plane", width, height)
    figure.subplots_adjust(left=0.09, right=0.95, bottom=(legend + 0.62) / height, top=1 - 0.36 / height)
    if kept_from is not None:
        axes.axvline(kept_from, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    runs = [point for point in points if not point.reference]
    for point in points:
        if point.reference:
            color, marker, face = INK, "*" if point.name == "target" else "p", PAPER
        else:
            color, marker = look(runs.index(point))
            face = color
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
    axes.set_xlabel(f"{x_label}, higher is better →")
    axes.set_title(f"↑ {y_label}, higher is better", fontsize=LABEL, loc="left", color=INK, x=-0.07)
    for point, (x, y) in place_labels(points, axes):
        axes.annotate(_short(point.name), (x, y), xycoords="figure pixels", fontsize=TICK, color=INK, va="center")
    figure.legend(loc="lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=LABEL, handletextpad=0.3)
    said = [*map(_spoken, points)]
    if kept_from is not None:
        said.append(f"the rest counts as kept from {number(kept_from)} on")
    return _svg(figure, "plane", "Utility-efficacy plane: " + "; ".join(said))


def place_labels(points: Sequence[Point], axes: Any) -> Iterator[tuple[Point, tuple[float, float]]]:
    """Where names fit beside their points, in pixels (left end, middle); a name that would cover something is left out.

    All names are in the legend.
    """
    from matplotlib.transforms import Bbox

    frame, at = axes.get_window_extent(), {p: axes.transData.transform((p.x, p.y)) for p in points}
    taken = [box for point in points for box in _covered(point, axes)]
    for point, (x, y) in at.items():
        width = LETTER * TICK * len(_short(point.name))
        beside = (x + MARKER, x - MARKER - width)
        sides = [(left, y) for left in beside] + [(x - width / 2, y + up) for up in (MARKER, -MARKER)]
        for left, middle in (*sides, *((left, y + up) for left in beside for up in (MARKER, -MARKER))):
            box = Bbox.from_bounds(left, middle - TICK / 2, width, TICK)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                yield point, (left, middle)
                break


def _covered(point: Point, axes: Any) -> Iterator[Any]:
    """What a point's marker and whiskers cover, in pixels."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((point.x, point.y))
    yield Bbox.from_bounds(x - MARKER / 2, y - MARKER / 2, MARKER, MARKER)
    for ends in (
        point.x_interval and [(x, point.y) for x in point.x_interval],
        point.y_interval and [(point.x, y) for y in point.y_interval],
    ):
        if ends:
            (left, low), (right, high) = axes.transData.transform(ends)
            yield Bbox.from_extents(left - 1, low - 1, right + 1, high + 1)


def curve(name: str, title: str, steps: Sequence[Step], values: Sequence[float | None], log: bool = False) -> str:
    """One quantity over the optimiser steps; gaps where it was not finite.

    Args:
        name: unique on the page, used for element ids.
        title: what is drawn.
        steps: the logged steps.
        values: one per step, None where there is none.
        log: logarithmic axis, for values over several decades.
    """
    figure, axes = _figure(name, 3.4, 2.3)
    figure.subplots_adjust(left=0.21, right=0.94, bottom=0.22, top=0.87)
    kept = range(0, len(steps), -(-len(steps) // LONGEST_CURVE))
    x = [steps[i].step for i in kept]
    y = [float("nan") if values[i] is None else values[i] for i in kept]
    axes.plot(x, y, color=SERIES[0], linewidth=1.6, marker="o" if len(x) < 3 else None)
    if log:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")  # the defaults write formulas, or many zeros
    axes.yaxis.set_minor_formatter("")
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(title, fontsize=LABEL, loc="left", color=INK)
    axes.set_xlabel("optimiser step")
    known = [value for value in values if value is not None]
    return _svg(figure, name, f"{title}: from {known[0]:.4g} at the first to {known[-1]:.4g} at the last logged step")


def lines(name: str, title: str, x_label: str, drawn: Sequence[Line]) -> str:
    """One quantity of several methods, each a line.

    Args:
        name: unique on the page, used for element ids.
        title: what is drawn.
        x_label: what x is.
        drawn: the methods, in the order of their colours.
    """
    legend = 0.25 * ((len(drawn) + 1) // 2) + 0.1  # inches
    height = 2.9 + legend
    figure, axes = _figure(name, 5.2, height)
    figure.subplots_adjust(left=0.1, right=0.96, bottom=(legend + 0.6) / height, top=1 - 0.36 / height)
    for i, line in enumerate(drawn):
        color, marker = look(i)
        axes.plot(line.x, line.y, color=color, marker=marker, markersize=5, linewidth=1.6, label=_short(line.name))
    axes.set_ylim(*_span([y for line in drawn for y in line.y]))
    axes.locator_params(axis="x", integer=True)
    axes.set_title(title, fontsize=LABEL, loc="left", color=INK)
    axes.set_xlabel(x_label)
    figure.legend(loc="lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=LABEL, handletextpad=0.3)
    said = (f"{printable(line.name)} from {number(line.y[0])} to {number(line.y[-1])}" for line in drawn)
    return _svg(figure, name, f"{title}: {'; '.join(said)}")


def bars(name: str, title: str, drawn: Sequence[Bar]) -> str:
    """One quantity of several methods, a bar for each, the first at the top.

    Args:
        name: unique on the page, used for element ids.
        title: what is drawn.
        drawn: the methods.
    """
    names = [_short(bar.name) for bar in drawn]
    width, height = 5.2, 0.3 * len(drawn) + 0.75  # inches
    figure, axes = _figure(name, width, height)
    left = (LETTER * TICK * max(map(len, names)) + MARKER) / (72 * width)
    figure.subplots_adjust(left=left, right=0.95, bottom=0.32 / height, top=1 - 0.36 / height)
    for at, bar in enumerate(drawn):
        axes.barh(
            at,
            bar.value,
            height=0.62,
            color=SERIES[0],
            xerr=_whiskers(bar.value, bar.interval),
            error_kw={"ecolor": INK, "elinewidth": 1},
        )
    axes.set_yticks(range(len(drawn)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(*_span([end for bar in drawn for end in (0.0, bar.value, *(bar.interval or ()))]))
    axes.set_title(title, fontsize=LABEL, loc="left", color=INK)
    said = (f"{printable(bar.name)} {number(bar.value)} {interval(bar.interval)}" for bar in drawn)
    return _svg(figure, name, f"{title}: {'; '.join(said)}")


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
    x, y = (f"{number(v)} {interval(e)}" for v, e in ((point.x, point.x_interval), (point.y, point.y_interval)))
    return f"{printable(point.name)} at {x}, {y}"


def _figure(name: str, width: float, height: float) -> tuple[Any, Any]:
    """A figure of `width` x `height` inches at 72 units each; not through pyplot, whose state is global.

    Without a layout engine: measuring text for one takes longer than drawing.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style(name)):
        figure = Figure(figsize=(width, height), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _style(name: str) -> "dict[RcKeyType, Any]":
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.labelsize": LABEL,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": TICK,
        "ytick.labelsize": TICK,
        "axes.formatter.useoffset": False,
    }


def _svg(figure: Any, name: str, spoken: str) -> str:
    """The figure as an <svg> element: placeholder colours as CSS variables, ids unique on the page, described."""
    import matplotlib
    from matplotlib.text import Text

    for words in figure.findobj(Text):
        words.set_parse_math(False)  # a model called "$x$" is not a formula
    buffer = io.StringIO()
    with matplotlib.rc_context(_style(name)):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#)', rf"\1{name}-", text).replace("url(#", f"url(#{name}-")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r'(style|stroke|fill)="[^"]*"', lambda found: _css(found.group()), text)
    size, *_ = re.findall(r'viewBox="0 0 ([\d.]+) [\d.]+"', text)
    described = f'<svg role="img" aria-label="{html.escape(spoken)}" style="max-width: {float(size) * 1.35:.0f}px" '
    return re.sub(r'^<svg (.*?)(?:width|height)="[\d.]+pt" ', rf"{_escaped(described)}\1", text, count=1)


def _escaped(replacement: str) -> str:
    return replacement.replace("\\", "\\\\")


def _css(attribute: str) -> str:
    for color, variable in _CSS.items():
        attribute = attribute.replace(color, f"var(--{variable})")
    return attribute
