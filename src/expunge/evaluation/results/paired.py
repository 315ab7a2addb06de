"""Model utility against the target's, paired over rows: both models are resampled on the same rows."""

import numpy as np

from expunge.evaluation.results.schema import Results
from expunge.evaluation.results.table import column_of
from expunge.metrics import METRICS
from expunge.metrics.bootstrap import interval, resampled_means
from expunge.metrics.summaries import harmonic_mean, harmonic_means

_METRICS = {metric.name: metric for metric in METRICS}  # suites differ in forget terms only, which are not used here


def utility_share(run: Results, target: Results, name: str) -> tuple[float, float] | None:
    """The 95 % interval of the run's model utility as a share of the target's; None where it cannot be paired.

    Args:
        run: of the unlearned model.
        target: of the model before, measured on the same rows.
        name: `model_utility` or `model_utility_partial`; its parts must be the same for both.
    """
    parts = run.summary.parts.get(name, ())
    if not parts or any(part.split("/")[1] not in _METRICS for part in parts):
        return None
    own, before = ([_terms(model, part) for part in parts] for model in (run, target))
    for model, values in ((run, own), (target, before)):
        if any(v.size < 2 or np.isnan(v).all() for v in values):
            return None
        stated = model.summary.values[name]
        if stated is None or not np.isclose(harmonic_mean([float(np.nanmean(v)) for v in values]), stated, rtol=1e-4):
            return None  # the table is not the one the summary was computed from
    if any(a.size != b.size for a, b in zip(own, before, strict=True)):
        return None
    draws = [harmonic_means(np.stack([resampled_means(v) for v in values])) for values in (own, before)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return interval(draws[0] / draws[1])


def _terms(model: Results, part: str) -> np.ndarray:
    """What the mean of `<set>/<metric>` is taken over, in the order of rows, [n]; NaN where not measured."""
    set_name, metric_name = part.split("/")
    if model.table is None:
        return np.empty(0)
    return _METRICS[metric_name].terms(column_of(model.table, set_name, metric_name), "retain")
