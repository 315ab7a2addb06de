"""The columns of a leaderboard: which of a sweep's numbers each shows."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from expunge.sweep.cost import MEMORY, SECONDS
from expunge.sweep.table import Line, Spread

KNOWN = ("fact_accuracy", "rougeL_recall")
"""What tells after an attack whether the answers are back; the first that the rows can be measured by."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        label: its head.
        arrow: which way is better.
        meaning: what it is, in a sentence.
        names: of the sweep's numbers; the one with the largest mean is shown.
        digits: after the point; None: a p-value, which may need its power of ten.
    """

    label: str
    arrow: str
    meaning: str
    names: Sequence[str]
    digits: int | None = 2

    def of(self, line: Line) -> Spread | None:
        """The number of a line; None where it was not measured."""
        found = [line.numbers[name] for name in self.names if name in line.numbers]
        return max(found, key=lambda one: one.mean, default=None)

    def shown(self, value: float) -> str:
        """A value as it is written."""
        if self.digits is None:
            return f"{value:.0e}" if 0 < value < 0.01 else f"{value:.2f}"
        return f"{value:.{self.digits}f}"


def columns(table: Iterable[Line], parts: Sequence[str] = ()) -> list[Column]:
    """The columns, whether they were measured or not; those of attacks with the settings that were tried.

    Args:
        table: of the sweep.
        parts: what a partial forget efficacy is made of.
    """
    names = list(dict.fromkeys(name for line in table for name in line.numbers))
    known = next((name for name in KNOWN if f"forget/{name}" in names), KNOWN[-1])
    words = "right facts" if known == "fact_accuracy" else "ROUGE-L recall"

    def after(pattern: str) -> list[str]:
        return [name for name in names if re.fullmatch(pattern, name)]

    relearned = after(rf"relearn/steps=.*/{known}")
    rounded = after(rf"quantize/(nf4|rtn4)/{known}")
    k = max((int(name.rpartition("@")[2]) for name in after(r"sample/.*/leak@\d+")), default=8)
    partial = f" ({', '.join(parts)})" if parts else ""
    quality = "of truth ratios against the retain model's"
    return [
        Column("MU", "↑", "model utility: harmonic mean of the scores on what must be kept", ["model_utility"]),
        Column("FE", "↑", "forget efficacy: 1 minus the mean of five scores on the forget set", ["forget_efficacy"]),
        Column("FE, partial", "↑", f"FE over the scores that were measured{partial}", ["forget_efficacy_partial"]),
        Column(words, "↓", f"{words} in greedy answers to the forget rows", [f"forget/{known}"]),
        Column("FQ p", "↑", f"forget quality: p-value of the test {quality}", ["forget_quality"], None),
        Column("KS", "↓", "the distance of that test, which does not fall with n", ["forget_quality_ks_distance"]),
        Column("ES", "↓", "extraction strength of the forget rows", ["forget/extraction_strength"]),
        Column("privleak", "→ 0", "min-k membership AUC against the retain model's, in per cent", ["privleak"], 0),
        Column("relearned", "↓", f"{words} on forget rows that relearning had not, its strongest setting", relearned),
        Column("4 bits", "↓", f"{words} with weights in 4 bits (nf4, or rounded), the larger", rounded),
        Column(f"leak@{k}", "↓", f"rows of which the best of {k} sampled answers leaks", after(rf"sample/.*/leak@{k}")),
        Column("seconds", "↓", "of unlearning, on the machine that ran it, with what else ran there", [SECONDS], 0),
        Column("MiB", "↓", "peak memory of the process while unlearning, libraries included", [MEMORY], 0),
    ]


def relearning(table: Iterable[Line]) -> tuple[str, Callable[[Line], list[tuple[int, Spread]]]]:
    """The metric of the relearning curve, and a line's curve: (steps, value), at the largest rate, on forget rows."""
    table = list(table)
    names = {name for line in table for name in line.numbers}
    known = next((name for name in KNOWN if f"relearn/none/{name}" in names), KNOWN[-1])
    pattern = re.compile(rf"relearn/steps=(\d+) rate=(\S+) on=forget/{known}")
    found = {name: match for name in names if (match := pattern.fullmatch(name))}
    rate = max((float(match[2]) for match in found.values()), default=0.0)
    steps = {f"relearn/none/{known}": 0}
    steps |= {name: int(match[1]) for name, match in found.items() if float(match[2]) == rate}

    def curve(line: Line) -> list[tuple[int, Spread]]:
        return sorted((step, line.numbers[name]) for name, step in steps.items() if name in line.numbers)

    return known, curve
