"""Summaries and intervals against numbers worked out by hand or by an independent calculation."""

import numpy as np
import pytest

from expunge.metrics import METRICS
from expunge.metrics.bootstrap import draws, mean_interval, resampled_means, wilson
from expunge.metrics.summaries import forget_efficacy, forget_quality, harmonic_mean, harmonic_means


def test_harmonic_mean() -> None:
    assert harmonic_mean([0.5, 1.0]) == pytest.approx(2 / 3)
    assert harmonic_mean([0.9, 0.0, 0.9]) == 0.0
    assert harmonic_means(np.array([[0.5, 0.0], [1.0, 1.0]])) == pytest.approx([2 / 3, 0.0])


def test_forget_efficacy() -> None:
    assert forget_efficacy([0.1, 0.2, 0.3, 0.0, 0.4]) == pytest.approx(0.8)


def test_forget_quality_is_the_two_sample_ks_test() -> None:
    unlearned, retain = np.array([0.2, 0.5, 0.9]), np.array([0.4, 0.6, 1.1, 1.3])
    quality = forget_quality(unlearned, retain)
    assert quality.distance == pytest.approx(0.5)  # at r = 0.9: 3/3 against 2/4
    assert (quality.n, quality.n_reference) == (3, 4)
    assert 0 < quality.p_value < 1
    # The test sees order alone: r and r' = 1/r give the same.
    assert forget_quality(1 / unlearned, 1 / retain) == quality


def test_p_falls_with_n_alone_and_the_distance_does_not() -> None:
    values, other = np.arange(1.0, 11.0), np.arange(3.0, 13.0)
    few = forget_quality(values, other)
    many = forget_quality(np.repeat(values, 20), np.repeat(other, 20))
    assert many.distance == pytest.approx(few.distance)
    assert many.p_value < few.p_value / 10


def test_one_row_and_constant_scores_are_defined() -> None:
    assert forget_quality(np.array([1.0]), np.array([1.0])).p_value == 1.0
    assert forget_quality(np.ones(5), np.ones(5)).p_value == 1.0
    assert mean_interval(np.array([0.3])) is None  # one example says nothing of the spread
    assert mean_interval(np.full(4, 0.25)) == (0.25, 0.25)
    assert mean_interval(np.full(4, np.nan)) is None


def test_the_interval_is_deterministic_and_close_to_the_normal_one() -> None:
    values = np.random.default_rng(7).normal(size=400)
    low, high = mean_interval(values)
    assert (low, high) == mean_interval(values)
    draws.cache_clear()  # as another process draws
    assert (low, high) == mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)


def test_wilson_agrees_with_a_published_example() -> None:
    """Wilson's interval of 15 in 50 (p = 0.3): [0.1910, 0.4375] in standard tables."""
    assert wilson(0.3, 50) == pytest.approx((0.1910, 0.4375), abs=5e-5)
    assert wilson(0.0, 20) == (0.0, pytest.approx(0.1611, abs=5e-5))  # Wilson's never leaves [0, 1]
    assert wilson(1.0, 20)[1] == 1.0


def test_unmeasured_examples_are_left_out_of_the_resampled_means() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    counts = draws(4)
    means = resampled_means(values)
    for line in range(50):
        measured = np.repeat(np.array([1.0, 3.0]), counts[line, [0, 2]].astype(int))
        if measured.size:
            assert means[line] == pytest.approx(measured.mean())
        else:
            assert np.isnan(means[line])


def test_the_table_is_whole() -> None:
    for metric in METRICS:
        assert metric.definition
        assert metric.source
        assert set(metric.kinds) <= set(metric.better)
        assert metric.needs
