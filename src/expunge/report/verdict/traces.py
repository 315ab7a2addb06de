"""Traces: whatever tells the model from one that never saw the forget set, each on its own scale.

A contrast is one such number against what that model would give. It is a trace where the whole 95 % interval of the
difference is farther than TRACE_FROM from 0. Contrasts of different kinds are ranked by how far off they are for
certain: the end of that interval nearest to 0, as a share of the scale. Probabilities, rates and the distance of
forget quality go from 0 to 1, an AUC from 0.5 (guessing) to 1, a privacy leak from 0 to 100.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from expunge.report.comparison import Number, RunResult
from expunge.report.verdict.bounds import Ends, above_controls, bounds, difference
from expunge.report.verdict.thresholds import DISTINGUISHABLE_BELOW, TRACE_FROM
from expunge.report.words import interval, number, rows, set_label, stated, wording

AUC_SCALE = 0.5
PRIVLEAK_SCALE = 100.0
GUESSING = 0.5
AGAINST = {"retain": "the retain model's", "controls": "on controls", "guessing": "guessing gives"}  # in a sentence


@dataclass(frozen=True)
class Contrast:
    """One number of a run against what a model that never saw the forget set gives.

    Attributes:
        name: what was measured, inside a sentence.
        label: the same in a table.
        numbers: the run's number and the other, each with interval and n.
        brief: the two values, alone.
        lines: the two values with their intervals.
        n: rows of the forget set that it is from.
        trace: whether it tells the two apart.
        distance: how far off for certain, as a share of the scale; 0 where the interval holds 0.
        decides: whether "no trace" can rest on it: forget quality, privacy leak and membership inference.
        below: whether the run is below what such a model gives.
        by_controls: whether controls stand in for the retain model.
    """

    name: str
    label: str
    numbers: str
    brief: str
    lines: tuple[str, ...]
    n: int
    trace: bool
    distance: float
    decides: bool = False
    below: bool = False
    by_controls: bool = False


def contrasts(run: RunResult, retain: RunResult | None) -> list[Contrast]:
    """Everything that was compared with a model that never saw the forget set: traces first, the farthest off first."""
    found = list(against_retain(run, retain)) if retain else []
    min_k = next((contrast for contrast in found if contrast.label == wording("mia_min_k").label), None)
    found += [summary for summary in (forget_quality(run), privacy_leak(run, min_k)) if summary is not None]
    return sorted(found or against_controls(run), key=lambda contrast: (not contrast.trace, -contrast.distance))


def against_retain(run: RunResult, retain: RunResult) -> Iterator[Contrast]:
    """The metrics of the forget sets that are good when low or near the retain model's, and have a scale of 0 to 1."""
    for key, measured in run.results.metrics.items():
        set_name, metric = key.split("/", 1)
        own, never = run.metric(key), retain.metric(key)
        if run.kind(set_name) != "forget" or measured.better == "higher" or own is None or never is None:
            continue
        if not all(0 <= value <= 1 for value in (own.value, never.value)):
            continue
        auc = wording(metric).auc
        pairs, never_pairs = (model.smaller_side(set_name) if auc else 0 for model in (run, retain))
        ends, never_ends = bounds(metric, own, pairs), bounds(metric, never, never_pairs)
        if ends is not None and never_ends is not None:
            where = "" if set_name == "forget" else f" on {set_label(set_name, run.results)}"
            apart = difference(own.value, ends, never.value, never_ends)
            yield _contrast(metric, own, "retain", never, apart, pairs or own.n, where)


def against_controls(run: RunResult) -> Iterator[Contrast]:
    """Without a retain model: membership inference against guessing, and forget rows against holdout rows."""
    for key in run.results.metrics:
        set_name, metric = key.split("/", 1)
        own, never = run.metric(key), run.metric(f"holdout/{metric}")
        if set_name != "forget" or own is None:
            continue
        if wording(metric).auc:
            pairs, guess = run.smaller_side(set_name), Number(GUESSING, own.better, 0, None)
            if (ends := bounds(metric, own, pairs)) is not None:
                yield _contrast(metric, own, "guessing", guess, (ends[0] - GUESSING, ends[1] - GUESSING), pairs)
        elif never is not None and (above := above_controls(metric, run)) is not None:
            yield _contrast(metric, own, "controls", never, above, own.n)


def forget_quality(run: RunResult) -> Contrast | None:
    """A trace where the truth ratios of the two models differ by the Kolmogorov-Smirnov (KS) test."""
    quality = run.summary("forget_quality")
    if quality is None:
        return None
    distance = run.results.summary.values.get("forget_quality_ks_distance")
    p, ks = f"p = {number(quality.value)}", "" if distance is None else f", KS distance {number(distance)}"
    by_chance = ks_by_chance(quality.n, quality.n) if quality.n else 1.0
    return Contrast(
        wording("forget_quality").in_sentence,
        wording("forget_quality").label,
        f"{p}{ks}{' (0 alike, 1 apart)' if ks else ''}, {rows(quality.n)}",
        p + ks.replace("distance ", ""),
        (p + ks, rows(quality.n)),
        quality.n,
        trace=quality.value < DISTINGUISHABLE_BELOW,
        distance=max(0.0, (distance or 0.0) - by_chance),
        decides=True,
    )


def privacy_leak(run: RunResult, min_k: Contrast | None) -> Contrast | None:
    """A trace where its whole interval is outside what MUSE allows; it restates min-k, and is as far off as that."""
    leak = run.summary("privleak")
    if leak is None or leak.ci95 is None:
        return None
    off = abs(_nearest_to_zero(leak.ci95)) / PRIVLEAK_SCALE
    return Contrast(
        wording("privleak").in_sentence,
        wording("privleak").label,
        f"{stated(leak)}; 0 is like the retain model",
        number(leak.value),
        (f"{number(leak.value)} {interval(leak.ci95)}, {rows(leak.n)}", "0 is like retain"),
        run.smaller_side("forget"),
        trace=off > TRACE_FROM,
        distance=min(1.0, off if min_k is None else min_k.distance),
        decides=True,
    )


def ks_by_chance(n: int, m: int) -> float:
    """The KS distance that two samples of one distribution exceed in one of twenty cases (Smirnov 1948)."""
    return math.sqrt(-math.log(0.05 / 2) / 2 * (n + m) / (n * m))


def _contrast(metric: str, own: Number, against: str, other: Number, apart: Ends, n: int, where: str = "") -> Contrast:
    words = wording(metric)
    scale, auc = (AUC_SCALE, "AUC ") if words.auc else (1.0, "")
    off = _nearest_to_zero(apart)
    side = f"; {'above' if off > 0 else 'below'} by at least {number(abs(off), words.share)}" if off else ""
    there = stated(other, words.share) if other.n else number(other.value)
    value, other_value = number(own.value, words.share), number(other.value, words.share)
    return Contrast(
        words.in_sentence + where,
        words.label + where,
        f"{auc}{stated(own, words.share)}, {AGAINST[against]} {there}{side}",
        f"{auc}{value}, {against} {other_value}",
        (f"{auc}{stated(own, words.share)}", f"{against} {there}"),
        n,
        trace=abs(off) / scale > TRACE_FROM,
        distance=min(1.0, abs(off) / scale),
        decides=words.auc,
        below=off < 0,
        by_controls=against != "retain",
    )


def _nearest_to_zero(ends: Ends) -> float:
    """The end of an interval nearest to 0; 0 where it holds 0."""
    return ends[0] if ends[0] > 0 else ends[1] if ends[1] < 0 else 0.0
