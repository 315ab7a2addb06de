"""Sequence packing: the same numbers and gradients as each row alone."""

import json

import pytest
import torch
from transformers import FalconH1Config, FalconH1ForCausalLM, MistralConfig, MistralForCausalLM

from expunge.data import encode
from expunge.models import Request, attach_views, packs_rows, token_values
from expunge.models.packing import pack, pack_rows, run_packed, shares_prompts
from expunge.objectives import log_probability
from tinymodels import FORGET, RETAIN, tiny_llama

from .architectures import KINDS, tiny

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def values_and_gradients(model, rows):
    values = torch.cat([found[0] for found in token_values(model, [Request(part, [log_probability]) for part in rows])])
    model.zero_grad()
    values.sum().backward()
    return values.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(model, tokenizer):
    """Padded passes against a packed one; the model comes out packing."""
    refusals = [encode(tokenizer, row, "I do not know.") for row in FORGET]  # prompts with two completions
    rows = [[encode(tokenizer, row) for row in part] for part in (FORGET, RETAIN)] + [refusals]
    padded, padded_gradients = values_and_gradients(model, rows)
    attach_views(model)
    assert packs_rows(model)
    packed, gradients = values_and_gradients(model, rows)
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == padded_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, padded_gradients[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_packs_exactly(kind, tokenizer):
    compare(tiny(kind, tokenizer).train(), tokenizer)


def test_a_prompt_with_several_completions_is_run_once(tokenizer):
    model = tiny_llama(tokenizer)
    assert not shares_prompts(model)
    assert pack_rows(model)
    assert shares_prompts(model)
    states, places = run_packed(model, [[5, 6, 7], [5, 6, 8, 9], [5, 6]], [2, 2, 1])
    assert places == [[0, 1, 2], [0, 1, 3, 4], [5, 6]]
    assert len(states) == 7


def test_rows_longer_than_the_sliding_window(tokenizer):
    config = MistralConfig(
        **SIZES,
        vocab_size=len(tokenizer),
        sliding_window=3,
    )
    torch.manual_seed(0)
    compare(MistralForCausalLM(config), tokenizer)


def test_a_shared_prompt_is_computed_once(tokenizer):
    rows = [encode(tokenizer, FORGET[0]), encode(tokenizer, RETAIN[0]), encode(tokenizer, FORGET[0], "No.")]
    packed = pack([row.ids for row in rows], [row.start for row in rows], torch.device("cpu"))
    assert len(packed.ids) == sum(len(row.ids) for row in rows) - rows[0].start
    for row, place in zip(rows, packed.places, strict=True):
        assert [packed.ids[i] for i in place] == list(row.ids)
        assert [packed.positions[i] for i in place] == list(range(len(row.ids)))


def test_activation_checkpointing_runs_the_same_rows_again(tokenizer):
    model = tiny_llama(tokenizer).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    compare(model, tokenizer)


def test_a_model_with_a_running_state_keeps_its_padding(tokenizer):
    config = FalconH1Config(
        **SIZES,
        vocab_size=len(tokenizer),
        mamba_d_ssm=32,
        mamba_n_heads=4,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_chunk_size=16,
    )
    torch.manual_seed(0)
    model = FalconH1ForCausalLM(config)
    attach_views(model)
    assert not packs_rows(model)
    assert model.config._attn_implementation == "sdpa"


def test_another_attention_keeps_its_padding(tokenizer):
    model = tiny_llama(tokenizer)
    model.set_attn_implementation("eager")
    attach_views(model)
    assert not packs_rows(model)


def test_a_packing_model_is_saved_and_generates_as_before(tokenizer, tmp_path):
    model = tiny_llama(tokenizer).eval()
    ids = torch.tensor([[1, 1, 5, 6, 7], [5, 6, 7, 8, 9]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": mask}
    before = model.generate(ids, **options)
    attach_views(model)
    assert packs_rows(model)
    assert torch.equal(model.generate(ids, **options), before)
    model.save_pretrained(tmp_path)
    assert "expunge" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
