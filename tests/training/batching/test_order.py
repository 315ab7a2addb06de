"""Rows of a step are dealt by length: what shares a step stays as drawn, what shares a micro-batch wastes little."""

import numpy as np
import pytest

from expunge.training.batching.order import Order, cut_into
from expunge.training.batching.pairing import Pairing

ROWS, PER_STEP, SIZE = 45, 8, 2
LENGTHS = np.random.default_rng(5).integers(5, 200, ROWS).tolist()
ALONE = [[length] for length in LENGTHS]  # forget rows that bring no others along


def orders(strategy="random", packed=False, size=SIZE, rows_per_step=PER_STEP):
    return Order(Pairing(3, ROWS), strategy, rows_per_step, size, packed)


def steps(order, size=PER_STEP):
    return [set(step) for step in cut_into(order, size)]


def padding(order, size=SIZE):
    parts = cut_into(order, size)
    return sum(max(LENGTHS[i] for i in part) * len(part) - sum(LENGTHS[i] for i in part) for part in parts)


def largest(order, size=SIZE):
    return max(sum(LENGTHS[i] for i in part) for part in cut_into(order, size))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_random_steps_hold_the_rows_that_the_plan_drew(packed, size):
    for epoch in range(3):
        order = orders(packed=packed, size=size).of_epoch(epoch, ALONE)
        assert steps(order) == steps(Pairing(3, ROWS).order(epoch))
    assert orders().of_epoch(0, ALONE) != orders().of_epoch(1, ALONE)


def test_padded_micro_batches_hold_rows_of_similar_length_longest_first():
    shuffled, sorted_ = Pairing(3, ROWS).order(0), orders().of_epoch(0, ALONE)
    assert padding(sorted_) < padding(shuffled) / 3
    for step in cut_into(sorted_, PER_STEP):
        assert LENGTHS[step[0]] == max(LENGTHS[i] for i in step)


def test_packed_micro_batches_hold_about_as_many_tokens_each():
    shuffled, even = Pairing(3, ROWS).order(0), orders(packed=True).of_epoch(0, ALONE)
    assert largest(even) < largest(shuffled)
    assert largest(even) < largest(orders().of_epoch(0, ALONE))
    for step in cut_into(even, PER_STEP)[:-1]:
        totals = [sum(LENGTHS[i] for i in part) for part in cut_into(step, SIZE)]
        assert totals == sorted(totals, reverse=True)


def test_two_processes_that_take_turns_get_about_as_many_tokens_each():
    """accelerate hands micro-batch k to process k mod n."""

    def apart(order):
        parts = [sum(LENGTHS[i] for i in part) for part in cut_into(order[:40], SIZE)]
        return sum(abs(sum(step[::2]) - sum(step[1::2])) for step in cut_into(parts, PER_STEP // SIZE))

    assert apart(orders(packed=True).of_epoch(0, ALONE)) < apart(Pairing(3, ROWS).order(0)) / 3


def test_grouped_steps_are_of_similar_length_and_the_longest_row_comes_first():
    grouped, shuffled = orders("group_by_length").of_epoch(0, ALONE), Pairing(3, ROWS).order(0)
    assert sorted(grouped) == list(range(ROWS))
    assert padding(grouped, PER_STEP) < padding(shuffled, PER_STEP) / 3
    assert LENGTHS[grouped[0]] == max(LENGTHS)
    firsts = [LENGTHS[step[0]] for step in cut_into(grouped, PER_STEP)]
    assert firsts != sorted(firsts, reverse=True), "steps go in random order, but for the first"
    assert grouped != orders("group_by_length").of_epoch(1, ALONE)
    assert len(orders("group_by_length", rows_per_step=64).of_epoch(0, ALONE)) == ROWS, "one step, and a short one"


def test_sequential_steps_follow_the_forget_set():
    order = orders("sequential").of_epoch(2, ALONE)
    assert steps(order) == steps(list(range(ROWS)))


def test_what_counts_of_the_rows_that_go_together():
    """Padded, the longest of them; in a line, all of them."""
    lengths = [[50, 1], [30, 30], [40, 2], [31, 31]]
    plan = Pairing(0, 4)
    assert Order(plan, "sequential", 4, 2, False).of_epoch(0, lengths) == [0, 2, 3, 1]
    assert Order(plan, "sequential", 4, 2, False).largest(0, lengths) == 4 * 50
    in_line = Order(plan, "sequential", 4, 2, True)
    assert [set(part) for part in cut_into(in_line.of_epoch(0, lengths), 2)] == [{1, 0}, {3, 2}]
    assert in_line.largest(0, lengths) == 60 + 51
