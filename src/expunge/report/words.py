"""Metrics, sets, directions and numbers as a reader sees them: on the page, in the verdict, in the terminal."""

import re
from dataclasses import dataclass

from expunge.evaluation.results.schema import Results
from expunge.metrics import METRICS
from expunge.metrics.base import Better
from expunge.metrics.summaries import SUMMARIES
from expunge.report.load import Number


@dataclass(frozen=True)
class Wording:
    """How a number is named and explained; `share` is shown in per cent, `yes_no` is 0 or 1 for each row."""

    label: str
    meaning: str
    share: bool = False
    yes_no: bool = False


_WORDINGS = {m.name: Wording(m.label, m.meaning, m.share, m.yes_no) for m in METRICS} | {
    name: Wording(summary.label, summary.meaning) for name, summary in SUMMARIES.items()
}
ARROWS: dict[Better, tuple[str, str]] = {
    "higher": ("↑", "higher is better"),
    "lower": ("↓", "lower is better"),
    "closer_to_reference": ("≈", "closer to the retain model is better"),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def wording(metric: str) -> Wording:
    """The words for a metric; one without any is shown under its own name."""
    return _WORDINGS.get(metric, Wording(metric.replace("_", " "), ""))


def learn(results: Results) -> None:
    """Take the words for metrics that expunge does not have from results that were measured with them."""
    for name, words in results.recipe.get("words", {}).items():
        _WORDINGS.setdefault(name, Wording(**words))


def set_label(name: str, results: Results) -> str:
    """The words for a set; one without any is shown under its own name."""
    known = results.data.sets.get(name)
    return (known and known.label) or name


def number(value: float, share: bool = False) -> str:
    """Two decimals, per cent for shares; small values keep one significant figure, and large ones are cut to three."""
    if share:
        return f"{100 * value:.3g}\N{NO-BREAK SPACE}%"
    if 0 < abs(value) < 0.005:
        return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.0e}"
    return f"{value:.2f}" if abs(value) < 1e6 else f"{value:.2e}"


def interval(ci95: tuple[float, float] | None, share: bool = False) -> str:
    """`[lo, hi]`, in per cent without the sign for shares; "no interval" where there is none."""
    if ci95 is None:
        return "no interval"
    lo, hi = (f"{100 * x:.3g}" if share else number(x) for x in ci95)
    return f"[{lo},\N{NO-BREAK SPACE}{hi}]"


def stated(measured: Number, share: bool = False) -> str:
    """A number with what it needs to be read: `3 % [0, 8], n = 40`."""
    rows = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{measured.n}"
    return f"{number(measured.value, share)} {interval(measured.ci95, share)}, {rows}"


def printable(text: str) -> str:
    """The text without control characters, which could drive a terminal or break an SVG label."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
