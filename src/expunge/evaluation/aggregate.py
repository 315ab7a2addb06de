"""From the table of examples to the numbers of results.json, without a model: means, intervals, summaries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from expunge.evaluation.suite import SetSpec, Suite
from expunge.evaluation.table import column_of
from expunge.metrics import Better, Metric
from expunge.metrics.bootstrap import interval, mean_interval, resampled_means
from expunge.metrics.summaries import forget_efficacy, forget_quality, harmonic_mean, harmonic_means


@dataclass(frozen=True)
class Measurement:
    """One number: the value with its 95 % interval over `n` examples and the good direction, or why there is none."""

    value: float | None
    better: Better
    n: int = 0
    ci95: list[float] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Summary:
    """Numbers over sets; `ci95` and `parts` by name of the number, `reasons` for each that is null."""

    values: dict[str, float | int | None] = field(default_factory=dict)
    ci95: dict[str, list[float] | None] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def measurements(suite: Suite, table: pa.Table, sets: Sequence[str]) -> dict[str, Measurement]:
    """The value of each metric on each set that was evaluated."""
    facts = "fact_accuracy" in table.column_names and table["fact_accuracy"].null_count < len(table)
    return {
        f"{spec.name}/{metric.name}": measure(metric, spec, table)
        for spec in suite.sets
        if spec.name in sets
        for metric in suite.metrics_of(spec.kind)
        if facts or metric.name != "fact_accuracy"  # no published data has facts: nothing is missing there
    }


def measure(metric: Metric, spec: SetSpec, table: pa.Table) -> Measurement:
    """Mean of a metric's terms over the examples of a set on which it was measured."""
    terms = terms_of(metric, spec, table)
    n = int(np.count_nonzero(~np.isnan(terms)))
    if n == 0:
        return Measurement(None, metric.better[spec.kind], reason=metric.why_null)
    return Measurement(float(np.nanmean(terms)), metric.better[spec.kind], n, mean_interval(terms))


def terms_of(metric: Metric, spec: SetSpec, table: pa.Table) -> np.ndarray:
    """What a metric averages on a set, [n]; NaN where it was not measured."""
    return metric.terms(column_of(table, spec.name, metric.name), spec.kind)


def summarise(suite: Suite, table: pa.Table, sets: Sequence[str], left_out: Mapping[str, str]) -> Summary:
    """`model_utility` and `forget_efficacy`; null with a reason where a part is missing, and then `*_partial`."""
    summary = Summary()
    retained = [(spec, metric) for spec in suite.sets if spec.kind == "retain" for metric in suite.utility]
    forgotten = [(spec, metric) for spec in suite.sets if spec.kind == "forget" for metric in suite.efficacy]
    for name, parts, whole, resampled in (
        ("model_utility", retained, harmonic_mean, harmonic_means),
        ("forget_efficacy", forgotten, forget_efficacy, lambda draws: 1 - draws.mean(axis=0)),
    ):
        there = {
            f"{spec.name}/{metric.name}": terms
            for spec, metric in parts
            if spec.name in sets and not np.isnan(terms := terms_of(metric, spec, table)).all()
        }
        missing = [key for spec, metric in parts if (key := f"{spec.name}/{metric.name}") not in there]
        target = f"{name}_partial" if missing else name
        if missing:
            summary.values[name] = None
            summary.reasons[name] = "not measured: " + ", ".join(missing) + _why(left_out, missing)
        summary.values[target] = whole([float(np.nanmean(v)) for v in there.values()]) if there else None
        if not there:
            summary.reasons[target] = summary.reasons[name]
            continue
        summary.parts[target] = list(there)
        summary.ci95[target] = (
            interval(resampled(np.stack([resampled_means(v) for v in there.values()])))
            if min(np.count_nonzero(~np.isnan(v)) for v in there.values()) > 1
            else None
        )
    return summary


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


def _why(left_out: Mapping[str, str], missing: Sequence[str]) -> str:
    reasons = [f"{name}: {why}" for name, why in left_out.items() if any(m.startswith(f"{name}/") for m in missing)]
    return f" ({'; '.join(reasons)})" if reasons else ""
