"""The numbers of attacks against brute force and other libraries."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_curve

import tinymodels as tiny
from expunge.attacks.mia import found_at, roc
from expunge.attacks.patching import depth
from expunge.attacks.probe import FOLDS, RIDGE, probe_accuracy
from expunge.attacks.quantize import round_to_nearest
from expunge.attacks.sample import expected_worst, leaks, upper_bound
from expunge.evaluation.passes.generate import Sampling, generate
from expunge.evaluation.passes.plan import Prompt


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_the_worst_of_k_is_its_mean_over_all_choices_of_k_answers(k):
    scores = np.random.default_rng(0).random((3, 7)).round(1)
    brute = [np.mean([max(choice) for choice in combinations(row, k)]) for row in scores]
    assert expected_worst(scores, k) == pytest.approx(brute)


def test_leaks_among_k_are_pass_at_k():
    scores = np.array([[1, 0, 0, 1, 0, 0.0], [0] * 6, [1] * 6])
    # 1 - C(n-c, k) / C(n, k): 1 - C(4, 3) / C(6, 3)
    assert expected_worst(scores, 3) == pytest.approx([1 - 4 / 20, 0, 1])


@pytest.mark.parametrize(("count", "n"), [(0, 32), (3, 32), (31, 32), (32, 32)])
def test_the_bound_is_clopper_and_pearsons(count, n):
    bound = upper_bound(count, n)
    exact = binomtest(count, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert bound == pytest.approx(exact)
    if count < n:
        assert binom.cdf(count, n, bound) == pytest.approx(0.05)


def test_what_leaks():
    named, other = tiny.qa("Where?", "Ada was born in Tarn.", fact="Tarn"), tiny.qa("Where?", "Ada was born in Tarn.")
    assert leaks(named, "in  TARN, they say")
    assert not leaks(named, "Ada was born in Pell.")
    assert leaks(other, "Well: Ada was born in Tarn.")
    assert not leaks(other, "Ada was born in Pell.")


def test_sampled_tokens_follow_the_nucleus_of_the_distribution():
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()[torch.tensor([2, 0, 3, 1])].expand(20000, -1)
    uniform = torch.from_numpy(np.random.default_rng(0).random(20000)).float()
    drawn = Sampling(1.0, 1.0).draw(logits, uniform).bincount(minlength=4) / 20000
    assert drawn.tolist() == pytest.approx([0.15, 0.5, 0.1, 0.25], abs=0.015)
    nucleus = Sampling(1.0, 0.7).draw(logits, uniform).bincount(minlength=4) / 20000  # 0.5 + 0.25 hold 0.7
    assert nucleus.tolist() == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.015)
    cold = Sampling(0.5, 1.0).draw(logits, uniform).bincount(minlength=4) / 20000  # p^2, normalised
    squares = np.square([0.15, 0.5, 0.1, 0.25])
    assert cold.tolist() == pytest.approx(squares / squares.sum(), abs=0.015)


def test_samples_depend_on_the_seed_and_not_on_the_batches(model, tokenizer):
    prompts = [Prompt(tuple(tokenizer(row.prompt)["input_ids"]), 12) for row in tiny.FORGET for _ in range(3)]

    def answers(seed, batch_tokens=None, temperature=1.0):
        sampling = Sampling(temperature, 1.0, seed)
        batches = generate(model, prompts, range(len(prompts)), frozenset({1}), batch_tokens, sampling)
        return dict(pair for batch in batches for pair in batch)

    assert answers(1) == answers(1, batch_tokens=40)
    assert answers(1) != answers(2)
    assert len({tuple(answers(1)[i]) for i in range(3)}) == 3  # the same prompt, three answers
    greedy = dict(p for b in generate(model, prompts, range(len(prompts)), frozenset({1})) for p in b)
    assert answers(1, temperature=1e-4) == greedy


def test_true_positives_at_few_false_alarms_are_those_of_the_roc():
    generator = np.random.default_rng(0)
    members, others = generator.normal(1, 1, 300).round(1), generator.normal(0, 1, 250).round(1)
    truth = np.repeat([1, 0], [300, 250])
    false, true, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    mine = roc(members, others)
    assert mine[0] == pytest.approx(false)
    assert mine[1] == pytest.approx(true)
    for share in (0.0, 0.01, 0.1):
        assert found_at(members, others, share) == pytest.approx(true[false <= share].max())
    assert found_at(members, members) < 0.05


def test_rounding_leaves_sixteen_levels_in_each_block_and_no_weight_further_than_half_a_step():
    weight = torch.randn(5, 100, generator=torch.Generator().manual_seed(0))
    rounded = round_to_nearest(weight)
    for row, original in zip(rounded, weight, strict=True):
        for part, before in ((row[:64], original[:64]), (row[64:], original[64:])):
            step = (before.max() - before.min()) / 15
            assert len(part.unique()) <= 16
            assert (part - before).abs().max() <= step / 2 + 1e-6
            assert part.max() == pytest.approx(before.max().item(), abs=1e-5)
    assert torch.equal(round_to_nearest(rounded).round(decimals=4), rounded.round(decimals=4))
    assert round_to_nearest(torch.ones(2, 64)).tolist() == torch.ones(2, 64).tolist()


def test_the_probe_is_ridge_regression_on_rows_that_it_did_not_learn_from():
    generator = np.random.default_rng(0)
    sizes, states = [3] * 12, generator.normal(size=(36, 5))
    states[::3, 2] += 1.5  # right answers look different, not always enough
    correct = probe_accuracy(torch.from_numpy(states), sizes)
    expected = np.zeros(12)
    for fold in range(FOLDS):
        out = np.repeat(np.arange(12), 3) % FOLDS == fold
        mean, spread = states[~out].mean(0), states[~out].std(0, ddof=1)
        ridge = Ridge(alpha=RIDGE * 5, fit_intercept=True)
        ridge.fit((states[~out] - mean) / spread, (np.arange(36) % 3 == 0)[~out].astype(float))
        scores = ridge.predict((states - mean) / spread).reshape(12, 3)
        rows = np.arange(12) % FOLDS == fold
        expected[rows] = (scores.argmax(1) == 0)[rows]
    assert correct.tolist() == expected.tolist()
    assert 0.5 < correct.mean() < 1


def test_depth_weighs_layers_by_what_the_retain_model_lacks_there():
    retain = np.array([[0.04, 1.0, 3.0], [0.0, 0.0, 0.04], [2.0, 2.0, 0.0]])
    unlearned = np.array([[9.0, 0.5, 6.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 5.0]])
    # (1 * 0.5 + 3 * 1) / 4: the first layer holds nothing, the last is clipped
    assert depth(retain, unlearned).tolist() == pytest.approx([0.875, np.nan, 0.0], nan_ok=True)
    assert depth(retain, retain)[[0, 2]].tolist() == [1, 1]
