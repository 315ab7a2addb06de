"""From measured rows to a verdict: what each row counts for, and what is said of all."""

import numpy as np
import pytest

import tinymodels as tiny
from expunge.forget.judge import LIKELIEST, RETAINED, judge, utility_loss
from expunge.forget.knowledge import METRICS
from expunge.forget.settings import PLAIN

UNKNOWN = float("nan")
KNOWN, GONE = 8.0, -3.0  # nats above the likeliest control


def measured(margins, said=0.0, chance=0.0):
    """What rows with such margins are worth; their facts are said or not."""
    one = np.ones(len(margins))
    values = {metric.name: one * UNKNOWN for metric in METRICS}
    return values | {"margin": np.array(margins), "chance": one * chance, "fact_accuracy": one * said}


def judged(
    after, before=None, relearned=None, lost=(0.0, (-0.01, 0.01)), known_by_chance=0.0, kept_before=None, **worth
):
    """The verdict on rows that the target knew, each of which has eight controls."""
    rows = [tiny.qa("Who?", "Ada.", perturbed_answer=list("abcdefgh"))] * len(after)
    settings = {PLAIN: measured(after, **worth)}
    if relearned is not None:
        settings["relearned: steps=1"] = measured(relearned)
    return judge(rows, measured(before or [KNOWN] * len(after), chance=known_by_chance), settings, lost, kept_before)


def statuses(verdict):
    return [row.status for row in verdict.rows]


def test_what_is_gone_of_enough_rows_is_forgotten():
    verdict = judged([GONE] * 40)
    assert verdict.overall == "forgotten"
    assert verdict.evidence["known_after"]["above_chance"] == pytest.approx([0, 0.0876], abs=1e-4)  # Wilson's, of 40


def test_a_row_is_weaker_when_less_than_half_of_its_margin_is_left():
    assert statuses(judged([3.5, 5.0] * 20)) == ["weaker", "still_known"] * 20
    assert set(statuses(judged([3.5] * 40, said=1.0))) == {"still_known"}


def test_what_relearning_brings_back_was_suppressed():
    verdict = judged([GONE] * 40, relearned=[KNOWN] * 30 + [GONE] * 10)
    assert statuses(verdict) == ["weaker"] * 30 + ["forgotten"] * 10
    assert {row.brought_back_by for row in verdict.rows[:30]} == {"relearned: steps=1"}
    assert verdict.rows[30].brought_back_by is None
    assert verdict.overall == "partly"
    assert verdict.reasons == ["suppressed, not removed: 75% of what was known comes back (relearned: steps=1)"]
    assert verdict.evidence["known_after_relearning"]["value"] == 0.75


def test_of_many_settings_one_is_high_by_chance():
    """Seventeen of forty that come back in one setting are some; not where others, with fewer, are about other rows."""
    rows = [tiny.qa("Who?", "Ada.", perturbed_answer=list("abcdefgh"))] * 40
    some, fewer = [KNOWN] * 17 + [GONE] * 23, [KNOWN] * 14 + [GONE] * 26
    for others, overall in ((0, "partly"), (11, "inconclusive")):
        settings = {PLAIN: measured([GONE] * 40), "relearned: steps=1": measured(some)}
        settings |= {f"quantized: {i}": measured(np.random.default_rng(i).permutation(fewer)) for i in range(others)}
        assert judge(rows, measured([KNOWN] * 40), settings, (0.0, (0.0, 0.0))).overall == overall
        settings |= {f"quantized: {i}": measured(some) for i in range(others)}  # the same rows once more
        assert judge(rows, measured([KNOWN] * 40), settings, (0.0, (0.0, 0.0))).overall == "partly"


@pytest.mark.parametrize(("left", "overall"), [(9, "inconclusive"), (18, "partly"), (20, "not_forgotten")])
def test_half_of_the_rows_is_not_forgotten(left, overall):
    assert judged([KNOWN] * left + [GONE] * (40 - left)).overall == overall


def test_right_answers_that_are_the_likeliest_too_often_are_still_there():
    verdict = judged([1.0] * 40)  # fewer than three nats
    assert verdict.overall == "not_forgotten"
    assert {(row.status, row.brought_back_by) for row in verdict.rows} == {("weaker", LIKELIEST)}
    assert judged([1.0] * 4 + [GONE] * 36).overall == "forgotten"  # of nine answers, one is


def test_chance_is_taken_off_what_is_known():
    verdict = judged([KNOWN] * 10 + [GONE] * 30, chance=0.25)
    low, high = verdict.evidence["known_after"]["above_chance"]
    assert low < -0.1
    assert 0.1 < high < 0.2


def test_rows_that_controls_match_were_never_known():
    verdict = judged([GONE] * 40, before=[KNOWN] * 4 + [GONE] * 36, known_by_chance=0.1)
    assert verdict.overall == "nothing_to_forget"
    assert set(statuses(verdict)) == {"not_known"}


@pytest.mark.parametrize(
    ("ends", "overall"),
    [((0.11, 0.3), "model_damaged"), ((0.09, 0.3), "inconclusive"), ((-0.2, 0.09), "forgotten")],
)
def test_damage_is_told_by_both_ends_of_what_was_lost(ends, overall):
    assert judged([GONE] * 40, lost=(0.2, ends)).overall == overall


def test_without_retain_rows_damage_is_not_known():
    assert judged([GONE] * 40, lost=None).overall == "inconclusive"


def test_rows_that_the_target_never_knew_cannot_show_what_is_lost():
    for margins, overall in (([GONE] * 30, "inconclusive"), ([KNOWN] * 20 + [GONE] * 10, "forgotten")):
        verdict = judged([GONE] * 40, kept_before=measured(margins, chance=0.1))
        assert verdict.overall == overall
    assert "controls" in judged([GONE] * 40, kept_before=measured([GONE] * 30)).reasons[-1]


def test_few_rows_settle_nothing():
    assert judged([GONE] * 4).overall == "inconclusive"
    verdict = judged([GONE] * 8)
    assert verdict.overall == "inconclusive"
    assert "too few rows to settle it" in verdict.reasons[-1]


def kept(probability, recall):
    first, second = (metric.name for metric in RETAINED)
    return {first: np.array(probability), second: np.array(recall)}


def test_what_is_lost_is_the_drop_of_the_harmonic_mean():
    value, (low, high) = utility_loss(kept([0.5] * 4, [1.0] * 4), kept([0.5] * 4, [0.25] * 4))
    assert value == pytest.approx(0.5)  # from 2/3 to 1/3
    assert (low, high) == pytest.approx((0.5, 0.5))
    assert utility_loss({}, {}) is None
    assert utility_loss(kept([0.0], [0.0]), kept([0.5], [0.5])) is None
    unsaid = utility_loss(kept([0.5] * 4, [UNKNOWN] * 4), kept([0.4] * 4, [UNKNOWN] * 4))
    assert unsaid[0] == pytest.approx(0.2)  # of what was measured
