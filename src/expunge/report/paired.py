"""Model utility against the target's, paired over rows: both models are resampled on the same rows."""

import numpy as np

from expunge.metrics import METRICS
from expunge.metrics.bootstrap import interval, resampled_means
from expunge.metrics.summaries import harmonic_mean, harmonic_means
from expunge.report.load import RunResult

_METRICS = {metric.name: metric for metric in METRICS}  # suites differ in forget terms only, which are not used here


def utility_share(run: RunResult, target: RunResult, name: str) -> tuple[float, float] | None:
    """The 95 % interval of the run's model utility as a share of the target's; None where it cannot be paired.

    Args:
        run: the unlearned model, with its examples.
        target: the model before, measured on the same rows.
        name: `model_utility` or `model_utility_partial`; its parts must be the same for both.
    """
    parts = run.results.summary_parts.get(name, ())
    if not parts or any(part.split("/")[1] not in _METRICS for part in parts):
        return None
    own, before = ([_terms(model, part) for part in parts] for model in (run, target))
    for model, values in ((run, own), (target, before)):
        if any(v.size < 2 or np.isnan(v).all() for v in values):
            return None
        if not np.isclose(
            harmonic_mean([float(np.nanmean(v)) for v in values]), model.results.summary[name], rtol=1e-4
        ):
            return None  # the table is not the one the summary was computed from
    if any(a.size != b.size for a, b in zip(own, before, strict=True)):
        return None
    draws = [harmonic_means(np.stack([resampled_means(v) for v in values])) for values in (own, before)]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = interval(draws[0] / draws[1])
    return None if share is None else (share[0], share[1])


def _terms(model: RunResult, part: str) -> np.ndarray:
    """What the mean of `<set>/<metric>` is taken over, in the order of rows, [n]; NaN where not measured."""
    set_name, metric_name = part.split("/")
    rows = sorted((e for e in model.examples if e.set == set_name), key=lambda e: e.index)
    values = np.array([row.values.get(metric_name, np.nan) for row in rows], dtype=np.float64)
    return _METRICS[metric_name].terms(values, "retain")
