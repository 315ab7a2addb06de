"""Has it forgotten? Are the forget set's answers gone, by the leading metrics of the suite?

A model that never saw the forget set still gets some answers right, by chance or general knowledge. How many says the
retain model; without one, controls: rows like the forget set's that the model never saw. Without both it stays open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from expunge.report.comparison import ABOVE_CONTROLS, Number, RunResult
from expunge.report.verdict.bounds import Ends, above_controls, bounds
from expunge.report.verdict.finding import Finding, Question
from expunge.report.verdict.thresholds import FEW_ROWS, LEADING, NEAR_RETAIN
from expunge.report.words import interval, listed, number, stated, wording

FORGOTTEN = Question(
    "Has it forgotten?",
    "Forgotten",
    {"yes": "answers gone", "no": "not forgotten", "open": "forgetting not settled"},
)
GONE = "The forget set's answers are no longer produced."
NOT_COVERED = (
    "Measured with one greedy answer to each question as it is written. Other wordings, sampling, quantisation and "
    "further fine-tuning are not covered by these numbers."
)
NO_TARGET = "No target model was measured: whether it ever knew the forget set is not shown."
NOTHING_TO_COMPARE = (
    "Neither a retain model nor controls were measured. How often a model that never saw the forget set gives these "
    "answers by chance or general knowledge is unknown, so “forgotten” cannot be said. Give a retain model "
    "(expunge eval --retain-model), or with suite own rows that the model never saw (--suite own --holdout)."
)


Level = Literal["near", "between", "above"]
Known = Literal["yes", "no", "not shown"]
KNOWN: dict[Level, Known] = {"above": "yes", "near": "no", "between": "not shown"}
"""Whether the target knew what it was to forget, by where it stood itself."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands on one leading metric.

    Attributes:
        metric: its name.
        level: whether the run is near a model that never saw the rows, above it, or between; None if not measured.
        known: whether the target is above it: what it never knew cannot be forgotten. None without a target.
        numbers: the run's number and the one it is compared with.
        allowed: the most that would still count as forgotten.
        reach: how far the interval reaches.
        looks_gone: whether the value itself, its interval left aside, would do.
    """

    metric: str
    level: Level | None
    known: Known | None
    numbers: str
    allowed: str = ""
    reach: str = ""
    looks_gone: bool = False

    @property
    def name(self) -> str:
        """The metric inside a sentence."""
        return wording(self.metric).in_sentence


def forgetting(run: RunResult, target: RunResult | None, retain: RunResult | None) -> Finding:
    """Are the forget set's answers gone, by the leading metrics?"""
    leading = leading_numbers(run)
    if not leading:
        names = listed([wording(m).in_sentence for metrics in leading_metrics(run) for m in metrics])
        answer = f"Whether the forget set is forgotten cannot be said: of {names} none was measured on it."
        return Finding(FORGOTTEN, "open", answer)
    evidence = tuple(_evidence(metric, run, target, retain) for metric in leading)
    limits = _sample_limits(leading) + ((NO_TARGET,) if target is None else ()) + (NOT_COVERED,)
    if retain is not None:
        seen_by = "the retain model"
        standings = [against_retain(metric, run, target, retain) for metric in leading]
    elif any(run.summary(metric + ABOVE_CONTROLS) for metric in leading):
        seen_by = "controls that it never saw"
        standings = [against_controls(metric, run, target) for metric in leading]
    else:
        return _against_target_alone(leading, run, target, evidence, limits)
    if target is not None and (judged := [s for s in standings if s.known in ("yes", None)]) != standings:
        if not judged:
            return _nothing_to_forget(standings, seen_by, evidence, limits)
        standings = judged
    if not_measured := [s.name for s in standings if s.level is None]:
        whose = "the retain model's" if retain is not None else "the controls'"
        answer = f"Whether the forget set is forgotten cannot be said: {whose} {listed(not_measured)} was not measured."
        return Finding(FORGOTTEN, "open", answer, evidence, limits)
    if above := [s for s in standings if s.level == "above"]:
        failed = "; ".join(f"{s.name} is {s.numbers}, and at most {s.allowed} would do" for s in above)
        return Finding(FORGOTTEN, "no", f"The forget set is not forgotten: {failed}.", evidence, limits)
    if between := [s for s in standings if s.level == "between"]:
        reach = listed([f"{s.name} may be {s.reach}, at most {s.allowed} would do" for s in between])
        look = "gone" if all(s.looks_gone for s in standings) else "still there"
        answer = f"Forgetting is not settled: the answers look {look}, but {reach}."
        return Finding(FORGOTTEN, "open", answer, evidence, limits)
    return Finding(FORGOTTEN, "yes", GONE, evidence, limits)


def leading_metrics(run: RunResult) -> Sequence[Sequence[str]]:
    """What shows that the answers are gone, by the suite: of these groups the first that was measured decides."""
    return run.results.recipe.get("leading") or LEADING


def leading_numbers(run: RunResult) -> dict[str, Number]:
    """The leading metrics that were measured on the forget set, with their numbers."""
    groups = [{m: found for m in metrics if (found := run.metric(f"forget/{m}"))} for metrics in leading_metrics(run)]
    return next((numbers for numbers in groups if numbers), {})


def against_retain(metric: str, run: RunResult, target: RunResult | None, retain: RunResult) -> Standing:
    """Near means: the whole interval is at most NEAR_RETAIN above the retain model's value."""
    share, key = wording(metric).share, f"forget/{metric}"
    own, never = run.metric(key), retain.metric(key)
    before = target.metric(key) if target else None
    assert own is not None  # it leads because it was measured
    if never is None:
        return Standing(metric, None, None, stated(own, share))
    limit, ends = never.value + NEAR_RETAIN, bounds(metric, own)
    return Standing(
        metric,
        level=_level(ends, limit),
        known=None if before is None else KNOWN[_level(bounds(metric, before), limit)],
        numbers=f"{stated(own, share)}, the retain model's {stated(never, share)}",
        allowed=number(limit, share),
        reach="anything" if ends is None else f"up to {number(ends[1], share)}",
        looks_gone=own.value <= limit,
    )


