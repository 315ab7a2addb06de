"""Every term against a dense, readable reference on a tiny real model, whatever the padding and the template."""

from functools import cache

import pytest
import torch

import tinymodels as tiny
from expunge.models import FrozenHead, attach_views
from expunge.objectives import TERMS, Objective, Weighted, build_objective
from expunge.training.batching import VIEWS, EncodedViews, Pairing, Sources
from expunge.training.frozen import StoredReference
from expunge.training.loss import compute, count
from expunge.training.objective_value import value_of_batch

from . import runs
from .dense import DENSE, Dense

CASES = [(name, options) for name, (_, tried) in DENSE.items() for options in tried]
SOURCES = Sources(tiny.FORGET, tiny.RETAIN, tiny.REFUSALS, [row.completion for row in tiny.RETAIN])
PAIRING = Pairing(0, len(tiny.FORGET), len(tiny.RETAIN), len(tiny.REFUSALS), 1)
TEMPLATES = {"ends in a newline": tiny.NEWLINE_TEMPLATE, "none, so the plain one": None}


def test_every_term_has_a_dense_reference():
    assert set(DENSE) == set(TERMS)


@cache
def tokenizer_with(template, pad):
    return tiny.tiny_tokenizer(tiny.TEXTS, template=template, pad=pad)


def one_term(name, options):
    """A term alone, though a regularisation term alone would be no objective."""
    return Objective(name, (Weighted(name, TERMS[name](**options)),))


@pytest.mark.filterwarnings("ignore:The tokenizer has no chat template")
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("pad", ["<|pad|>", "<|end|>"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{o}" for n, o in CASES])
def test_term_equals_dense_reference(name, options, side, pad, template, tmp_path):
    tokenizer = tokenizer_with(TEMPLATES[template], pad)
    tokenizer.padding_side = side
    model, reference = tiny.tiny_llama(tokenizer, seed=1), tiny.tiny_llama(tokenizer, seed=2)
    attach_views(model)
    objective = one_term(name, options)
    rows = EncodedViews(tokenizer, SOURCES)
    keys = {view: VIEWS[view].each_once(PAIRING) for view in objective.views}
    stored = None
    if objective.uses_reference:
        stored = StoredReference.prepare(tmp_path, reference, objective, rows, keys, quiet=True)
    ours = value_of_batch(model, objective, rows, keys, stored, rows_at_once=2)[0][name]
    dense = Dense(
        model,
        reference,
        {view: [rows.encode(view, key) for key in members] for view, members in keys.items()},
        side,
        tokenizer.pad_token_id,
    )
    formula, _ = DENSE[name]
    assert ours == pytest.approx(float(formula(dense, **options)), rel=1e-4)


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{o}" for n, o in CASES])
def test_gradient_equals_that_of_the_dense_reference(name, options, tokenizer, tmp_path):
    """What is detached in a formula shows in no value. The model knows its rows, so that no objective is saturated."""
    model, reference = runs.target(tokenizer), tiny.tiny_llama(tokenizer, seed=2, scale=2.0)
    attach_views(model)
    objective, rows = one_term(name, options), EncodedViews(tokenizer, SOURCES)
    keys = {view: VIEWS[view].each_once(PAIRING) for view in objective.views}
    stored = None
    if objective.uses_reference:
        stored = StoredReference.prepare(tmp_path, reference, objective, rows, keys, quiet=True)
    batch = rows.batch(keys)
    compute(model, objective, batch, count(objective, [batch]), stored)[0].backward()
    ours = gradient_of(model)
    encoded = {view: [rows.encode(view, key) for key in members] for view, members in keys.items()}
    dense = Dense(model, reference, encoded, "right", tokenizer.pad_token_id, grad=True)
    DENSE[name][0](dense, **options).backward()
    theirs = gradient_of(model)
    assert theirs.norm() > 1e-3
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def gradient_of(model):
    """The gradient, which is taken away."""
    found = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in model.parameters()])
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", TERMS)
def test_chunks_of_logits_change_no_value_and_no_gradient(name, monkeypatch, tokenizer, tmp_path):
    def run(folder):
        model, reference = tiny.tiny_llama(tokenizer, seed=1), tiny.tiny_llama(tokenizer, seed=2)
        attach_views(model)
        objective = one_term(name, DENSE[name][1][0])
        rows = EncodedViews(tokenizer, SOURCES)
        keys = {view: VIEWS[view].each_once(PAIRING) for view in objective.views}
        stored = None
        if objective.uses_reference:
            stored = StoredReference.prepare(folder, reference, objective, rows, keys, quiet=True)
        cut = rows.batch(keys)
        loss, _ = compute(model, objective, cut, count(objective, [cut]), stored)
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = run(tmp_path / "whole")
    monkeypatch.setattr("expunge.models.forward.LOGIT_BYTES", 4 * len(tokenizer) * 5)  # five tokens at a time
    monkeypatch.setattr("expunge.models.forward.KEPT_LOGIT_BYTES", 0)  # each computed again for the backward
    chunked = run(tmp_path / "chunked")
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-6)
    assert whole[1].abs().sum() > 0


def test_frozen_head_keeps_the_targets_logits(tokenizer):
    model = tiny.tiny_llama(tokenizer)
    hidden = torch.randn(4, 32)
    head, before = FrozenHead(model), model.lm_head(hidden).detach()
    torch.nn.init.ones_(model.lm_head.weight)
    torch.testing.assert_close(head(hidden), before)


def test_llmu_is_half_ga_plus_mismatch_plus_kl():
    assert [(p.name, p.weight) for p in build_objective("llmu").terms] == [("GA", 0.5), ("MISMATCH", 1.0), ("KL", 1.0)]
    halved = build_objective("LLMU", {"forget_weight": 0.5, "KL.weight": 3.0, "retain_weight": 0.5})
    assert [(p.name, p.weight) for p in halved.terms] == [("GA", 0.25), ("MISMATCH", 0.5), ("KL", 1.5)]
