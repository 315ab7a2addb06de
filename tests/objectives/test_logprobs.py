"""Log-probabilities a few tokens at a time: values and gradients of log softmax, in every block size."""

import pytest
import torch

from expunge.objectives.ga import GA
from expunge.objectives.logprobs import log_probability, mean_log_probability

TOKENS, VOCABULARY = 7, 11


@pytest.mark.parametrize("block", [1, 3 * VOCABULARY, 100 * VOCABULARY])
@pytest.mark.parametrize("shift", [0.0, 500.0, -500.0])
def test_values_and_gradients_are_those_of_log_softmax(block, shift, monkeypatch):
    monkeypatch.setattr("expunge.objectives.logprobs.CACHED_VALUES", block)
    torch.manual_seed(0)
    logits = (torch.randn(TOKENS, VOCABULARY, dtype=torch.float64) * 5 + shift).requires_grad_()
    targets, weights = torch.randint(VOCABULARY, (TOKENS,)), torch.randn(TOKENS, dtype=torch.float64)
    dense = logits.log_softmax(-1)
    for ours, theirs in (
        (log_probability(logits, targets), dense.gather(-1, targets[:, None])[:, 0]),
        (mean_log_probability(logits), dense.mean(-1)),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        (found,) = torch.autograd.grad((ours * weights).sum(), logits)
        (expected,) = torch.autograd.grad((theirs * weights).sum(), logits, retain_graph=True)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_no_token_at_all():
    logits = torch.zeros(0, VOCABULARY, requires_grad=True)
    values = log_probability(logits, torch.zeros(0, dtype=torch.long))
    values.sum().backward()
    assert values.shape == (0,)
    assert logits.grad is not None
    assert logits.grad.shape == (0, VOCABULARY)


def test_a_certain_model_gives_finite_numbers():
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    value = log_probability(logits, torch.tensor([2]))
    value.sum().backward()
    assert float(value) == -2e4
    assert logits.grad.tolist() == [[-1.0, 0.0, 1.0]]


def test_a_custom_term_may_build_on_the_log_probability_that_others_are_given():
    logits, targets = torch.tensor([[0.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])
    torch.testing.assert_close(GA().token(logits, targets), torch.tensor([-0.693147, -0.048587]))
