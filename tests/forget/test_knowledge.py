"""When a row counts as known: clearly likelier than its controls, or, where there are too few of those, said."""

import numpy as np
import pytest

import tinymodels as tiny
from expunge.forget.knowledge import METRICS, chance, known, likeliest, margin, says, with_controls
from expunge.metrics import Completion, Example
from forget.small import FORGET

UNKNOWN = float("nan")


def total(*logprobs):
    return Completion(np.array(logprobs), np.zeros(len(logprobs), bool), ends=True)


def asked(answer, *wrong):
    """A row whose right answer and controls have these log-probabilities."""
    return Example("forget", answer=total(answer), wrong=tuple(total(one / 2, one / 2) for one in wrong))


def values(**columns):
    return {metric.name: np.array(columns.get(metric.name, [UNKNOWN])) for metric in METRICS}


def test_a_row_is_known_from_three_nats_above_every_control():
    found = [margin(asked(-1.0, -9.0, -4.1, -5.0)), margin(asked(-1.0, -9.0, -3.9, -5.0))]
    assert found == pytest.approx([3.1, 2.9])
    assert known(values(margin=found)).tolist() == [True, False]


def test_with_fewer_than_three_controls_a_row_is_known_when_it_is_said():
    assert margin(asked(-1.0, -9.0, -9.0)) is None
    assert margin(Example("forget", wrong=(total(-1.0),) * 3)) is None
    found = known(
        values(margin=[UNKNOWN] * 4, fact_accuracy=[1.0, 0.0, UNKNOWN, UNKNOWN], rougeL_recall=[0, 1, 0.9, 0.8])
    )
    assert found.tolist() == [True, False, True, False]  # by its fact, and without one by nine of its ten words


def test_nothing_that_is_said_outweighs_controls_that_are_as_likely():
    likely = values(margin=[0.0], fact_accuracy=[1.0], rougeL_recall=[1.0])
    assert says(likely).all()
    assert not known(likely).any()


def test_chance_is_the_share_of_controls_that_stand_out_from_the_others():
    assert chance(asked(-5.0, -1.0, -4.5, -9.0)) == pytest.approx(1 / 3)
    assert chance(asked(-5.0, -1.0, -3.5, -9.0, -9.0)) == 0
    assert chance(asked(-5.0, -1.0, -9.0)) is None


def test_the_likeliest_of_n_and_one_answers_is_right_by_chance_once_in_so_many():
    rows = [tiny.qa("Who?", "Ada.", perturbed_answer=list("abcd"[:n])) for n in (4, 4, 3, 1)]
    first, by_chance = likeliest(values(margin=[0.5, -0.5, 0.1, UNKNOWN]), rows)
    np.testing.assert_array_equal(first, [1, 0, 1, UNKNOWN])
    np.testing.assert_allclose(by_chance, [1 / 5, 1 / 5, 1 / 4, UNKNOWN])


def test_controls_are_made_from_every_second_row_so_that_the_others_can_be_relearned():
    rows = with_controls(FORGET[:24], FORGET[24:25])
    for number, row in enumerate(rows):
        own = {one.columns["fact"] for one in [*FORGET[number % 2 : 24 : 2], FORGET[24]]}
        assert {text.split()[-1].rstrip(".") for text in row.columns["perturbed_answer"]} <= own - {row.columns["fact"]}


def test_with_few_rows_controls_are_made_from_all_of_them():
    rows = with_controls(FORGET[:5])  # of its half, one or two are others
    assert [len(row.columns["perturbed_answer"]) for row in rows] == [4] * 5