def against_controls(metric: str, run: RunResult, target: RunResult | None) -> Standing:
    """Near means: the whole interval of forget minus holdout rows is at most NEAR_RETAIN."""
    share, own = wording(metric).share, run.metric(f"forget/{metric}")
    never, above = run.metric(f"holdout/{metric}"), run.summary(metric + ABOVE_CONTROLS)
    before = target.metric(f"forget/{metric}") if target else None
    assert own is not None
    if never is None or above is None:
        return Standing(metric, None, None, stated(own, share))
    ends, ends_before = above_controls(metric, run), above_controls(metric, target) if target else None
    return Standing(
        metric,
        level=_level(ends, NEAR_RETAIN),
        known=None if before is None else KNOWN[_level(ends_before, NEAR_RETAIN)],
        numbers=f"{stated(own, share)}, on controls {stated(never, share)}",
        allowed=f"{number(NEAR_RETAIN, share)} above the controls",
        reach="anything" if ends is None else f"up to {number(ends[1], share)} above the controls",
        looks_gone=above.value <= NEAR_RETAIN,
    )


def _level(ends: Ends | None, limit: float) -> Level:
    if ends is None or ends[0] <= limit < ends[1]:
        return "between"
    return "near" if ends[1] <= limit else "above"


def _nothing_to_forget(
    standings: Sequence[Standing], seen_by: str, evidence: tuple[str, ...], limits: tuple[str, ...]
) -> Finding:
    names = listed([s.name for s in standings])
    if all(s.known == "no" for s in standings):
        answer = f"Nothing to forget: by {names} the target model knew the forget set no better than {seen_by}."
        return Finding(FORGOTTEN, "open", answer, evidence, limits, words="nothing to forget")
    answer = f"Forgetting is not settled: it is not shown that the target model knew the forget set, by {names}."
    return Finding(FORGOTTEN, "open", answer, evidence, limits)


def _against_target_alone(
    leading: dict[str, Number],
    run: RunResult,
    target: RunResult | None,
    evidence: tuple[str, ...],
    limits: tuple[str, ...],
) -> Finding:
    """Without a model that never saw the rows: whether the answers became rarer at all."""
    names, limits = listed([wording(metric).in_sentence for metric in leading]), (*limits, NOTHING_TO_COMPARE)
    known = {m: before for m in leading if (before := target.metric(f"forget/{m}"))} if target else {}
    if not known:
        answer = f"Whether the forget set is forgotten cannot be said: no other model has {names} measured."
        return Finding(FORGOTTEN, "open", answer, evidence, limits)
    known = {metric: before for metric, before in known.items() if before.value > 0}
    if not known:
        answer = f"Nothing to forget: the target model's {names} on the forget set is 0."
        return Finding(FORGOTTEN, "open", answer, evidence, limits, words="nothing to forget")
    names = listed([wording(metric).in_sentence for metric in known])
    ends = [(bounds(metric, leading[metric]), bounds(metric, before)) for metric, before in known.items()]
    pairs = [(now, then) for now, then in ends if now is not None and then is not None]
    if len(pairs) < len(ends):
        answer = f"Whether the forget set is forgotten cannot be said: {names} has no interval."
        return Finding(FORGOTTEN, "open", answer, evidence, limits)
    if all(now[1] < then[0] for now, then in pairs):
        answer = f"The forget set's answers became rarer ({names} fell); whether they are gone cannot be said."
        return Finding(FORGOTTEN, "open", answer, evidence, limits)
    answer = f"The forget set's answers did not measurably become rarer ({names})."
    return Finding(FORGOTTEN, "no", answer, evidence, limits)


def _evidence(metric: str, run: RunResult, target: RunResult | None, retain: RunResult | None) -> str:
    words, key = wording(metric), f"forget/{metric}"

    def told(name: str, value: Number | None) -> str:
        return f"{name} {stated(value, words.share)}" if value else f"{name} not measured"

    parts = [told(f"{words.label} on the forget set:", run.metric(key))]
    if retain is None and (above := run.summary(metric + ABOVE_CONTROLS)):
        ends = above_controls(metric, run)
        parts += [
            told("on controls", run.metric(f"holdout/{metric}")),
            f"difference {number(above.value, words.share)} {interval(ends, words.share)}",
        ]
    else:
        parts.append(told("retain model", retain.metric(key) if retain else None))
    parts.append(told("target", target.metric(key) if target else None))
    return "; ".join(parts) + ". Lower is better."


def _sample_limits(leading: dict[str, Number]) -> tuple[str, ...]:
    limits = []
    for metric, measured in leading.items():
        words, ends = wording(metric), bounds(metric, measured)
        if measured.n < FEW_ROWS:
            limits.append(
                f"Only {measured.n} rows: one row is {100 / measured.n:.2g} percentage points, and below {FEW_ROWS} "
                "rows even a perfect count does not rule out what the threshold forbids."
            )
        if ends is None:
            limits.append(f"{words.label} has no interval, so it settles nothing.")
        elif words.yes_no and measured.ci95 is not None and measured.ci95[0] == measured.ci95[1]:
            limits.append(
                f"All {measured.n} rows gave the same result, so the bootstrap interval has no width; judged by "
                f"Wilson's interval {interval(ends, share=True)} % instead."
            )
    return tuple(dict.fromkeys(limits))
