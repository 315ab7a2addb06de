"""AdamW: as torch's on float32, and on bfloat16 weights as if they were float32."""

import pytest
import torch

import tinymodels as tiny
from expunge.data import encode
from expunge.training.steps.optimizers import AdamW, stochastically_rounded
from killed import copy_killed

from .test_steps import flat, trainer

RATE = 1e-5


def bf16_start(tokenizer):
    """A float32 model whose weights bfloat16 can hold."""
    model = tiny.tiny_llama(tokenizer, scale=1.0, hidden=64)
    return model.to(torch.bfloat16).to(torch.float32)


@pytest.fixture(scope="module")
def updates(tokenizer):
    """Changes of the weights after 10 and 100 steps on the same gradients: (optimiser, steps) -> [weights]."""
    model = bf16_start(tokenizer)
    rows = [encode(tokenizer, row) for row in tiny.FORGET]
    before = flat(model).clone()
    rounded, plain = (before.to(torch.bfloat16).requires_grad_() for _ in range(2))
    options = {"lr": RATE, "weight_decay": 0.0}
    exact = torch.optim.AdamW(model.parameters(), **options)
    others = {
        "rounded": (rounded, AdamW([rounded], **options)),
        "plain": (plain, torch.optim.AdamW([plain], **options)),
    }
    seen = {}
    for step in range(1, 101):
        exact.zero_grad()
        for row in rows:
            model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.ids])).loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        exact.step()
        for weights, optimizer in others.values():
            weights.grad = gradient.to(torch.bfloat16)
            optimizer.step()
        if step in (10, 100):
            seen["float32", step] = flat(model) - before
            seen.update({(name, step): weights.detach().float() - before for name, (weights, _) in others.items()})
    return seen


def slope(theirs, ours):
    """Of the regression of our updates on theirs."""
    return float(theirs @ ours / (theirs @ theirs))


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_stochastic_rounding_moves_bf16_weights_as_float32_does(updates):
    assert slope(updates["float32", 10], updates["rounded", 10]) == pytest.approx(1.0, abs=0.05)
    assert slope(updates["float32", 100], updates["rounded", 100]) == pytest.approx(1.0, abs=0.05)
    assert correlation(updates["float32", 100], updates["rounded", 100]) > 0.9


def test_plain_bf16_loses_most_of_the_update(updates):
    assert slope(updates["float32", 10], updates["plain", 10]) < 0.4


def test_rounding_is_right_on_average():
    values = torch.tensor([0.02001, -0.02001, 1.0, 3e-6]).repeat(200_000, 1)
    rounded = stochastically_rounded(values, torch.Generator().manual_seed(0)).float()
    torch.testing.assert_close(rounded.mean(0), values[0], rtol=1e-4, atol=0)
    spacing = values[0].abs() * 2**-7
    assert ((rounded - values).abs() <= spacing).all()
    assert (rounded[:, 2] == 1.0).all()


def test_equal_parameters_are_rounded_apart():
    """Errors of one noise for all of them would add up."""
    start = torch.linspace(-1, 1, 1000).to(torch.bfloat16)
    pair = [start.clone().requires_grad_() for _ in range(2)]
    for weights in pair:
        weights.grad = torch.ones_like(start)
    AdamW(pair, lr=1e-4, weight_decay=0.0).step()
    moved = [(weights.detach() != start).float() for weights in pair]
    assert 0.01 < moved[0].mean() < 0.99
    assert not torch.equal(*moved)


def test_float32_is_torchs_adamw():
    torch.manual_seed(0)
    start = torch.randn(20)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    options = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1}
    pairs = (ours, AdamW([ours], **options)), (theirs, torch.optim.AdamW([theirs], **options))
    for _ in range(20):
        gradient = torch.randn(20)
        for weights, optimizer in pairs:
            weights.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_other_optimisers_are_kept_and_told_to_round(tokenizer, tmp_path):
    torchao = pytest.importorskip("torchao.optim")
    pytest.importorskip("bitsandbytes")

    def optimizer(name):
        unlearning = trainer(tokenizer, tmp_path / name, optim=name)
        unlearning.model.to(torch.bfloat16)
        return unlearning.create_optimizer()

    eight_bit = optimizer("adamw_torch_8bit")
    assert isinstance(eight_bit, torchao.AdamW8bit)
    assert eight_bit.bf16_stochastic_round
    with pytest.warns(UserWarning, match="adamw_bnb_8bit rounds bfloat16 weights to nearest"):
        optimizer("adamw_bnb_8bit")


def test_bf16_model_is_trained_with_it_and_resumes_bit_for_bit(tokenizer, tmp_path):
    def run(folder, resume=False, **options):
        unlearning = trainer(tokenizer, folder, "NPO+KL", num_train_epochs=3, learning_rate=RATE, **options)
        unlearning.model.to(torch.bfloat16)
        unlearning.train(resume_from_checkpoint=resume)
        return unlearning

    whole = run(tmp_path / "a", save_strategy="epoch", save_total_limit=None)
    assert isinstance(whole.optimizer.optimizer, AdamW)
    states = whole.optimizer.optimizer.state.values()
    assert all(state["exp_avg_sq"].dtype == torch.float32 for state in states)
    copy_killed(tmp_path / "a", tmp_path / "b", 2)
    resumed = run(tmp_path / "b", resume=True)
    assert torch.equal(flat(resumed.model), flat(whole.model))
