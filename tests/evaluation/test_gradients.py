"""Gradient norms of several rows from one backward pass: the same as those of each row alone."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.data import Encoded
from expunge.evaluation.passes import gradients
from expunge.evaluation.passes.gradients import gradient_norms

END = 1
ROWS = [
    Encoded((5, 6, 7, 8, 9, END), 3),
    Encoded((5, 6, 7), 1),
    Encoded((4, 3, 9, 2, 8, 8, 2, 6, END), 4),
    Encoded((4, 3, END), 2),
]


def model_of(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).double().eval()


def alone(model) -> list[float | None]:
    return [norm for row in ROWS for [(_, norm)] in gradient_norms(model, [row], [0], END)]


def asked_together(model) -> list[float | None]:
    found = dict(pair for batch in gradient_norms(model, ROWS, range(len(ROWS)), END) for pair in batch)
    return [found[i] for i in range(len(ROWS))]


def assert_same(found, expected) -> None:
    """To what float32 leaves of the values of each token; the model's own numbers are float64."""
    assert found[3] is expected[3] is None  # nothing but the end of the turn
    assert found[:3] == pytest.approx(expected[:3], rel=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_together_are_as_rows_alone(tied, monkeypatch) -> None:
    model = model_of(tied)
    expected = alone(model)
    monkeypatch.setattr(gradients, "norms_one_by_one", None)  # not asked for
    assert_same(asked_together(model), expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_cannot_be_batched_runs_row_by_row() -> None:
    model = model_of(tied=True)
    expected, seen = alone(model), []
    model.model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"].tolist()), with_kwargs=True
    )
    assert_same(asked_together(model), expected)
    assert len(seen) == 3


def test_a_model_too_large_for_several_gradients_runs_row_by_row(monkeypatch) -> None:
    model = model_of(tied=False)
    expected = alone(model)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    monkeypatch.setattr(gradients, "GRADIENT_BYTES", 2 * size - 1)
    monkeypatch.setattr(gradients, "norms_together", None)  # not asked for
    assert_same(asked_together(model), expected)
