"""Truth ratio: geometric mean over wrong answers, and the four aggregates, by hand."""

import math

import numpy as np
import pytest

from expunge.metrics import Example
from expunge.metrics.truth_ratio import TRUTH_RATIO_CLOSER_LOOK, TRUTH_RATIO_TOFU, truth_ratio
from metrics.helpers_metrics import completion


def example(paraphrase: float, *wrong: float) -> Example:
    """Probabilities of one-token answers."""
    return Example(
        "forget",
        paraphrase=completion(math.log(paraphrase)),
        wrong=tuple(completion(math.log(p)) for p in wrong),
    )


def test_the_mean_over_wrong_answers_is_geometric_not_arithmetic() -> None:
    value = truth_ratio(example(0.3, 0.1, 0.4))
    assert value == pytest.approx(0.3 / math.sqrt(0.1 * 0.4))
    assert abs(value - 0.3 / 0.25) > 0.2  # what the arithmetic mean would give


def test_every_answer_is_normalised_by_its_own_length() -> None:
    measured = Example(
        "forget", paraphrase=completion(-1.0, -3.0), wrong=(completion(-1.0), completion(-2.0, -2.0, -5.0))
    )
    assert truth_ratio(measured) == pytest.approx(math.exp((1.0 + 3.0) / 2 - 2.0))


def test_aggregates_of_both_suites() -> None:
    ratio = np.array([0.5, 4.0])  # r; r' = 1/r is what TOFU's code keeps
    assert TRUTH_RATIO_TOFU.terms(ratio, "forget") == pytest.approx([0.5, 0.25])
    assert TRUTH_RATIO_TOFU.terms(ratio, "retain") == pytest.approx([0.0, 0.75])
    assert TRUTH_RATIO_CLOSER_LOOK.terms(ratio, "forget") == pytest.approx([0.5, 0.75])
    assert TRUTH_RATIO_CLOSER_LOOK.terms(ratio, "retain") == pytest.approx([0.0, 0.75])
    assert TRUTH_RATIO_TOFU.better["forget"] == "higher"
    assert TRUTH_RATIO_CLOSER_LOOK.better["forget"] == "lower"


def test_a_collapsed_model_gives_finite_numbers() -> None:
    for nlls in ((5000.0, 0.0), (0.0, 5000.0)):
        measured = Example("forget", paraphrase=completion(-nlls[0]), wrong=(completion(-nlls[1]),))
        value = np.array([truth_ratio(measured)])
        for metric in (TRUTH_RATIO_TOFU, TRUTH_RATIO_CLOSER_LOOK):
            assert np.isfinite(metric.terms(value, "forget")).all()
            assert np.isfinite(metric.terms(value, "retain")).all()
        assert np.isfinite(1 / value).all()


def test_rows_without_paraphrase_or_wrong_answers_have_no_value() -> None:
    assert truth_ratio(Example("forget", wrong=(completion(-1.0),))) is None
    assert truth_ratio(Example("forget", paraphrase=completion(-1.0))) is None
    assert truth_ratio(Example("forget", paraphrase=completion(), wrong=(completion(-1.0),))) is None
    assert truth_ratio(Example("forget", paraphrase=completion(-1.0), wrong=(completion(),))) is None
