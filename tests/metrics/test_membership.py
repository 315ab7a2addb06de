"""Scores of the attacks by hand, AUC against scikit-learn, privleak in the MUSE convention."""

import zlib

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from expunge.metrics import Example
from expunge.metrics.membership import (
    MIA_LOSS,
    MIA_MIN_K,
    MIA_REFERENCE,
    auc,
    auc_interval,
    loss,
    min_k,
    min_k_plus_plus,
    resampled_aucs,
    zlib_ratio,
)
from expunge.metrics.summaries import privleak
from metrics.helpers_metrics import completion

LOGPROBS = (-1.0, -4.0, -2.0, -3.0, -0.5, -9.0)  # the last is the end of turn


def test_loss_and_zlib_count_the_end_of_turn() -> None:
    example = Example("forget", answer=completion(*LOGPROBS), answer_text="Zürich, Zürich")
    assert loss(example) == pytest.approx(19.5 / 6)
    assert zlib_ratio(example) == pytest.approx(19.5 / 6 / len(zlib.compress("Zürich, Zürich".encode())))


def test_min_k_does_not() -> None:
    assert min_k(Example("forget", answer=completion(*LOGPROBS))) == pytest.approx((-4.0 - 3.0) / 2)  # 40 % of five
    assert min_k(Example("forget", answer=completion(*LOGPROBS[:4], -9.0))) == -4.0  # of four: 1.6, rounded down
    twenty = completion(*[-float(i) for i in range(20)], -9.0)
    assert min_k(Example("forget", answer=twenty)) == pytest.approx(-(19 + 12) / 2)  # the mean of eight
    assert min_k(Example("forget", answer=completion(-2.0, -1.0))) == -2.0  # at least one token
    assert min_k(Example("forget", answer=completion(-1.0))) is None  # the end of turn alone


def test_min_k_plus_plus_normalises_each_token() -> None:
    mean, std = np.full(6, -3.0), np.array([2.0, 0.5, 1.0, 2.0, 1.0, 1.0])
    example = Example("forget", answer=completion(*LOGPROBS, mean=mean, std=std))
    assert min_k_plus_plus(example) == pytest.approx((-2.0 + 0.0) / 2)  # of 1, -2, 1, 0, 2.5
    certain = Example("forget", answer=completion(-0.0, -9.0, mean=np.zeros(2), std=np.zeros(2)))
    assert np.isfinite(min_k_plus_plus(certain))
    sure = Example("forget", answer=completion(-0.1, -9.0, mean=np.zeros(2), std=np.full(2, 0.01)))
    assert min_k_plus_plus(sure) == pytest.approx(-10.0)  # a small deviation is taken as it is
    assert min_k_plus_plus(Example("forget", answer=completion(*LOGPROBS))) is None


def test_auc_is_the_area_under_the_roc_curve() -> None:
    generator = np.random.default_rng(0)
    forget, holdout = generator.normal(size=40).round(1), generator.normal(0.5, size=30).round(1)  # ties
    labels = np.array([1] * 40 + [0] * 30)
    scores = np.concatenate([forget, holdout])
    assert auc(forget, holdout, "higher") == pytest.approx(roc_auc_score(labels, scores))
    assert auc(forget, holdout, "lower") == pytest.approx(roc_auc_score(labels, -scores))
    low, high = auc_interval(forget, holdout, "higher")
    assert low < auc(forget, holdout, "higher") < high


def test_one_means_the_forget_set_is_far_more_likely() -> None:
    likely, unlikely = np.array([0.1, 0.2]), np.array([3.0, 4.0])
    assert auc(likely, unlikely, MIA_LOSS.member) == 1.0
    assert auc(-likely, -unlikely, MIA_MIN_K.member) == 1.0


def test_constant_scores_and_one_row_sets() -> None:
    assert auc(np.ones(3), np.ones(4), "lower") == 0.5
    assert auc_interval(np.ones(3), np.ones(4), "lower") == (0.5, 0.5)
    assert auc_interval(np.ones(1), np.ones(4), "lower") is None


def test_both_sets_are_resampled_independently() -> None:
    values = np.arange(30.0)
    resampled = resampled_aucs(values, values, "higher")  # sets of one size must not share their draws
    assert resampled.std() == pytest.approx(np.sqrt((2 * 30 + 1) / (12 * 30 * 30)), rel=0.15)


def test_privleak_uses_one_minus_our_auc() -> None:
    assert privleak(0.9, 0.4) == pytest.approx(100 * (0.1 - 0.6) / 0.6)
    assert privleak(0.4, 0.4) == 0.0
    assert privleak(0.4, 1.0) is None


def test_reference_is_relative_to_the_loss() -> None:
    assert MIA_REFERENCE.relative_to == "mia_loss"


def test_two_rows_on_each_side_have_an_interval_and_one_has_none() -> None:
    forget, holdout = np.array([0.1, 0.4]), np.array([0.2, 0.9])
    low, high = auc_interval(forget, holdout, "lower")
    assert 0 <= low < 0.75 < high <= 1
    assert auc_interval(forget[:1], holdout, "lower") is None
    assert auc_interval(forget, holdout[:1], "lower") is None
