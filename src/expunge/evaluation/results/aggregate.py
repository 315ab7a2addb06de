"""From the table of examples to the numbers of results.json, without a model: means, intervals, summaries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from expunge.evaluation.results.schema import Measurement, Summary
from expunge.evaluation.results.table import column_of
from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics import Kind, Metric
from expunge.metrics.bootstrap import interval, mean_interval, resampled_means
from expunge.metrics.membership import auc, auc_interval
from expunge.metrics.summaries import forget_efficacy, forget_quality, harmonic_mean, harmonic_means, privleak


def measurements(
    suite: Suite, table: pa.Table, sets: Sequence[str], reference: pa.Table | None = None
) -> dict[str, Measurement]:
    """The value of each metric on each set that was evaluated.

    Args:
        suite: its sets and metrics.
        table: the examples of the model.
        sets: the sets that were evaluated.
        reference: the examples of the reference model, for metrics that are relative to one.
    """
    facts = "fact_accuracy" in table.column_names and table["fact_accuracy"].null_count < len(table)
    return {
        f"{spec.name}/{metric.name}": membership(metric, spec, suite, table, reference)
        if metric.member
        else measure(metric, spec, table)
        for spec in suite.sets
        if spec.name in sets
        for metric in suite.metrics_of(spec)
        if not (metric.member and spec.kind == "holdout")  # the holdout is what the forget set is told apart from
        if facts or metric.name != "fact_accuracy"  # no published data has facts: nothing is missing there
    }


def measure(metric: Metric, spec: SetSpec, table: pa.Table) -> Measurement:
    """Mean of a metric's terms over the examples of a set on which it was measured."""
    terms = terms_of(metric, spec, table)
    n = int(np.count_nonzero(~np.isnan(terms)))
    if n == 0:
        return Measurement(None, metric.better[spec.kind], reason=metric.why_null)
    return Measurement(float(np.nanmean(terms)), metric.better[spec.kind], n, mean_interval(terms))


def membership(metric: Metric, spec: SetSpec, suite: Suite, table: pa.Table, reference: pa.Table | None) -> Measurement:
    """AUC of a set's scores against the holdout set's."""
    assert metric.member is not None
    scores = membership_scores(metric, spec, suite, table, reference)
    if scores is None:
        return Measurement(None, metric.better[spec.kind], reason=metric.why_null)
    value = auc(*scores, metric.member)
    return Measurement(value, metric.better[spec.kind], sum(map(len, scores)), auc_interval(*scores, metric.member))


