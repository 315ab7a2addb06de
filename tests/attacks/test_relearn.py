"""Relearning: what comes back, on which rows, the same twice, and the model as it was afterwards."""

import numpy as np
import pytest

import tinymodels as tiny
from attacks.small import PEOPLE, learned, suppressed
from expunge.attacks import relearn
from expunge.errors import InputError
from expunge.models import fingerprint


def value(rows, setting, metric):
    [found] = [r for r in rows if (r.setting, r.metric) == (setting, metric)]
    return found


def test_relearning_brings_back_what_was_only_pushed_down_and_nothing_that_was_never_there(tokenizer):
    settings = {"steps": (10,), "rates": (1e-3,)}
    back = relearn(suppressed(PEOPLE), tokenizer, PEOPLE, **settings)
    nothing = relearn(learned(tiny.RETAIN), tokenizer, PEOPLE, **settings)
    after = "steps=10 rate=0.001 on=forget"
    assert value(back, after, "probability_change").ci95[0] > 0.2
    assert value(nothing, after, "probability").value < 0.1
    assert value(nothing, after, "fact_accuracy").value == 0 < value(back, after, "fact_accuracy").value


def test_the_rows_that_are_measured_are_those_that_were_not_trained_on(tokenizer, model):
    rows = relearn(model, tokenizer, tiny.FORGET, tiny.RETAIN, steps=(60,), rates=(3e-3,))
    assert {r.setting for r in rows} == {"none", "steps=60 rate=0.003 on=forget", "steps=60 rate=0.003 on=retain"}
    assert all(r.n == len(r.values) == 2 for r in rows)
    # where each row stands there twice, what is measured is what was trained on
    twice = [row for row in tiny.FORGET[:2] for _ in range(2)]
    same = relearn(model, tokenizer, twice, steps=(60,), rates=(3e-3,))
    assert value(same, "steps=60 rate=0.003 on=forget", "exact_memorization").value > 0.95
    assert value(rows, "steps=60 rate=0.003 on=forget", "exact_memorization").value < 0.6


def test_the_same_seed_gives_the_same_rows_and_the_model_is_as_it_was(tokenizer, model):
    before = fingerprint(model)
    first = relearn(model, tokenizer, PEOPLE, steps=(3,), rates=(1e-3,), seed=1)
    assert fingerprint(model) == before
    assert relearn(model, tokenizer, PEOPLE, steps=(3,), rates=(1e-3,), seed=1) == first
    assert relearn(model, tokenizer, PEOPLE, steps=(3,), rates=(1e-3,), seed=2) != first
    assert not any(p.grad is not None for p in model.parameters())


def test_a_folder_does_as_well_as_a_loaded_model(tokenizer, model, model_folder):
    options = {"steps": (2,), "rates": (1e-3,)}
    of_folder = relearn(model_folder, None, tiny.FORGET, device="cpu", **options)
    assert of_folder == relearn(model, tokenizer, tiny.FORGET, **options)


def test_changes_are_paired_differences_to_the_model_before(tokenizer, model):
    rows = relearn(model, tokenizer, PEOPLE, steps=(5,), rates=(1e-3,))
    after = "steps=5 rate=0.001 on=forget"
    differences = np.subtract(value(rows, after, "probability").values, value(rows, "none", "probability").values)
    assert value(rows, after, "probability_change").values == pytest.approx(tuple(differences))
    assert value(rows, after, "probability_change").value == pytest.approx(differences.mean())


def test_without_a_step_nothing_is_trained(tokenizer, model):
    told = []
    rows = relearn(model, tokenizer, tiny.FORGET, steps=(), progress=lambda stage, *_: told.append(stage))
    assert {row.setting for row in rows} == {"none"}
    assert told
    assert "relearning" not in told


def test_one_row_is_too_few(tokenizer, model):
    with pytest.raises(InputError, match="two forget rows"):
        relearn(model, tokenizer, tiny.FORGET[:1])
