"""The intervals that verdicts are made of: never narrower than the number of rows allows."""

import math

from expunge.metrics.bootstrap import wilson
from expunge.report.comparison import ABOVE_CONTROLS, Number, RunResult
from expunge.report.words import wording

Ends = tuple[float, float]


def bounds(metric: str, measured: Number, pairs: int = 0) -> Ends | None:
    """The interval to judge by: the measured one, widened to Wilson's for shares of yes-or-no rows and for AUCs.

    A bootstrap over rows that all gave the same answer has no width; Wilson's interval still has.

    Args:
        metric: its name.
        measured: its number.
        pairs: for an AUC, a share of pairs of rows: how many rows the smaller side has. As a share of so many rows it
            has a wider interval than its own.
    """
    n = measured.n if wording(metric).yes_no else pairs
    if not n:
        return measured.ci95
    low, high = wilson(measured.value, n)
    ends = measured.ci95 or (low, high)
    return min(low, ends[0]), max(high, ends[1])


def difference(first: float, first_ends: Ends, second: float, second_ends: Ends) -> Ends:
    """The 95 % interval of first - second from each one's interval (Newcombe 1998; Zou and Donner 2008).

    Both are taken as independent. Two models on the same rows usually rise and fall together: then it is too wide,
    never too narrow.
    """
    between = first - second
    down = math.hypot(first - first_ends[0], second_ends[1] - second)
    up = math.hypot(first_ends[1] - first, second - second_ends[0])
    return between - down, between + up


def above_controls(metric: str, model: RunResult) -> Ends | None:
    """How much more of the forget set than of the controls a model shows: the interval, not too narrow for its rows."""
    above = model.summary(metric + ABOVE_CONTROLS)
    own, never = model.metric(f"forget/{metric}"), model.metric(f"holdout/{metric}")
    if above is None or own is None or never is None:
        return None
    if not wording(metric).yes_no:
        return above.ci95
    ends, never_ends = bounds(metric, own), bounds(metric, never)
    assert ends is not None
    assert never_ends is not None
    low, high = difference(own.value, ends, never.value, never_ends)
    return (low, high) if above.ci95 is None else (min(low, above.ci95[0]), max(high, above.ci95[1]))
