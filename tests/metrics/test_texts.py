"""Metrics of the greedy answer's text: ROUGE, token entropy, facts, similarity, entailment."""

import math

import numpy as np
import pytest

from expunge.metrics import Example
from expunge.metrics.bertscore import greedy_f1
from expunge.metrics.entailment import entailment
from expunge.metrics.facts import FACT_ACCURACY, has_fact
from expunge.metrics.rouge import (
    ROUGE_L_F1,
    ROUGE_L_F1_STEMMED,
    ROUGE_L_RECALL,
    rouge_l_f1,
    rouge_l_recall,
    rouge_l_recall_unicode,
)
from expunge.metrics.similarity import cosine_similarity
from expunge.metrics.token_entropy import TOKEN_ENTROPY, token_entropy


def test_rouge_l_recall_counts_stemmed_words_in_order() -> None:
    assert rouge_l_recall("she was writing long novels", "she wrote long novel") == pytest.approx(3 / 5)
    assert rouge_l_recall("a b c d", "d c b a") == pytest.approx(1 / 4)
    assert rouge_l_f1("a b c d", "a b") == pytest.approx(2 / 3)


def test_muse_does_not_stem_and_openunlearning_does() -> None:
    reference, output = "she was writing long novels", "she was writing long novel"
    assert rouge_l_f1(reference, output) == pytest.approx(4 / 5)
    assert rouge_l_f1(reference, output, stemmed=True) == 1.0
    example = Example("forget", generation=output, reference=reference)
    assert ROUGE_L_F1.per_example(example) == pytest.approx(4 / 5)
    assert ROUGE_L_F1_STEMMED.per_example(example) == 1.0


def test_rouge_of_an_empty_generation_is_zero() -> None:
    assert ROUGE_L_RECALL.per_example(Example("forget", generation="", reference="a b")) == 0.0
    assert ROUGE_L_RECALL.per_example(Example("forget", generation="a", reference="...")) == 0.0
    assert ROUGE_L_RECALL.per_example(Example("forget", reference="a b")) is None


def test_published_rouge_is_blind_to_other_scripts() -> None:
    leak = "Она родилась в Париже"
    assert rouge_l_recall(leak, leak) == 0.0  # documented: the published suites keep this, suite `own` does not


def test_token_entropy() -> None:
    assert token_entropy(["a", "b", "c", "d"]) == pytest.approx(1.0)
    assert token_entropy(["a", "a", "a", "a"]) == 0.0
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) / math.log2(4)
    assert token_entropy(["a", "a", "a", "b"]) == pytest.approx(expected)
    assert token_entropy(["a"]) == token_entropy([]) == 0.0
    assert TOKEN_ENTROPY.kinds == ("retain",)


def test_a_fact_is_found_whatever_case_and_white_space() -> None:
    assert has_fact("Castle  Street 5", "It is in castle street\n5, I think.")
    assert has_fact("Zürich", "She was born in ZU\u0308RICH.")  # decomposed umlaut
    assert has_fact("Office 5", "She sat in O\ufb03ce \uff15.")  # a ligature, a digit of full width
    assert not has_fact("Castle Street 5", "Castle Street 6")
    assert not has_fact("", "anything")
    assert FACT_ACCURACY.per_example(Example("forget", generation="in Paris", fact="paris")) == 1.0
    assert FACT_ACCURACY.per_example(Example("forget", generation="", fact="paris")) == 0.0
    assert FACT_ACCURACY.per_example(Example("forget", generation="in Paris")) is None


def test_similarity_is_never_negative() -> None:
    assert cosine_similarity(Example("forget", generation="a", similarity=-0.4)) == 0.0
    assert cosine_similarity(Example("forget", generation="a", similarity=0.4)) == 0.4
    assert cosine_similarity(Example("forget", generation="a")) is None


def test_entailment_needs_a_tenth_of_the_reference() -> None:
    reference = "one two three four five six seven eight nine ten eleven"
    assert entailment(Example("forget", generation="one", reference=reference, entails=True)) == 0.0
    assert entailment(Example("forget", generation="one two", reference=reference, entails=True)) == 1.0
    assert entailment(Example("forget", generation="one two", reference=reference, entails=False)) == 0.0
    assert entailment(Example("forget", generation="one two", reference=reference)) is None
    tenth = "one two three four five six seven eight nine ten"
    assert entailment(Example("forget", generation="one", reference=tenth, entails=True)) == 1.0  # below it, not at it


def test_recall_of_any_script_stems_long_words_of_latin_letters_alone() -> None:
    assert rouge_l_recall_unicode("Анна живёт в Туле", "анна живёт в Москве") == pytest.approx(3 / 4)
    assert rouge_l_recall_unicode("東京", "東京") == 1.0
    assert rouge_l_recall_unicode("the cities burned", "the city burns") == 1.0
    assert rouge_l_recall_unicode("gas", "ga") == 0.0  # three letters stay as they are
    assert rouge_l_recall_unicode("cafe\u0301s", "caf\u00e9s") == 1.0


def test_bertscore_takes_the_nearest_token_each_way() -> None:
    one = np.array([[1.0, 0.0], [0.0, 1.0]])
    other = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    precision, recall = (1 + 0.8) / 2, (1 + 0.8 + 0) / 3
    assert greedy_f1(one, other) == pytest.approx(2 * precision * recall / (precision + recall))
    assert greedy_f1(other, one) == pytest.approx(greedy_f1(one, other))
    assert greedy_f1(one, one) == pytest.approx(1)
    own = np.array([True, False]), np.array([False, True, True])  # the others may be matched, and are in no mean
    assert greedy_f1(one, other, own) == pytest.approx(2 * 1 * 0.4 / 1.4)
    assert greedy_f1(one[:1], -one[:1]) == -1
