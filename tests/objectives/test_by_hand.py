"""Every term on a vocabulary of three tokens, against numbers computed by hand."""

import math
from dataclasses import replace

import pytest
import torch

from expunge.data import Encoded
from expunge.objectives import TERMS, Views, single_batch
from expunge.objectives.reset import of_same_rank, towards, unseen_levels
from expunge.training.bigrams import Bigrams

# Probabilities of the three tokens at each predicted position, and the token that follows.
FORGET = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.8, 0.1, 0.1]], [0, 1, 1]  # two rows: tokens 0-1 and token 2
IDK = [[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]], [2, 1]  # two rows of one token
RETAIN = [[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], [0, 2]  # one row of two tokens
RETAIN_IDK = [[0.1, 0.8, 0.1]], [0]
RETAIN_REFERENCE = [[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]]
FORGET_REFERENCE = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.6, 0.2, 0.2]]
REFERENCE = {"forget": FORGET_REFERENCE, "retain": RETAIN_REFERENCE}
LENGTHS = {"forget": [2, 1], "forget_idk": [1, 1], "forget_mismatch": [1, 1], "retain": [2], "retain_idk": [1]}
GIVEN = {"forget": FORGET, "forget_idk": IDK, "forget_mismatch": IDK, "retain": RETAIN, "retain_idk": RETAIN_IDK}
REFERENCE_NLL = {"forget": [2 * math.log(2), math.log(2)], "forget_idk": [math.log(2), math.log(2)]}
for table in (LENGTHS, GIVEN, REFERENCE_NLL):
    table["forget_alternate"] = table["forget_idk"]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


LN2, LN10 = math.log(2), math.log(10)

# Rows of the forget set: nll = ln 2 + ln 2, and ln 10. Reference: 2 ln 2, and ln 2.
BY_HAND = {
    # -(ln 2 + ln 2 + ln 10) / 3
    "GA": ({}, -1.2296268),
    # margins 0 and ln 5; -20 * (ln(1/2) + ln sigmoid(0.1 ln 5)) / 2
    "NPO": ({"beta": 0.1}, -20 * (math.log(0.5) + math.log(sigmoid(0.1 * math.log(5)))) / 2),
    # per token: ln 2 and ln 10
    "SimNPO": ({"beta": 2.0}, -(math.log(sigmoid(2 * LN2)) + math.log(sigmoid(2 * LN10))) / 2),
    # (2 ln 2 - ln 2) - (2 ln 2 - ln 2) = 0 and (ln 10 - ln 4) - (ln 2 - ln 2) = ln 2.5
    "DPO": ({"beta": 1.0}, -2 * (math.log(0.5) + math.log(2.5 / 3.5)) / 2),
    # (ln 2 + ln 4) / 2 = 1.5 ln 2
    "IDK": ({}, 1.0397208),
    # -(1/3)(ln 1/2 + 2 ln 1/4) - ln 3 = (5/3) ln 2 - ln 3, twice; -(1/3)(ln 0.8 + 2 ln 0.1) - ln 3
    "ME": ({}, (2 * (5 / 3 * LN2 - math.log(3)) + (-(math.log(0.8) - 2 * LN10) / 3 - math.log(3))) / 3),
    "MISMATCH": ({}, 1.0397208),
    # (ln 2 + ln(5/3)) / 2
    # with c = 0 the target is the origin: row 1 ((.25+.0625+.0625)/3, twice the same), row 2 (.64+.01+.01)/3
    "RMU": ({"c": 0.0, "layer": 0}, (0.375 / 3 + 0.66 / 3) / 2),
    # beta = ln 2 halves the true token's weight: (1,1,1)/3 at the first two tokens, (.6, .1, .2)/.9 at the third
    "UNDIAL": (
        {"beta": LN2},
        (2 * 5 / 3 * LN2 - (0.6 * math.log(0.8) - 0.3 * LN10) / 0.9) / 3,
    ),
    # p = 1/2, 1/2, 1/10
    "WGA": ({}, -(0.5 * LN2 + 0.5 * LN2 + 0.1 * LN10) / 3),
    # p (1 - p)^2 = 1/8, 1/8, 0.081
    "SatImp": ({"beta1": 1.0, "beta2": 2.0}, -(2 * LN2 / 8 + 0.081 * LN10) / 3),
    # the others at the second token have a quarter each: CE((1/2, 0, 1/2), p) = ln 4
    "CE-U": ({}, 2 * LN2),
    # as DPO, whose refusals stand here as alternatives
    "AltPO": ({"beta": 1.0}, -2 * (math.log(0.5) + math.log(2.5 / 3.5)) / 2),
    # rows of the forget set: 0.5 and 0.1; refusals: 0.5 and 0.25
    "FLAT": ({}, (math.tanh(0.1) - math.tanh(0.25)) / 4),
    # log-probabilities as logits: max - mean = (2/3) ln 2, twice, and (2/3) ln 8
    "PDU": ({"eps": 1.0}, (2 * (2 / 3 * LN2) ** 2 + (2 / 3 * math.log(8)) ** 2) / 3),
    # 0 at the first two tokens; 0.6 ln(0.6/0.8) + 0.4 ln(0.2/0.1) at the third
    "DISTILL": ({}, (0.6 * math.log(0.75) + 0.4 * LN2) / 3),
    # nats a token: ln 2, and ln 10, which is above the level and counts no more
    "RESET": ({"level": 2.0, "hinge": 0.5}, 0.5 / 2 * (2 - LN2) ** 2 / 2),
    "GD": ({}, 0.6019864),
    # 1/4 ln(1/2) + 1/2 ln 2 + 0 = ln 2 / 4 at the first token, 0 at the second
    "KL": ({}, 0.0866434),
    # -(1/beta) ln sigmoid(beta (ln 10 - ln(10/3))) = -2 ln sigmoid(0.5 ln 3)
    "AP": ({"beta": 0.5}, -2 * math.log(sigmoid(0.5 * math.log(3)))),
    # (0.25^2 + 0.25^2) / 3 at the first token, 0 at the second
    "EMBED": ({"layer": 0}, 0.125 / 3 / 2),
}


