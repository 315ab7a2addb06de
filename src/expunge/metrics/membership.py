"""Membership inference (arXiv 2506.12618): can the forget set be told from rows the model never saw?

Each attack gives every row a score; a set's value is the AUC of forget against holdout rows, 1 where the forget set is
far more likely than the holdout. An AUC far below the retain model's is a leak too: something was pushed out.
"""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from expunge.metrics.base import Example, Metric, Need
from expunge.metrics.bootstrap import draws, interval

Member = Literal["higher", "lower"]  # which scores speak for membership

LOWEST_SHARE = 0.4  # the k of min-k and min-k++
LEAST_VARIANCE = 1e-6  # of log p_t under p_t, where the model is certain; as in the released code


def loss(example: Example) -> float | None:
    """nll/T of the answer, end-of-turn included."""
    return None if example.answer is None else example.answer.token_nll


def zlib_ratio(example: Example) -> float | None:
    """nll/T over the bytes of the zlib-compressed answer: surprising text may be surprising to anyone."""
    nll = loss(example)
    if nll is None or example.answer_text is None:
        return None
    return nll / len(zlib.compress(example.answer_text.encode("utf-8")))


def min_k(example: Example) -> float | None:
    """Mean of the lowest 40 % of the token log-probabilities, at least one; without end-of-turn."""
    if example.answer is None:
        return None
    return _mean_of_lowest(example.answer.logprobs[example.answer.content])


def min_k_plus_plus(example: Example) -> float | None:
    """`min_k` of (log p_t(y_t) - mean) / std, with mean and standard deviation of log p_t under p_t."""
    answer = example.answer
    if answer is None or answer.mean is None or answer.std is None:
        return None
    std = np.sqrt(np.maximum(answer.std**2, LEAST_VARIANCE))
    return _mean_of_lowest(((answer.logprobs - answer.mean) / std)[answer.content])


def auc(forget: np.ndarray, holdout: np.ndarray, member: Member) -> float:
    """P(a forget row looks more like a member than a holdout row), ties half.

    Args:
        forget: scores [n], not empty.
        holdout: scores [m], not empty.
        member: which scores speak for membership.
    """
    from scipy.stats import mannwhitneyu  # reports need none of it

    pair = (forget, holdout) if member == "higher" else (holdout, forget)
    return float(mannwhitneyu(*pair, method="asymptotic").statistic / (len(forget) * len(holdout)))


def resampled_aucs(forget: np.ndarray, holdout: np.ndarray, member: Member) -> np.ndarray:
    """AUCs of bootstrap resamples of both sets, drawn independently, [DRAWS]."""
    n, m = len(forget), len(holdout)
    wins = _wins(forget, holdout, member)
    return ((draws(n) @ wins) * draws(m, stream=1)).sum(axis=1) / (n * m)


def auc_interval(forget: np.ndarray, holdout: np.ndarray, member: Member) -> tuple[float, float] | None:
    """95 % bootstrap interval of the AUC over the examples of both sets; None where a set has fewer than two."""
    if min(len(forget), len(holdout)) < 2:
        return None
    return interval(resampled_aucs(forget, holdout, member))


def _wins(forget: np.ndarray, holdout: np.ndarray, member: Member) -> np.ndarray:
    """1, 0.5 or 0 for each pair [n, m]."""
    difference = np.sign(forget[:, None] - holdout[None, :])
    return (1 + (difference if member == "higher" else -difference)) / 2


def _mean_of_lowest(values: np.ndarray) -> float | None:
    if not values.size:
        return None
    return float(np.sort(values)[: max(1, int(LOWEST_SHARE * values.size))].mean())


def _attack(
    name: str,
    per_example: Callable[[Example], float | None],
    member: Member,
    definition: str,
    needs: frozenset[Need],
    label: str,
    meaning: str,
) -> Metric:
    return Metric(
        name=name,
        label=f"Membership: {label}",
        meaning=meaning,
        per_example=per_example,
        definition=f"AUC of forget against holdout rows, 1 = forget far more likely; score: {definition}",
        source="2506.12618",
        needs=needs,
        kinds=("forget", "holdout"),
        better={"forget": "closer_to_reference", "holdout": "closer_to_reference"},
        member=member,
        why_null="no holdout rows: give rows that were never trained on with --holdout",
    )


MIA_LOSS = _attack(
    "mia_loss",
    loss,
    "lower",
    "nll/T",
    frozenset({"answer"}),
    "loss",
    "AUC of forget against holdout rows by loss; 1 = forget far likelier",
)
MIA_ZLIB = _attack(
    "mia_zlib",
    zlib_ratio,
    "lower",
    "(nll/T) / bytes of the zlib-compressed decoded answer",
    frozenset({"answer", "answer_text"}),
    "zlib",
    "the same by loss per byte of the compressed answer",
)
MIA_MIN_K = _attack(
    "mia_min_k",
    min_k,
    "higher",
    "mean of the lowest 40 % of token log-probabilities",
    frozenset({"answer"}),
    "min-k",
    "the same by the least likely 40 % of tokens",
)
MIA_MIN_K_PLUS_PLUS = _attack(
    "mia_min_k_plus_plus",
    min_k_plus_plus,
    "higher",
    "min-k of log-probabilities normalised by their mean and standard deviation under p_t",
    frozenset({"answer", "moments"}),
    "min-k++",
    "min-k, normalised at each token",
)
MIA_GRADNORM = _attack(
    "mia_gradnorm",
    lambda example: example.gradient_norm,
    "lower",
    "mean over parameter tensors of the L2 norm of the gradient of the row's token-mean loss, without end-of-turn",
    frozenset({"answer", "gradient"}),
    "gradient norm",
    "the same by the norm of the gradient",
)
MIA_REFERENCE = replace(
    _attack(
        "mia_reference",
        loss,
        "lower",
        "nll/T minus the reference model's, here the retain model's",
        frozenset({"answer"}),
        "reference",
        "the same by loss minus the reference model's loss",
    ),
    relative_to="mia_loss",
    why_null="it needs holdout rows (--holdout) and a reference model: the retain model (--retain-model)",
)
