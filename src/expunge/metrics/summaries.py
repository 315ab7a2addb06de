"""Summaries over sets: utility, efficacy, forget quality, privleak (arXiv 2401.06121, 2410.08109, 2407.06460)."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.metrics.base import Better


@dataclass(frozen=True)
class Described:
    """A number over sets, for people: its good direction, its label and meaning in reports.

    Attributes:
        against_retain: whether it compares with the retain model, which itself has none.
    """

    better: Better
    label: str
    meaning: str
    against_retain: bool = False


SUMMARIES = {
    "model_utility": Described("higher", "Model utility", "harmonic mean of the scores on what must be kept"),
    "model_utility_partial": Described(
        "higher", "Model utility (partial)", "model utility over the scores that were measured"
    ),
    "retain_utility": Described(
        "higher", "Retain utility", "harmonic mean of probability and ROUGE-L recall on the user's own retain rows"
    ),
    "retain_utility_partial": Described(
        "higher", "Retain utility (partial)", "retain utility over the scores that were measured"
    ),
    "forget_efficacy": Described("higher", "Forget efficacy", "1 minus the mean of the scores on the forget set"),
    "forget_efficacy_partial": Described(
        "higher", "Forget efficacy (partial)", "forget efficacy over the scores there are"
    ),
    "forget_quality": Described(
        "higher",
        "Forget quality",
        "is it like the retain model? p-value and distance of a Kolmogorov-Smirnov (KS) test of truth ratios",
        against_retain=True,
    ),
    "privleak": Described(
        "closer_to_reference",
        "Privacy leak",
        "min-k membership AUC against the retain model's, in per cent; 0 is like it",
        against_retain=True,
    ),
    "flops": Described(
        "lower",
        "Training FLOPs",
        "what the run computed, from its training tokens (n) and the model's size; a count, so without an interval",
    ),
}
"""Numbers over sets, in the order of the tables."""


def harmonic_mean(values: Sequence[float]) -> float:
    """n / sum(1/v); 0 as soon as one value is 0 or less: utility lost on one side is not made up on another."""
    return float(statistics.harmonic_mean([max(0.0, value) for value in values]))


def harmonic_means(values: np.ndarray) -> np.ndarray:
    """`harmonic_mean` of each column of [parts, draws]; a column without a value in it has none."""
    from scipy.stats import hmean

    return hmean(np.maximum(values, 0.0), axis=0)


def forget_efficacy(values: Sequence[float]) -> float:
    """1 - mean of what the forget set still shows; 1 is everything gone."""
    return 1 - sum(values) / len(values)


@dataclass(frozen=True)
class ForgetQuality:
    """p-value of the KS test with its sample sizes and distance: p falls with n alone, the distance does not."""

    p_value: float
    distance: float
    n: int
    n_reference: int


def forget_quality(truth_ratios: np.ndarray, reference: np.ndarray) -> ForgetQuality:
    """Two-sample Kolmogorov-Smirnov test between the forget set's truth ratios of two models.

    The papers take r' = 1/r; the test sees order alone, so r gives the same number.

    Args:
        truth_ratios: of the unlearned model, [n], not empty.
        reference: of the retain model, [m], not empty.
    """
    from scipy import stats  # reports need none of it

    test: Any = stats.ks_2samp(1 / truth_ratios, 1 / reference)
    return ForgetQuality(float(test.pvalue), float(test.statistic), len(truth_ratios), len(reference))


def privleak(auc_unlearned: float, auc_retain: float) -> float | None:
    """(AUC_u - AUC_retain) / AUC_retain * 100 with MUSE's AUC, which is 1 - ours; None where the divisor is 0.

    Near 0 the forget set is told from the holdout no better and no worse than from a model that never saw it.
    """
    ours, theirs = 1 - auc_unlearned, 1 - auc_retain
    return None if theirs == 0 else 100 * (ours - theirs) / theirs
