"""Is the rest kept? The run's utility as a share of the target's, paired over the same rows."""

from expunge.evaluation.results.paired import utility_share
from expunge.report.comparison import Number, RunResult
from expunge.report.verdict.finding import Finding, Question
from expunge.report.verdict.thresholds import KEPT_SHARE
from expunge.report.words import interval, stated, wording

KEPT = Question("Is the rest kept?", "Kept", {"yes": "rest kept", "no": "rest damaged", "open": "rest not settled"})
UTILITIES = ("model_utility", "model_utility_partial", "retain_utility", "retain_utility_partial")
"""Summaries that stand for what must be kept: a paper's model utility, else that of the user's own retain rows."""


def utility(run: RunResult, target: RunResult | None) -> Finding:
    """Is at least KEPT_SHARE of the target's utility left?"""
    name, own = utility_of(run)
    label = wording(name).in_sentence
    if own is None:
        return _unknown(_why_unmeasured(run))
    alone = (f"{wording(name).label}: {stated(own)}. Higher is better.",)
    if target is None:
        return _unknown("no target model was measured to compare with", alone)
    before = target.summary(name)
    if before is None or target.results.summary.parts.get(name) != run.results.summary.parts.get(name):
        return _unknown(f"the target's {label} was not measured over the same parts", alone)
    if before.value <= 0:
        return _unknown(f"the target's own {label} is {stated(before)}", alone)
    share = f"{100 * own.value / before.value:.3g} % of the target's"
    evidence = (f"{wording(name).label}: {stated(own)}; target {stated(before)}. That is {share}. Higher is better.",)
    limits = ()
    if name.endswith("_partial"):
        parts = run.results.summary.parts[name]
        limits += (f"Over {len(parts)} measured parts only ({', '.join(parts)}); {_why_unmeasured(run)}.",)
    ends = utility_share(run.results, target.results, name)
    if ends is not None:
        evidence += (f"Paired over the same rows, that share lies within {interval(ends, share=True)} %.",)
    elif own.ci95 is not None:
        ends = (own.ci95[0] / before.value, own.ci95[1] / before.value)
        limits += ("The two models' rows could not be paired; the interval is the unlearned model's alone.",)
    if ends is None:
        answer = f"Whether the rest is kept is not settled: {label} has no interval."
        return Finding(KEPT, "open", answer, evidence, limits)
    left = f"{100 * ends[0]:.3g} to {100 * ends[1]:.3g} % of the target's {label} is left"
    if ends[0] >= KEPT_SHARE:
        return Finding(KEPT, "yes", "The rest is kept.", evidence, limits)
    if ends[1] < KEPT_SHARE:
        return Finding(KEPT, "no", f"The rest is damaged: {left}.", evidence, limits)
    answer = f"Whether the rest is kept is not settled: {left}, and {100 * KEPT_SHARE:.0f} % is asked."
    return Finding(KEPT, "open", answer, evidence, limits)


def utility_of(run: RunResult) -> tuple[str, Number | None]:
    """The first utility that was measured, with its name."""
    for name in UTILITIES:
        if (value := run.summary(name)) is not None:
            return name, value
    return UTILITIES[0], None


def _unknown(why: str, evidence: tuple[str, ...] = ()) -> Finding:
    return Finding(KEPT, "open", f"Whether the rest is kept cannot be said: {why}.", evidence)


def _why_unmeasured(run: RunResult) -> str:
    if all(run.kind(name) != "retain" for name in run.results.data.sets):
        return "no retain rows were measured: give them in the --data folder, as its configuration `retain`"
    reasons = run.results.summary.reasons
    found = next((reasons[name] for name in UTILITIES if name in reasons), "no utility is in the results")
    return found.rstrip(". ")
