"""Membership inference: can the forget rows be told from rows that no model saw, at few false alarms?

The scores are those of `expunge eval` (arXiv 2506.12618). Beside the AUC stands the share of forget rows that are found
where one in a hundred holdout rows is taken for one (arXiv 2112.03570): an attacker who is sure of a few rows is worse
than one who is a little better than chance on all.
"""

from dataclasses import replace

import numpy as np

from expunge.attacks.ask import ask
from expunge.attacks.base import NONE, AttackRow, Curve, Findings, NotMeasured, Subject
from expunge.data import fitting
from expunge.metrics.bootstrap import draws, interval
from expunge.metrics.membership import (
    MIA_GRADNORM,
    MIA_LOSS,
    MIA_MIN_K,
    MIA_MIN_K_PLUS_PLUS,
    MIA_ZLIB,
    auc,
    auc_interval,
)
from expunge.models import context_length

NAME = "mia"
SCORES = (MIA_LOSS, MIA_ZLIB, MIA_MIN_K, MIA_MIN_K_PLUS_PLUS)
SLOW_SCORES = (MIA_GRADNORM,)
FALSE_ALARMS = 0.01


def run(subject: Subject) -> Findings:
    """The attack of `expunge attack --attack mia`."""
    if not subject.data.holdout:
        reason = "no holdout rows: give rows that were never trained on with --holdout"
        return Findings(not_measured=[NotMeasured(NAME, None, subject.role, reason)])
    model, tokenizer = subject.load()
    metrics = SCORES if subject.quick else SCORES + SLOW_SCORES
    scores = [replace(metric, member=None) for metric in metrics]  # each set's alone
    sides = []
    for rows in (subject.data.forget, subject.data.holdout):
        fit = fitting(tokenizer, rows, context_length(model.config))
        sides.append(ask(model, tokenizer, fit, subject.style, scores, subject.progress))
    found = Findings()
    for metric in metrics:
        assert metric.member is not None
        forget, holdout = (side[metric.name][~np.isnan(side[metric.name])] for side in sides)
        if not (forget.size and holdout.size):
            continue
        n = len(forget) + len(holdout)
        value, limits = auc(forget, holdout, metric.member), auc_interval(forget, holdout, metric.member)
        found.rows.append(AttackRow(NAME, NONE, subject.role, f"{metric.name}_auc", value, limits, n))
        members, others = (forget, holdout) if metric.member == "higher" else (-forget, -holdout)
        share, between = found_at(members, others), found_interval(members, others)
        found.rows.append(AttackRow(NAME, NONE, subject.role, f"{metric.name}_tpr_at_1pct_fpr", share, between, n))
        false, true = roc(members, others)
        found.curves.append(Curve(NAME, subject.role, metric.name, false.tolist(), true.tolist()))
    return found


def roc(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from (0, 0) to (1, 1), at each threshold: a score of at least it is a member."""
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    false, true = ((side[:, None] >= thresholds).mean(axis=0) for side in (others, members))
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], true])


def found_at(members: np.ndarray, others: np.ndarray, false_alarms: float = FALSE_ALARMS) -> float:
    """The largest true positive rate at a false positive rate of at most `false_alarms`.

    With fewer than a hundred holdout rows that is: without a single false alarm.
    """
    allowed = int(false_alarms * len(others))
    if allowed >= len(others):
        return 1.0
    return float((members > np.sort(others)[::-1][allowed]).mean())


def found_interval(members: np.ndarray, others: np.ndarray) -> tuple[float, float] | None:
    """95 % bootstrap interval of `found_at`, both sets resampled independently; None for fewer than two rows."""
    if min(len(members), len(others)) < 2:
        return None
    pairs = zip(draws(len(members)), draws(len(others), stream=1), strict=True)
    times = [(np.repeat(members, m.astype(int)), np.repeat(others, o.astype(int))) for m, o in pairs]
    return interval(np.array([found_at(*pair) for pair in times]))
