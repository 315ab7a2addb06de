"""95 % intervals: by bootstrap over examples, the same draws for every metric of a set; Wilson's for shares."""

from functools import cache
from math import ceil, floor

import numpy as np

DRAWS = 1000
LEVEL = 0.95
SEED = 0
ROUNDING = 1e-9  # of a share times its rows, which should be whole


@cache
def draws(n: int, stream: int = 0) -> np.ndarray:
    """How often each of `n` examples is in each resample, [DRAWS, n].

    A function of n and the stream alone: the same rows are drawn for every model, so that differences are paired. A
    second set that must be drawn independently of the first takes another stream.
    """
    generator = np.random.default_rng([SEED, n, stream])
    return generator.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float32)


def resampled_means(values: np.ndarray) -> np.ndarray:
    """Means of `values` [n] (NaN: not measured) over the resamples, [DRAWS]; NaN where a resample has none measured."""
    counts = draws(len(values))
    measured = ~np.isnan(values)
    totals = counts @ np.where(measured, values, 0.0)
    sizes = counts @ measured.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return totals / sizes


def interval(resampled: np.ndarray) -> tuple[float, float] | None:
    """(low, high) of the middle 95 % of resampled values; None if nothing was resampled."""
    finite = resampled[np.isfinite(resampled)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The interval of the mean of the measured values; None for fewer than two, which say nothing of the spread."""
    if np.count_nonzero(~np.isnan(values)) < 2:
        return None
    return interval(resampled_means(values))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of a share of `n` rows; where it is no whole number of rows, the wider."""
    from scipy.stats import binomtest

    low, high = (
        binomtest(count, n).proportion_ci(LEVEL, method="wilson")
        for count in (floor(share * n + ROUNDING), ceil(share * n - ROUNDING))
    )
    return float(low.low), float(high.high)
