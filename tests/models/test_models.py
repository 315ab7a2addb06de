"""The one forward, fingerprints and loading."""

import copy
import shutil

import pytest
import torch

import tinymodels as tiny
from expunge.data import encode
from expunge.models import (
    Request,
    attach_views,
    check_head,
    fingerprint,
    fingerprint_rows,
    fingerprint_tokenizer,
    load_model,
    run_views,
    token_values,
)
from expunge.models.batching import by_length
from expunge.models.head import LogitScale
from expunge.objectives import ME, log_probability


@pytest.mark.parametrize("overhead", [0, 10, 1000])
def test_every_row_is_in_exactly_one_pass(overhead):
    lengths = [5, 100, 7, 7, 90, 3, 3, 3]
    passes = list(by_length(lengths, overhead=overhead))
    assert sorted(i for members in passes for i in members) == list(range(8))
    cost = sum(max(lengths[i] for i in members) * len(members) + overhead for members in passes)
    assert cost <= max(lengths) * len(lengths) + overhead
    assert cost <= sum(length + overhead for length in lengths)


def test_passes_follow_the_price_of_a_pass():
    assert len(list(by_length([5, 100, 5, 100], overhead=0))) == 2
    assert len(list(by_length([5, 100, 5, 100], overhead=10_000))) == 1


def test_log_probabilities_are_those_of_the_row_alone(tokenizer, model, monkeypatch):
    rows = [encode(tokenizer, row) for row in tiny.FORGET + tiny.RETAIN]
    with torch.no_grad():
        values = token_values(model, [Request(rows[:3], [log_probability]), Request(rows[3:], [log_probability])])
        ours = torch.cat([values[0][0], values[1][0]])
        alone = []
        for row in rows:
            logp = model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
            alone += [logp[t - 1, row.ids[t]] for t in range(row.start, len(row.ids))]
    torch.testing.assert_close(ours, torch.stack(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile on the CPU needs a compiler")
def test_compiled_functions_give_the_same_values_and_gradients(tokenizer, model):
    rows = [encode(tokenizer, row) for row in tiny.FORGET]
    functions = [log_probability, ME().token]

    def both(compiled):
        model.zero_grad()
        values = torch.stack(token_values(model, [Request(rows, functions)], compiled)[0])
        values.square().sum().backward()
        return values.detach(), model.model.layers[0].mlp.up_proj.weight.grad.clone()

    torch.testing.assert_close(both(True), both(False), rtol=1e-4, atol=1e-5)


def test_logits_computed_in_chunks_and_again_give_the_same_gradients(tokenizer, model, monkeypatch):
    requests = [
        Request([encode(tokenizer, row) for row in rows], [log_probability]) for rows in (tiny.FORGET, tiny.RETAIN)
    ]
    token_bytes = 4 * len(tokenizer)

    def gradients(chunk, room):
        monkeypatch.setattr("expunge.models.forward.LOGIT_BYTES", chunk * token_bytes)
        monkeypatch.setattr("expunge.models.forward.KEPT_LOGIT_BYTES", room * token_bytes)
        model.zero_grad()
        torch.cat([values for [values] in token_values(model, requests)]).square().sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    tokens = sum(request.tokens() for request in requests)
    whole, chunks = gradients(tokens, tokens), gradients(5, tokens)
    # Chunks, like threads, add the same numbers up in another order: a rounding of the largest sum for each token.
    rounding = tokens * torch.finfo(torch.float32).eps * float(whole.abs().max())
    torch.testing.assert_close(chunks, whole, rtol=0, atol=rounding)
    for room in (0, 20):
        assert torch.equal(gradients(5, room), chunks)


def test_an_attached_model_still_generates_and_its_copy_is_its_own(tokenizer, model):
    ids = torch.tensor([[5, 6, 7]])
    options = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    before = model.generate(ids, **options)
    attach_views(model)
    assert torch.equal(model.generate(ids, **options), before)
    twin = copy.deepcopy(model)
    torch.nn.init.zeros_(model.lm_head.weight)
    request = Request([encode(tokenizer, tiny.FORGET[0])], [log_probability])
    (zeroed,), (own,) = run_views(model, [request])[0], run_views(twin, [request])[0]
    assert zeroed.std() < 1e-6 < own.std()


def test_one_bit_changes_the_fingerprint(model):
    before = fingerprint(model)
    assert fingerprint(model) == before
    weight = model.model.layers[1].mlp.up_proj.weight.data.view(torch.int32)
    weight[3, 4] ^= 1
    assert fingerprint(model) != before
    weight[3, 4] ^= 1
    assert fingerprint(model) == before


def test_row_fingerprints_are_salted(monkeypatch, tmp_path):
    first = fingerprint_rows(tiny.FORGET)
    assert first == fingerprint_rows(tiny.FORGET)
    assert first != fingerprint_rows(tiny.RETAIN)
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    assert fingerprint_rows(tiny.FORGET) != first


def test_tokenizer_fingerprint_sees_the_template():
    one, other = tiny.tiny_tokenizer(tiny.TEXTS), tiny.tiny_tokenizer(tiny.TEXTS)
    assert fingerprint_tokenizer(one) == fingerprint_tokenizer(other)
    other.chat_template += " "
    assert fingerprint_tokenizer(one) != fingerprint_tokenizer(other)


def test_loading_gives_what_was_saved(model_folder, tokenizer):
    model, words = load_model(model_folder)
    assert fingerprint(model) == fingerprint(tiny.tiny_llama(tokenizer))
    assert fingerprint_tokenizer(words) == fingerprint_tokenizer(tokenizer)
    assert model.dtype == torch.float32
    assert not model.training


def test_logits_are_multiplied_and_then_squashed():
    logits = torch.tensor([0.001, 15.0, -1e4])
    assert LogitScale()(logits) is logits
    torch.testing.assert_close(LogitScale(2.0)(logits), torch.tensor([0.002, 30.0, -2e4]))
    squashed = torch.tensor([0.002, 22.84782, -30.0])  # tanh(1) = 0.761594
    torch.testing.assert_close(LogitScale(2.0, 30.0)(logits), squashed)


def test_logits_are_checked_where_the_model_is(model):
    with torch.device("meta"):  # where tensors are made that are told nothing else
        check_head(model)


def test_an_architecture_that_changes_its_logits_in_an_unknown_way_is_refused(model):
    check_head(model)
    original = model.forward

    def doubled(*args, **kwargs):
        output = original(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    model.forward = doubled
    with pytest.raises(Exception, match="changes its logits"):
        check_head(model)
