"""Metrics, sets, directions and numbers as a reader sees them: on the page, in the verdict, in the terminal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from expunge.evaluation.results.schema import Results
from expunge.metrics import METRICS
from expunge.metrics.base import Better
from expunge.metrics.summaries import SUMMARIES
from expunge.report.comparison import ABOVE_CONTROLS, Number


@dataclass(frozen=True)
class Wording:
    """How a number is named and explained.

    Attributes:
        label: its name.
        meaning: what it is, in a line.
        share: shown in per cent.
        yes_no: 0 or 1 for each row.
        auc: the area under a curve, of forget against holdout rows: 0.5 is guessing.
    """

    label: str
    meaning: str
    share: bool = False
    yes_no: bool = False
    auc: bool = False

    @property
    def in_sentence(self) -> str:
        """The label inside a sentence: "fact accuracy", "ROUGE-L recall", "membership inference by loss"."""
        if self.auc:
            return self.label.replace("Membership:", "membership inference by")
        return self.label if self.label[1:2].isupper() else self.label[:1].lower() + self.label[1:]


_WORDINGS = {m.name: Wording(m.label, m.meaning, m.share, m.yes_no, m.member is not None) for m in METRICS} | {
    name: Wording(summary.label, summary.meaning) for name, summary in SUMMARIES.items()
}
ARROWS: dict[Better, tuple[str, str]] = {
    "higher": ("↑", "higher is better"),
    "lower": ("↓", "lower is better"),
    "closer_to_reference": ("≈", "closer to the retain model is better"),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def wording(metric: str) -> Wording:
    """The words for a metric; one without an entry is shown under its own name."""
    if metric.endswith(ABOVE_CONTROLS):
        words = wording(metric.removesuffix(ABOVE_CONTROLS))
        meaning = f"{words.in_sentence} on the forget set minus that on controls; 0 is no sign of memory"
        return Wording(f"{words.label}, above controls", meaning, words.share)
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
    return f"{number(measured.value, share)} {interval(measured.ci95, share)}, {rows(measured.n)}"


def rows(n: int) -> str:
    """How many rows a number is from."""
    return f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n}"


def together(names: Sequence[str]) -> str:
    """`a, b and membership inference by c and d`: the attacks as one."""
    start = "membership inference by "
    attacks = [name.removeprefix(start) for name in names if name.startswith(start)]
    others = [name for name in names if not name.startswith(start)]
    return listed([*others, *([start + listed(attacks)] if attacks else [])])


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def printable(text: str) -> str:
    """The text without control characters, which could drive a terminal or break an SVG label."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