def test_every_term_is_computed_by_hand():
    assert set(BY_HAND) == set(TERMS)


@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name):
    options, expected = BY_HAND[name]
    term = TERMS[name](**options)
    views = {}
    for view in term.needs.views:
        probabilities, targets = GIVEN[view]
        # Terms on hidden states get the probabilities themselves: three numbers like any others.
        given = torch.tensor(probabilities) if term.needs.layer is not None else torch.tensor(probabilities).log()
        reference = None
        if term.needs.reference in ("logits", "hidden"):
            reference = torch.tensor(REFERENCE[view])
            reference = reference.log() if term.needs.reference == "logits" else reference
        value = term.token_function(given, torch.tensor(targets), reference)
        lengths = LENGTHS[view]
        if term.needs.skip:
            value, lengths = value[1:2], [1, 0]  # the second token of the first row is all that is left
        nll = torch.tensor(REFERENCE_NLL[view]) if term.needs.reference == "nll" else None
        views[view] = single_batch(value, lengths, nll)
    assert float(term.loss(Views(views))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("held", "cap", "second"), [("below", None, 0), ("both", None, 1 - LN10), ("both", 1.5, -0.5)])
def test_reset_holds_each_row_at_its_own_level_where_none_is_given(held, cap, second):
    probabilities, targets = FORGET
    view = single_batch(torch.tensor(probabilities).log()[range(3), targets], LENGTHS["forget"])
    view = replace(view, level=torch.tensor([2.0, 1.0]), cap=cap)  # rows have ln 2 and ln 10 nats a token
    expected = 0.1 * ((2 - LN2) ** 2 + second**2) / 2
    assert float(TERMS["RESET"](held=held).loss(Views({"forget": view}))) == pytest.approx(expected, rel=1e-5)


def test_levels_are_control_values_of_the_same_rank():
    values, controls = torch.tensor([3.0, 1.0, 2.0, 9.0]), torch.tensor([50.0, 30.0, 10.0, 20.0, 40.0])
    # ranks 2, 0, 1, 3: quantiles 5/8, 1/8, 3/8, 7/8 between 10 and 50
    assert of_same_rank(values, controls).tolist() == [35.0, 15.0, 25.0, 45.0]


