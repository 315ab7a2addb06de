"""The verdict: three questions about a run, answered from intervals, or with what is missing to answer them.

Has it forgotten (`forgotten.py`)? Is the rest kept (`kept.py`)? Is it like a model that never saw the forget set
(`likeness.py`, `traces.py`)? Pure functions of loaded results. Each file has the sentences of its question;
`thresholds.py` has every threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from expunge.report.comparison import RunResult
from expunge.report.verdict.finding import Finding
from expunge.report.verdict.forgotten import forgetting, leading_metrics
from expunge.report.verdict.kept import utility, utility_of
from expunge.report.verdict.likeness import likeness
from expunge.report.verdict.traces import Contrast, contrasts

Status = Literal["yes", "traces", "open", "no"]
STATUSES: tuple[Status, ...] = ("yes", "traces", "open", "no")
"""From best to worst: all three yes; answers gone and rest kept, but traces; not settled; not forgotten or damaged."""


@dataclass(frozen=True)
class Verdict:
    """A run's three findings, in the order of the questions, and the strongest trace."""

    findings: tuple[Finding, Finding, Finding]
    strongest: Contrast | None = None

    @property
    def words(self) -> str:
        """All three answers in a line: "answers gone, rest kept, traces remain"."""
        return ", ".join(finding.short for finding in self.findings)

    @property
    def headline(self) -> str:
        """All three answers as sentences."""
        return " ".join(finding.answer for finding in self.findings)

    @property
    def status(self) -> Status:
        """A tick only where all three are answered yes."""
        forgotten, kept, like = self.findings
        if "no" in (forgotten.status, kept.status):
            return "no"
        if "open" in (forgotten.status, kept.status):
            return "open"
        return "traces" if like.status == "no" else like.status


def judge(run: RunResult, target: RunResult | None, retain: RunResult | None) -> Verdict:
    """What can be said of an unlearned model, and what cannot."""
    compared = contrasts(run, retain)
    findings = forgetting(run, target, retain), utility(run, target), likeness(compared)
    return Verdict(findings, next((contrast for contrast in compared if contrast.trace), None))


def best_first(runs: Sequence[RunResult], verdicts: Sequence[Verdict]) -> list[int]:
    """The runs' places in order of their verdict, within one verdict by utility."""

    def standing(i: int) -> tuple[int, float]:
        _, measured = utility_of(runs[i])
        return STATUSES.index(verdicts[i].status), -(measured.value if measured else 0.0)

    return sorted(range(len(runs)), key=standing)


__all__ = ["Contrast", "Finding", "Status", "Verdict", "best_first", "judge", "leading_metrics", "utility_of"]
