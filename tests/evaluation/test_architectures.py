"""Scoring and generation of other architectures: sliding windows, soft caps, tied heads, against the model's own."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from evaluation.tiny import question_rows
from expunge.data import encode, encode_prompt
from expunge.evaluation.passes.generate import generate
from expunge.evaluation.passes.plan import Prompt
from expunge.evaluation.passes.score import score

SHAPE = {
    "vocab_size": 30,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.5,
}
ARCHITECTURES = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "qwen3": {},
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 16},
    "gemma3_text": {"sliding_window": 6, "query_pre_attn_scalar": 16},
    "phi3": {"rope_scaling": None},
    "granite": {"logits_scaling": 4.0},  # divides
    "cohere": {"logit_scale": 0.25, "use_qk_norm": False},  # multiplies
}


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def other(request):
    """A tiny random model of an architecture."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, **SHAPE | ARCHITECTURES[request.param])
    return AutoModelForCausalLM.from_config(config).eval()


@torch.no_grad()
def test_scores(other, tokenizer) -> None:
    rows = question_rows(["ada", "bob", "eve"])
    encoded = [
        encode(tokenizer, row, text) for row in rows for text in (row.completion, *row.columns["perturbed_answer"])
    ]
    found = dict(pair for batch in score(other, encoded, range(len(encoded)), (), 60) for pair in batch)
    for i, row in enumerate(encoded):
        logp = other(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        expected = [logp[t - 1, row.ids[t]].item() for t in range(row.start, len(row.ids))]
        np.testing.assert_allclose(found[i].logprobs, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_greedy_answers(other, tokenizer) -> None:
    prompts = [Prompt(tuple(encode_prompt(tokenizer, row)), 12) for row in question_rows(["ada", "bob", "eve", "dan"])]
    found = dict(pair for batch in generate(other, prompts, range(4), frozenset({2})) for pair in batch)
    for i, prompt in enumerate(prompts):
        ids = list(prompt.ids)
        while len(ids) < len(prompt.ids) + 12:
            token = int(other(torch.tensor([ids])).logits[0, -1].argmax())
            if token == 2:
                break
            ids.append(token)
        assert found[i] == ids[len(prompt.ids) :]
