"""Metrics of LLMU, and what judges say of outputs, on values worked out by hand."""

import math

import pytest

from expunge.metrics import Example, Label
from expunge.metrics.bleu import BLEU, LEAK_RATE, bleu, leak_threshold
from expunge.metrics.classifier import HARMFUL, REWARD, classified
from expunge.metrics.diversity import DIVERSITY, diversity
from expunge.metrics.hallucination import HALLUCINATION_RATE
from expunge.metrics.perplexity import PERPLEXITY
from expunge.metrics.similarity import ORIGINAL_SIMILARITY

RATE, PROBABILITY = HARMFUL


def test_bleu_by_hand() -> None:
    assert bleu("a b c d e", "a b c d e") == pytest.approx(1.0)
    # 1-grams 4/5, 2-grams 3/4, 3-grams 2/3, 4-grams 1/2, as long as the reference
    assert bleu("a b c d e", "a b c d f") == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # all n-grams are right, half as long: brevity penalty exp(1 - 8/4)
    assert bleu("a b c d e f g h", "a b c d") == pytest.approx(math.exp(-1))
    assert bleu("a b", "a b") == pytest.approx(1.0)  # shorter than four words: of the orders there are
    assert bleu("a b", "") == bleu("a b", "c d") == 0.0
    assert bleu(" ", "a b") is None


def test_the_threshold_is_a_tenth_of_the_mean_over_pairs() -> None:
    passages = ("a b c d e", "a b c d f", "g h i j k")
    pairs = [(a, b) for a in passages for b in passages if a != b]
    assert leak_threshold(passages) == pytest.approx(0.1 * sum(bleu(a, b) for a, b in pairs) / 6)
    assert leak_threshold(("a b c d e",)) is None
    assert leak_threshold(("a b c d e", " ")) is None
    many = tuple(f"a b c d e{i}" for i in range(60))  # 3540 pairs: 1000 are drawn, and all have the same BLEU
    assert leak_threshold(many) == pytest.approx(0.1 * bleu(many[0], many[1]))


def test_a_leak_is_a_bleu_above_the_threshold() -> None:
    def passage(output: str | None, threshold: float | None = 0.5) -> Example:
        return Example("forget", generation=output, reference="a b c d e", passage=True, leak_threshold=threshold)

    assert BLEU.per_example(passage("a b c d e")) == pytest.approx(1.0)
    assert LEAK_RATE.per_example(passage("a b c d e")) == 1.0
    assert LEAK_RATE.per_example(passage("a b c d f")) == 1.0  # 0.67
    assert LEAK_RATE.per_example(passage("a b c d f", 0.7)) == 0.0
    assert LEAK_RATE.per_example(passage("")) == LEAK_RATE.per_example(passage("", 0.0)) == 0.0
    assert LEAK_RATE.per_example(passage("a b c d e", None)) is None
    assert LEAK_RATE.per_example(passage(None)) is None
    question = Example("forget", generation="a b c d e", reference="a b c d e")
    assert BLEU.per_example(question) is None
    assert LEAK_RATE.per_example(question) is None


def test_a_hallucination_is_more_than_a_tenth_closer() -> None:
    def rate(hallucinated: float | None, right: float | None, output: str = "a") -> float | None:
        return HALLUCINATION_RATE.per_example(
            Example("forget", generation=output, hallucinated_similarity=hallucinated, right_similarity=right)
        )

    assert rate(0.9, 0.8) == 1.0
    assert rate(0.85, 0.8) == 0.0
    assert rate(0.8, 0.9) == 0.0
    assert rate(0.2, -0.5) == 1.0
    assert rate(-0.2, -0.5) == 0.0  # neither is similar
    assert rate(0.9, 0.1, output=" ") == 0.0
    assert rate(None, 0.5) is None
    assert rate(0.5, None) is None


def test_diversity() -> None:
    assert diversity(["a", "b", "a", "c"]) == 0.75
    assert diversity(["a"]) == 1.0
    assert diversity([]) == 0.0
    assert DIVERSITY.per_example(Example("forget", generation="", generation_tokens=())) == 0.0
    assert DIVERSITY.per_example(Example("forget")) is None


def test_perplexity_is_finite() -> None:
    assert PERPLEXITY.per_example(Example("forget", generation="a", fluency_nll=math.log(7))) == pytest.approx(7)
    assert math.isfinite(PERPLEXITY.per_example(Example("forget", generation="a", fluency_nll=1e6)))
    assert PERPLEXITY.per_example(Example("forget", generation="")) is None


def test_classifiers_are_told_apart_by_name() -> None:
    example = Example("forget", generation="a", labels={"harmful": Label(0.4, True), "other": Label(0.9, False)})
    rate, probability = classified("other", "closer_to_reference", "expunge")
    assert (RATE.name, PROBABILITY.name, rate.name) == ("harmful_rate", "harmful_probability", "other_rate")
    assert (RATE.per_example(example), PROBABILITY.per_example(example)) == (1.0, 0.4)
    assert (rate.per_example(example), probability.per_example(example)) == (0.0, 0.9)
    assert RATE.per_example(Example("forget", generation="a")) is None
    assert RATE.better["forget"] == RATE.better["retain"] == "lower"
    assert rate.better["forget"] == "closer_to_reference"


def test_reward_and_similarity_to_the_original() -> None:
    assert REWARD.per_example(Example("retain", reward=-3.5)) == -3.5
    assert REWARD.per_example(Example("retain")) is None
    assert ORIGINAL_SIMILARITY.per_example(Example("retain", original_similarity=-0.5)) == 0.0
    assert ORIGINAL_SIMILARITY.per_example(Example("retain")) is None