def test_levels_are_what_rows_of_that_hardness_have_when_never_seen():
    # holdout rows lie on 3 + 2 h but for -0.5, 1 and -0.5, which are at right angles to h
    holdout, hardness = torch.tensor([4.5, 8.0, 8.5]), torch.tensor([1.0, 2.0, 3.0])
    forget = torch.tensor([0.0, 5.0])  # left over 2 h: -8 and 3, the lower and the higher
    levels = unseen_levels(forget, holdout, torch.tensor([4.0, 1.0]), hardness)
    # left of the holdout rows: 2.5, 2.5 and 4, whose quantiles 1/4 and 3/4 are 2.5 and 3.25
    assert levels.tolist() == pytest.approx([8 + 2.5, 2 + 3.25])
    even = unseen_levels(forget, holdout, torch.zeros(2), torch.ones(3))
    assert even.tolist() == pytest.approx([6.25, 8.25]), "rows of one hardness: by rank alone"


def test_a_matrix_goes_to_its_anchor_along_what_forget_rows_put_in():
    weight, anchor = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 10.0]])
    # the first input is retain rows' alone, the second forget rows' alone: kept, and the anchor's
    apart = towards(
        weight, anchor, 0.3, torch.tensor([4.0, 0.0]).diag().double(), torch.tensor([0.0, 1.0]).diag().double()
    )
    assert apart.tolist() == [pytest.approx([1, 10])]
    # retain rows use the first four times as much, 0.3 / (0.7 * 4 + 0.3) of the way; forget rows the second, 3 times
    diagonal = towards(weight, anchor, 0.3, torch.tensor([4.0, 1.0]), torch.tensor([1.0, 3.0]))
    assert diagonal.tolist() == [pytest.approx([1 + 4 * 0.3 / 3.1, 2 + 8 * 0.9 / 1.6])]
    assert towards(weight, anchor, 0.3, torch.zeros(2), torch.zeros(2)).tolist() == weight.tolist()
    alike = torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double()
    assert towards(weight, anchor, 0.3, alike, alike).tolist() == [pytest.approx([2.2, 4.4])]


def test_where_directions_are_shared_what_both_want_is_met_as_well_as_it_can_be():
    torch.manual_seed(0)
    weight, anchor, (retain, forget) = torch.randn(3, 4), torch.randn(3, 4), torch.randn(2, 6, 4).double()
    moved = towards(weight, anchor, 0.3, retain.T @ retain, forget.T @ forget).requires_grad_(True)
    wanted = 0.7 * ((moved - weight) @ retain.T).square().sum() + 0.3 * ((moved - anchor) @ forget.T).square().sum()
    wanted.backward()
    assert moved.grad.abs().max() < 1e-5 * wanted


def test_bigrams_by_hand():
    rows = [Encoded((7, 1, 2, 1), 1), Encoded((8, 2), 1)]
    # after 7: 1; after 1: 2; after 2: 1; after 8: 2. Of four tokens two kinds, of ten that there are.
    counted, single = Bigrams(rows, 10), (2 + 2 / 10) / 6
    after = (1 + single) / 2
    assert counted.mean_nll(Encoded((8, 2, 1), 1)) == pytest.approx(-math.log(after))
    never = (2 / 10) / 6
    assert counted.mean_nll(Encoded((5, 1, 6), 1)) == pytest.approx(-(math.log(single) + math.log(never / 2)) / 2)


def test_me_the_papers_direction_is_log_k_minus_entropy():
    value = TERMS["ME"](direction="model_first").token(torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([0]))
    assert float(value) == pytest.approx(math.log(3) - 1.5 * LN2, rel=1e-5)


def test_reference_values_that_a_terms_needs_do_not_ask_for_are_an_error():
    with pytest.raises(LookupError, match="`needs` do not ask for"):
        _ = single_batch(torch.zeros(3), [2, 1]).reference_nll
    with pytest.raises(LookupError, match="`needs` do not ask for"):
        TERMS["KL"]().token(torch.zeros(1, 3), torch.tensor([0]))