def membership_scores(
    metric: Metric, spec: SetSpec, suite: Suite, table: pa.Table, reference: pa.Table | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The measured scores of a set [n] and of the holdout set [m]; None if either has none."""

    def scores(set_name: str) -> np.ndarray:
        if metric.relative_to is None:
            found = column_of(table, set_name, metric.name)
        elif reference is None:
            return np.empty(0)
        else:
            found = column_of(table, set_name, metric.relative_to)
            theirs = column_of(reference, set_name, metric.relative_to)
            if len(found) != len(theirs):
                return np.empty(0)
            found = found - theirs
        return found[~np.isnan(found)]

    holdout = next((s.name for s in suite.sets if s.kind == "holdout"), None)
    if holdout is None:
        return None
    pair = scores(spec.name), scores(holdout)
    return pair if pair[0].size and pair[1].size else None


def terms_of(metric: Metric, spec: SetSpec, table: pa.Table) -> np.ndarray:
    """What a metric averages on a set, [n]; NaN where it was not measured."""
    return metric.terms(column_of(table, spec.name, metric.name), spec.kind)


def summarise(suite: Suite, table: pa.Table, sets: Sequence[str], left_out: Mapping[str, str]) -> Summary:
    """The `SUMMARIES` of the suite; null with a reason where a part is missing, and then `*_partial`."""
    summary = Summary()
    for name, number in SUMMARIES.items():
        if not number.metrics(suite):
            continue
        there, missing = parts_of(name, suite, table, sets)
        target = f"{name}_partial" if missing else name
        if missing:
            summary.values[name] = None
            summary.reasons[name] = "not measured: " + ", ".join(missing) + _why(left_out, missing)
        if not there:
            summary.values[target] = None
            summary.reasons[target] = summary.reasons[name]
            continue
        summary.values[target] = number.value([float(np.nanmean(v)) for v in there.values()])
        summary.parts[target] = list(there)
        resampled = resampled_summary(name, there)
        summary.ci95[target] = None if resampled is None else interval(resampled)
    return summary


@dataclass(frozen=True)
class Number:
    """How a summary is made from its parts: from their values [parts], and from their resamples [parts, draws]."""

    kind: Kind
    metrics: Callable[[Suite], tuple[Metric, ...]]
    value: Callable[[Sequence[float]], float]
    values: Callable[[np.ndarray], np.ndarray]


SUMMARIES = {
    "model_utility": Number("retain", lambda suite: suite.utility, harmonic_mean, harmonic_means),
    "retain_utility": Number("retain", lambda suite: suite.retain_utility, harmonic_mean, harmonic_means),
    "forget_efficacy": Number(
        "forget", lambda suite: suite.efficacy, forget_efficacy, lambda parts: 1 - parts.mean(axis=0)
    ),
}


def parts_of(name: str, suite: Suite, table: pa.Table, sets: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The terms of each part of a summary that was measured, and the names of those that were not."""
    number = SUMMARIES[name]
    keys = {
        f"{spec.name}/{metric.name}": (spec, metric)
        for spec in suite.sets
        if spec.kind == number.kind
        for metric in number.metrics(suite)
    }
    terms = {key: terms_of(metric, spec, table) for key, (spec, metric) in keys.items() if spec.name in sets}
    there = {key: values for key, values in terms.items() if not np.isnan(values).all()}
    return there, [key for key in keys if key not in there]


def resampled_summary(name: str, there: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """A summary over the bootstrap resamples of its parts; None where a part has fewer than two examples."""
    if min(np.count_nonzero(~np.isnan(values)) for values in there.values()) < 2:
        return None
    return SUMMARIES[name].values(np.stack([resampled_means(values) for values in there.values()]))


def add_forget_quality(summary: Summary, truth_ratios: np.ndarray, reference: np.ndarray | None, why: str) -> None:
    """Add `forget_quality` with the sample size and the KS distance.

    Args:
        summary: is added to.
        truth_ratios: r of the forget set, [n], NaN where not measured.
        reference: r of the retain model on the same rows; None without one.
        why: what to do about a missing reference.
    """
    measured = truth_ratios[~np.isnan(truth_ratios)]
    reference = None if reference is None else reference[~np.isnan(reference)]
    if reference is None or not reference.size or not measured.size:
        summary.values["forget_quality"] = None
        summary.reasons["forget_quality"] = why if measured.size else "no truth ratio was measured on the forget set"
        return
    quality = forget_quality(measured, reference)
    summary.values["forget_quality"] = quality.p_value
    summary.values["forget_quality_n"] = quality.n
    summary.values["forget_quality_ks_distance"] = quality.distance


def add_privleak(
    summary: Summary,
    auc_unlearned: float | None,
    auc_retain: float | None,
    resampled: tuple[np.ndarray, np.ndarray | float] | None,
    why: str,
) -> None:
    """Add `privleak` = (AUC_u - AUC_retain) / AUC_retain * 100 of mia_min_k, in the MUSE convention (1 - our AUC).

    Args:
        summary: is added to.
        auc_unlearned: ours; None where it was not measured.
        auc_retain: of the retain model; None without one. Peers then assume 0.5; here it is null.
        resampled: both over the bootstrap resamples, for the interval.
        why: what to do about a missing one.
    """
    value = None if auc_unlearned is None or auc_retain is None else privleak(auc_unlearned, auc_retain)
    summary.values["privleak"] = value
    if value is None:
        unmeasured = "mia_min_k was not measured: it needs holdout rows (--holdout)"
        zero = "the retain model's AUC is 1: nothing to relate to"
        summary.reasons["privleak"] = unmeasured if auc_unlearned is None else why if auc_retain is None else zero
    elif resampled is not None:
        ours, theirs = 1 - resampled[0], 1 - np.asarray(resampled[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            summary.ci95["privleak"] = interval(100 * (ours - theirs) / theirs)


def add_controls(summary: Summary, suite: Suite, table: pa.Table, sets: Sequence[str]) -> None:
    """Add `<metric>_above_holdout`: how much more of the forget set shows than of controls the model never saw.

    Where both sets have as many rows, row i of the holdout is the control of row i of the forget set and the interval
    is paired; else the sets are resampled independently. An interval that holds 0 is no sign of memory.
    """
    forget, holdout = (next((s for s in suite.sets if s.kind == kind), None) for kind in ("forget", "holdout"))
    if forget is None or holdout is None:
        return
    for metric in suite.metrics:
        if metric.member or not {"forget", "holdout"} <= set(metric.kinds):
            continue
        name = f"{metric.name}_above_holdout"
        ours, theirs = (terms_of(metric, spec, table) for spec in (forget, holdout))
        if metric.name == "fact_accuracy" and np.isnan(ours).all():
            continue
        if np.isnan(ours).all() or np.isnan(theirs).all():
            absent = holdout.name not in sets
            summary.values[name] = None
            summary.reasons[name] = "no holdout rows: give controls with --holdout" if absent else metric.why_null
            continue
        if len(ours) == len(theirs):
            difference = ours - theirs
            summary.values[name] = None if np.isnan(difference).all() else float(np.nanmean(difference))
            summary.ci95[name] = mean_interval(difference)
            if summary.values[name] is None:
                summary.reasons[name] = "no row was measured together with its control"
        else:
            summary.values[name] = float(np.nanmean(ours) - np.nanmean(theirs))
            enough = min(np.count_nonzero(~np.isnan(v)) for v in (ours, theirs)) > 1
            drawn = resampled_means(ours) - resampled_means(theirs)
            summary.ci95[name] = interval(drawn) if enough else None


def _why(left_out: Mapping[str, str], missing: Sequence[str]) -> str:
    reasons = [f"{name}: {why}" for name, why in left_out.items() if any(m.startswith(f"{name}/") for m in missing)]
    return f" ({'; '.join(reasons)})" if reasons else ""
