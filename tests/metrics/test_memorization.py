"""Extraction strength and exact memorisation, by hand and against the definition read literally."""

import itertools

import pytest

from expunge.metrics.memorization import exact_memorization, extraction_strength
from metrics.helpers_metrics import completion


def literal_strength(greedy: tuple[bool, ...]) -> float:
    """Try each prefix length in turn, as the definition says."""
    for k in range(len(greedy)):
        if all(greedy[k:]):
            break
    return 1 - k / len(greedy)


@pytest.mark.parametrize("greedy", itertools.product([False, True], repeat=4))
def test_every_pattern_of_four_tokens(greedy: tuple[bool, ...]) -> None:
    scored = completion(*[-1.0] * 5, greedy=(*greedy, True))  # the end-of-turn token, which does not count
    assert extraction_strength(scored) == pytest.approx(literal_strength(greedy))
    assert exact_memorization(scored) == sum(greedy) / 4
    without_end = completion(*[-1.0] * 4, greedy=greedy, ends=False)
    assert extraction_strength(without_end) == pytest.approx(literal_strength(greedy))


def test_an_answer_without_tokens_has_neither() -> None:
    for scored in (completion(), completion(ends=False), completion(-1.0, greedy=(True,))):
        assert extraction_strength(scored) is None
        assert exact_memorization(scored) is None
