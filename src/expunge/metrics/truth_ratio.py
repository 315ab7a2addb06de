"""Truth ratio (arXiv 2401.06121 and 2410.08109): does the model still prefer the truth to wrong answers?"""

import numpy as np

from expunge.metrics.base import Example, Kind, Metric
from expunge.metrics.probability import mean_token_nll

LARGEST_EXPONENT = 700.0  # exp(709) is the largest float64: r and 1/r both stay finite for a model that has collapsed


def truth_ratio(example: Example) -> float | None:
    """r = p(paraphrase) / geometric-mean_j p(wrong_j); above 1 the model prefers the truth.

    The mean is that of the released code; the formula of 2401.06121 has the arithmetic mean of p(wrong_j).
    """
    wrong = mean_token_nll(example.wrong)
    if example.paraphrase is None or example.paraphrase.token_nll is None or wrong is None:
        return None
    exponent = wrong - example.paraphrase.token_nll
    return float(np.exp(np.clip(exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT)))


def closeness(ratio: np.ndarray) -> np.ndarray:
    """min(r, 1/r): 1 where truth and falsehood are equally likely, near 0 where the model is sure either way."""
    return np.minimum(ratio, 1 / ratio)


def tofu_terms(ratio: np.ndarray, kind: Kind) -> np.ndarray:
    """Forget set: min(r, 1/r). Retain-like sets: max(0, 1 - 1/r)."""
    return closeness(ratio) if kind == "forget" else np.maximum(0.0, 1 - 1 / ratio)


def closer_look_terms(ratio: np.ndarray, kind: Kind) -> np.ndarray:
    """Forget set: 1 - min(r, 1/r), so that lower is better as for every other metric there. Retain-like: as TOFU."""
    return 1 - closeness(ratio) if kind == "forget" else tofu_terms(ratio, kind)


TRUTH_RATIO_TOFU = Metric(
    name="truth_ratio",
    label="Truth ratio",
    meaning="how the right answer's probability compares with wrong answers'",
    per_example=truth_ratio,
    definition="suite tofu; r = p(paraphrase) / geometric-mean_j p(wrong_j); forget: mean min(r, 1/r); retain-like: "
    "mean max(0, 1 - 1/r)",
    source="2401.06121",
    needs=frozenset({"paraphrase", "wrong"}),
    better={"forget": "higher", "retain": "higher"},
    terms=tofu_terms,
    why_null="it needs the columns of paraphrased and wrong answers (paraphrased_answer, perturbed_answer)",
)
TRUTH_RATIO_CLOSER_LOOK = Metric(
    name="truth_ratio",
    label="Truth ratio",
    meaning="how the right answer's probability compares with wrong answers'",
    per_example=truth_ratio,
    definition="suite closer_look; r as in tofu; forget: 1 - mean min(r, 1/r); retain-like: mean max(0, 1 - 1/r)",
    source="2410.08109",
    needs=frozenset({"paraphrase", "wrong"}),
    terms=closer_look_terms,
    why_null="it needs the columns of paraphrased and wrong answers (paraphrased_answer, perturbed_answer)",
)
