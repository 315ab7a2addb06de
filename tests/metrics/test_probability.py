"""Length-normalised probability, among choices too, by hand."""

import math

import pytest

from expunge.metrics import Example
from expunge.metrics.probability import PROBABILITY, probability, probability_gap
from metrics.helpers_metrics import completion


def test_probability_is_the_geometric_mean_over_tokens_with_end_of_turn() -> None:
    example = Example("forget", answer=completion(math.log(0.5), math.log(0.25), math.log(0.125)))
    assert probability(example) == pytest.approx((0.5 * 0.25 * 0.125) ** (1 / 3))


def test_among_choices_it_is_the_share_of_the_right_answer() -> None:
    answer = completion(math.log(0.4))
    wrong = (completion(math.log(0.2), math.log(0.2)), completion(math.log(0.1)))
    assert probability(Example("retain", choices=True, answer=answer, wrong=wrong)) == pytest.approx(0.4 / 0.7)
    assert probability(Example("retain", choices=False, answer=answer, wrong=wrong)) == pytest.approx(0.4)


def test_choices_that_all_underflow_are_still_compared() -> None:
    example = Example("retain", choices=True, answer=completion(-1000.0), wrong=(completion(-1000.0),))
    assert probability(example) == pytest.approx(0.5)


def test_a_row_without_completion_tokens_has_no_value_and_is_not_nan() -> None:
    assert probability(Example("forget", answer=completion())) is None
    assert probability(Example("retain", choices=True, answer=completion(-1.0), wrong=())) is None
    assert probability(Example("forget")) is None


def test_the_gap_is_between_the_paraphrase_and_the_wrong_answers_geometric_mean() -> None:
    wrong = (completion(math.log(0.2)), completion(math.log(0.05)))
    example = Example("forget", paraphrase=completion(math.log(0.3)), wrong=wrong)
    assert probability_gap(example) == pytest.approx(0.3 / 0.4)
    assert probability_gap(Example("forget", paraphrase=completion(-1.0))) is None
    assert probability_gap(Example("forget", wrong=wrong)) is None
    assert probability_gap(Example("forget", paraphrase=completion(), wrong=wrong)) is None


def test_wrong_answers_are_asked_for_only_where_they_compete() -> None:
    assert PROBABILITY.needs == {"answer", "choices"}
